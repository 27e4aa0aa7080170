"""``/trading/flags`` without a flag service: every flag is what the environment says (``flags.md`` 5, 8).

The shape is the contract's; a flag service replaces this module's answer and nothing else.
"""

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from torghut_runtime.api.documents.flags import FlagRow, Flags, FlagSnapshot
from torghut_runtime.settings import Settings
from torghut_runtime.trading_settings import TradingSettings

_RULES: Final = {"permission": "and", "stop": "or", "behaviour": "flag"}
_FLAGS: Final = (
    ("TRADING_ENABLED", "permission", False, "trading-risk"),
    ("TRADING_LIVE_ENABLED", "permission", False, "trading-risk"),
    ("TRADING_ORDER_FEED_ENABLED", "permission", False, "execution"),
    ("TRADING_AUTONOMY_ENABLED", "permission", False, "research"),
    ("TRADING_ALLOW_SHORTS", "permission", False, "trading-risk"),
    ("LLM_ENABLED", "permission", False, "llm"),
    ("TRADING_KILL_SWITCH_ENABLED", "stop", True, "trading-risk"),
    ("TRADING_EMERGENCY_STOP_ENABLED", "stop", True, "trading-risk"),
    ("LLM_SHADOW_MODE", "stop", True, "llm"),
    ("TRADING_EXECUTION_PREFER_LIMIT", "behaviour", True, "execution"),
)


class ReadElsewhere(BaseSettings):
    """Flagged settings that parts beside the runtime's own read."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, env_file=".env")

    autonomy: bool = Field(default=False, validation_alias="TRADING_AUTONOMY_ENABLED")
    llm: bool = Field(default=False, validation_alias="LLM_ENABLED")
    llm_shadow: bool = Field(default=True, validation_alias="LLM_SHADOW_MODE")


def flags_from_environment(settings: Settings, trading: TradingSettings, elsewhere: ReadElsewhere) -> Flags:
    """Ten flags, none of them served."""
    values = {
        "TRADING_ENABLED": trading.mode.enabled,
        "TRADING_LIVE_ENABLED": trading.mode.live_enabled,
        "TRADING_ORDER_FEED_ENABLED": settings.order_feed_enabled,
        "TRADING_AUTONOMY_ENABLED": elsewhere.autonomy,
        "TRADING_ALLOW_SHORTS": trading.sizing.allow_shorts,
        "LLM_ENABLED": elsewhere.llm,
        "TRADING_KILL_SWITCH_ENABLED": trading.stops.kill_switch,
        "TRADING_EMERGENCY_STOP_ENABLED": trading.stops.emergency_stop,
        "LLM_SHADOW_MODE": elsewhere.llm_shadow,
        "TRADING_EXECUTION_PREFER_LIMIT": trading.execution.prefer_limit,
    }
    rows = [
        FlagRow(
            key=f"torghut_{name.lower()}",
            setting=name,
            flag_class=kind,
            rule=_RULES[kind],
            effective=values[name],
            env_value=values[name],
            flag_value=None,
            safe_value=safe,
            source="environment",
            version=None,
            age_seconds=None,
            reason="env_only",
            owner=owner,
            expires="never",
        )
        for name, kind, safe, owner in _FLAGS
    ]
    return Flags(
        enabled=False,
        namespace="default",
        entity_id="torghut",
        snapshot=FlagSnapshot(
            ok=False, version=None, source="environment", fetched_at=None, age_seconds=None, stale=False
        ),
        last_error=None,
        degraded=[],
        flags=rows,
    )
