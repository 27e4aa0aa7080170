"""Settings of trading (contract ``runtime.md`` 11): what the environment says of broker, mode, data, caps and stops.

They are read once, when a command starts. Every fault is told, one line each. What a cap does stands with the limits
(:mod:`torghut_runtime.risk.limits`); settings of database and order feed stand in :mod:`torghut_runtime.settings`.
"""

import difflib
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from torghut_runtime.errors import InputError, InputFaults

LIVE_HOST: Final = "api.alpaca.markets"
PAPER_HOST: Final = "paper-api.alpaca.markets"
NO_SIGNAL_REASONS: Final = (
    "no_signals_in_window",
    "universe_source_unavailable",
    "market_data_disconnected",
    "cursor_ahead_of_stream",
)
"""Why no signal came; all but a lost connection are critical unless a setting says otherwise."""

_PREFIX: Final = "TRADING_"
_OTHER_PREFIXES: Final = ("TRADING_ORDER_FEED_", "TRADING_FORWARDER_", "TRADING_FEATURE_FLAGS_")
_OTHER_NAMES: Final = ("TRADING_AUTONOMY_ENABLED",)
"""Names that other parts read."""


def _setting(name: str, default: Any, **rules: Any) -> Any:
    return Field(default=default, validation_alias=name, **rules)


class _Group(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=False, env_file=".env", allow_inf_nan=False
    )


class BrokerAccess(_Group):
    """Which broker, where, and with which keys."""

    key_id: SecretStr | None = _setting("APCA_API_KEY_ID", None, repr=False)
    secret_key: SecretStr | None = _setting("APCA_API_SECRET_KEY", None, repr=False)
    base_url: str | None = _setting("APCA_API_BASE_URL", None)
    data_url: str | None = _setting("APCA_DATA_API_BASE_URL", None)
    adapter: Literal["simulator", "alpaca"] = _setting("TRADING_EXECUTION_ADAPTER", "simulator")
    simulator_url: str | None = _setting("TRADING_SIMULATOR_URL", None)
    simulator_bars: Path | None = _setting("TRADING_SIMULATOR_BARS", None)
    live_account_number: str | None = _setting("TRADING_LIVE_ACCOUNT_NUMBER", None)
    rate_limit_per_minute: int = _setting("TRADING_BROKER_RATE_LIMIT_PER_MINUTE", 200, ge=1, le=100_000)
    data_feed: Literal["iex", "sip"] = _setting("TRADING_DATA_FEED", "iex")

    @field_validator("base_url", "data_url", "simulator_url")
    @classmethod
    def _address(cls, text: str | None) -> str | None:
        if text is None:
            return None
        parts = urlsplit(text.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ValueError("must be http(s)://HOST[:PORT] without user, password or query")
        return text.strip().rstrip("/").removesuffix("/v2").rstrip("/")

    @property
    def keys(self) -> tuple[str, str]:
        """Key and secret; the simulator takes any."""
        if self.key_id is None or self.secret_key is None:
            return "simulator", "simulator"
        return self.key_id.get_secret_value(), self.secret_key.get_secret_value()


class TradingMode(_Group):
    """Whether and how it trades, for which account, and how often it looks."""

    enabled: bool = _setting("TRADING_ENABLED", False)
    mode: Literal["paper", "live"] = _setting("TRADING_MODE", "paper")
    live_enabled: bool = _setting("TRADING_LIVE_ENABLED", False)
    gate_policy_path: Path | None = _setting("TRADING_GATE_POLICY_PATH", None)
    given_account_label: str | None = _setting("TRADING_ACCOUNT_LABEL", None, min_length=1, max_length=64)
    poll_ms: int = _setting("TRADING_POLL_MS", 5_000, ge=50, le=600_000)
    reconcile_ms: int = _setting("TRADING_RECONCILE_MS", 15_000, ge=100, le=3_600_000)

    @property
    def account_label(self) -> str:
        """Name of the account in every record; the mode unless given."""
        return self.given_account_label or self.mode

    @model_validator(mode="after")
    def _live_is_said_twice(self) -> "TradingMode":
        if self.live_enabled != (self.mode == "live"):
            raise ValueError(f"TRADING_LIVE_ENABLED must be {str(self.mode == 'live').lower()} in mode {self.mode}")
        return self


class DataSettings(_Group):
    """How old market data may be, and when their absence is an alarm."""

    lookback_minutes: int = _setting("TRADING_SIGNAL_LOOKBACK_MINUTES", 15, ge=1, le=100_000)
    no_signal_streak: int = _setting("TRADING_SIGNAL_NO_SIGNAL_STREAK_ALERT_THRESHOLD", 2, ge=1, le=10_000)
    stale_lag_seconds: int = _setting("TRADING_SIGNAL_STALE_LAG_ALERT_SECONDS", 300, ge=1, le=604_800)
    critical_reasons: str = _setting(
        "TRADING_SIGNAL_STALENESS_ALERT_CRITICAL_REASONS",
        ",".join(reason for reason in NO_SIGNAL_REASONS if reason != "market_data_disconnected"),
    )
    price_lookback_minutes: int = _setting("TRADING_PRICE_LOOKBACK_MINUTES", 5, ge=0, le=10_000)
    bar_max_age_seconds: int | None = _setting("TRADING_BAR_MAX_AGE_SECONDS", None, ge=0, le=604_800)

    @field_validator("critical_reasons")
    @classmethod
    def _known(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = sorted(set(names) - set(NO_SIGNAL_REASONS))
        if unknown:
            raise ValueError(f"unknown reason {unknown[0]!r}, known are {', '.join(NO_SIGNAL_REASONS)}")
        return ",".join(names)


class UniverseSettings(_Group):
    """Which symbols may be traded at all."""

    source: Literal["static", "file"] = _setting("TRADING_UNIVERSE_SOURCE", "static")
    path: Path | None = _setting("TRADING_UNIVERSE_PATH", None)
    cache_seconds: int = _setting("TRADING_UNIVERSE_CACHE_SECONDS", 300, ge=1, le=86_400)
    max_stale_seconds: int = _setting("TRADING_UNIVERSE_MAX_STALE_SECONDS", 900, ge=0, le=604_800)
    static_symbols: str | None = _setting("TRADING_STATIC_SYMBOLS", None)

    @model_validator(mode="after")
    def _file_has_a_path(self) -> "UniverseSettings":
        if self.source == "file" and self.path is None:
            raise ValueError("TRADING_UNIVERSE_PATH is required with TRADING_UNIVERSE_SOURCE=file")
        return self


class StrategySettings(_Group):
    """Where strategies come from and what happens when one keeps failing."""

    config_path: Path | None = _setting("TRADING_STRATEGY_CONFIG_PATH", None)
    config_mode: Literal["merge", "sync"] = _setting("TRADING_STRATEGY_CONFIG_MODE", "merge")
    reload_seconds: int = _setting("TRADING_STRATEGY_RELOAD_SECONDS", 10, ge=1, le=86_400)
    circuit_errors: int = _setting("TRADING_STRATEGY_RUNTIME_CIRCUIT_ERRORS", 3, ge=1, le=10_000)
    circuit_cooldown_seconds: int = _setting("TRADING_STRATEGY_RUNTIME_CIRCUIT_COOLDOWN_SECONDS", 300, ge=0, le=86_400)
    given_require_provenance: bool | None = _setting("TRADING_REQUIRE_PROVENANCE", None)


class FeatureQualitySettings(_Group):
    """When a symbol's features are too poor to be traded on."""

    max_required_null_rate: float = _setting("TRADING_FEATURE_MAX_REQUIRED_NULL_RATE", 0.01, ge=0, le=1)
    max_staleness_ms: int = _setting("TRADING_FEATURE_MAX_STALENESS_MS", 120_000, ge=0, le=604_800_000)
    max_duplicate_ratio: float = _setting("TRADING_FEATURE_MAX_DUPLICATE_RATIO", 0.02, ge=0, le=1)


class SizingSettings(_Group):
    """How large an entry may be; a cap of 0 allows nothing, one that is not set does not limit."""

    default_qty: Decimal = _setting("TRADING_DEFAULT_QTY", Decimal(1), ge=0)
    max_notional_per_trade: Decimal | None = _setting("TRADING_MAX_NOTIONAL_PER_TRADE", None, ge=0)
    min_notional_per_trade: Decimal | None = _setting("TRADING_MIN_NOTIONAL_PER_TRADE", None, ge=0)
    max_position_pct_equity: Decimal | None = _setting("TRADING_MAX_POSITION_PCT_EQUITY", None, ge=0, le=1)
    given_participation_rate: Decimal | None = _setting("TRADING_MAX_PARTICIPATION_RATE", None, ge=0, le=1)
    cooldown_seconds: int = _setting("TRADING_COOLDOWN_SECONDS", 0, ge=0, le=604_800)
    allow_shorts: bool = _setting("TRADING_ALLOW_SHORTS", False)
    notional_per_position: Decimal | None = _setting("TRADING_PORTFOLIO_NOTIONAL_PER_POSITION", None, ge=0)
    max_positions: int | None = _setting("TRADING_PORTFOLIO_MAX_POSITIONS", None, ge=0)
    max_notional_per_symbol: Decimal | None = _setting("TRADING_PORTFOLIO_MAX_NOTIONAL_PER_SYMBOL", None, ge=0)
    max_gross_exposure: Decimal | None = _setting("TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE", None, ge=0)
    max_gross_exposure_pct: Decimal | None = _setting(
        "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY", None, ge=0, le=100
    )
    max_net_exposure: Decimal | None = _setting("TRADING_PORTFOLIO_MAX_NET_EXPOSURE", None, ge=0)
    max_net_exposure_pct: Decimal | None = _setting("TRADING_PORTFOLIO_MAX_NET_EXPOSURE_PCT_EQUITY", None, ge=0, le=100)


class RiskSettings(_Group):
    """Losses, rates and prices at which nothing more is entered."""

    max_daily_loss: Decimal | None = _setting("TRADING_MAX_DAILY_LOSS", None, ge=0)
    max_daily_loss_pct: Decimal = _setting("TRADING_MAX_DAILY_LOSS_PCT_EQUITY", Decimal("0.03"), ge=0, le=1)
    max_orders_per_minute: int = _setting("TRADING_MAX_ORDERS_PER_MINUTE", 60, ge=0, le=100_000)
    max_orders_per_symbol_per_minute: int = _setting("TRADING_MAX_ORDERS_PER_SYMBOL_PER_MINUTE", 6, ge=0, le=100_000)
    max_open_orders: int = _setting("TRADING_MAX_OPEN_ORDERS", 50, ge=0, le=100_000)
    max_open_orders_per_symbol: int = _setting("TRADING_MAX_OPEN_ORDERS_PER_SYMBOL", 2, ge=0, le=100_000)
    price_collar_bps: Decimal = _setting("TRADING_PRICE_COLLAR_BPS", Decimal(200), ge=0, le=10_000)


class ExecutionSettings(_Group):
    """How orders are worked."""

    prefer_limit: bool = _setting("TRADING_EXECUTION_PREFER_LIMIT", True)
    order_ttl_seconds: int = _setting("TRADING_EXECUTION_ORDER_TTL_SECONDS", 30, ge=1, le=86_400)
    max_retries: int = _setting("TRADING_EXECUTION_MAX_RETRIES", 0, ge=0, le=10)


class StopSettings(_Group):
    """Kill switch and emergency stop."""

    kill_switch: bool = _setting("TRADING_KILL_SWITCH_ENABLED", True)
    emergency_stop: bool = _setting("TRADING_EMERGENCY_STOP_ENABLED", True)
    recovery_cycles: int = _setting("TRADING_EMERGENCY_STOP_RECOVERY_CYCLES", 3, ge=1, le=10_000)
    signal_lag_seconds: int = _setting("TRADING_ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT", 600, ge=1, le=604_800)
    staleness_streak: int = _setting("TRADING_ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT", 3, ge=1, le=10_000)
    broker_failure_streak: int = _setting("TRADING_ROLLBACK_BROKER_FAILURE_STREAK_LIMIT", 5, ge=1, le=10_000)
    max_drawdown: Decimal = _setting("TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", Decimal("0.08"), gt=0, lt=1)


@dataclass(frozen=True)
class TradingSettings:
    """All groups together, checked against each other."""

    broker: BrokerAccess
    mode: TradingMode
    data: DataSettings
    universe: UniverseSettings
    strategies: StrategySettings
    quality: FeatureQualitySettings
    sizing: SizingSettings
    risk: RiskSettings
    execution: ExecutionSettings
    stops: StopSettings
    unknown_names: tuple[str, ...] = ()
    """Names like ours that nobody reads, each with the nearest known one where there is one; told in one warning."""

    @property
    def broker_url(self) -> str:
        """Where the broker is: the given address, the simulator's, or Alpaca's of the mode.

        Raises:
            InputError: the adapter is the simulator and no address is given.
        """
        broker = self.broker
        if broker.adapter == "simulator":
            if broker.simulator_url is None:
                raise InputError("is not set", field="TRADING_SIMULATOR_URL")
            return broker.simulator_url
        return broker.base_url or f"https://{LIVE_HOST if self.mode.mode == 'live' else PAPER_HOST}"

    @property
    def require_provenance(self) -> bool:
        """Whether an entry needs a signed attestation: live always, paper where the setting says so."""
        return self.mode.mode == "live" or bool(self.strategies.given_require_provenance)

    @property
    def participation_rate(self) -> Decimal:
        """Largest share of a symbol's average daily volume that one order may have."""
        given = self.sizing.given_participation_rate
        return Decimal("0.1") if given is None else given


_GROUPS: Final[dict[str, type[_Group]]] = {
    "broker": BrokerAccess,
    "mode": TradingMode,
    "data": DataSettings,
    "universe": UniverseSettings,
    "strategies": StrategySettings,
    "quality": FeatureQualitySettings,
    "sizing": SizingSettings,
    "risk": RiskSettings,
    "execution": ExecutionSettings,
    "stops": StopSettings,
}
_GroupT = TypeVar("_GroupT", bound=_Group)


def load_trading_settings() -> TradingSettings:
    """Read environment and ``.env``.

    Raises:
        InputFaults: every variable that cannot be used, by name; values are never shown.
    """
    faults: list[InputError] = []
    groups: dict[str, Any] = {name: _loaded(group, faults) for name, group in _GROUPS.items()}
    if not faults:
        faults.extend(_disagreements(groups["broker"], groups["mode"], groups["strategies"]))
    if faults:
        raise InputFaults(faults)
    return TradingSettings(**groups, unknown_names=_unknown_names())


def _loaded(group: type[_GroupT], faults: list[InputError]) -> _GroupT | None:
    try:
        return group()
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False, include_context=False):
            field = str(each["loc"][0]) if each["loc"] else None
            faults.append(InputError(each["msg"].removeprefix("Value error, "), field=field))
        return None


def _disagreements(broker: BrokerAccess, mode: TradingMode, strategies: StrategySettings) -> list[InputError]:
    found: list[InputError] = []
    host = None if broker.base_url is None else urlsplit(broker.base_url).hostname
    expected = LIVE_HOST if mode.mode == "live" else PAPER_HOST
    if host is not None and host != expected:
        found.append(InputError(f"must be on {expected} in mode {mode.mode}", field="APCA_API_BASE_URL"))
    if mode.mode == "live" and broker.adapter == "simulator":
        found.append(InputError("must be alpaca in mode live", field="TRADING_EXECUTION_ADAPTER"))
    if mode.mode == "live" and strategies.given_require_provenance is False:
        found.append(InputError("cannot be switched off in mode live", field="TRADING_REQUIRE_PROVENANCE"))
    if (broker.key_id is None) != (broker.secret_key is None):
        found.append(InputError("and APCA_API_SECRET_KEY are given together or not at all", field="APCA_API_KEY_ID"))
    if broker.adapter == "alpaca" and broker.key_id is None:
        found.append(InputError("is required with TRADING_EXECUTION_ADAPTER=alpaca", field="APCA_API_KEY_ID"))
    return found


def known_names() -> frozenset[str]:
    """Every variable that these settings read."""
    return frozenset(str(field.validation_alias) for group in _GROUPS.values() for field in group.model_fields.values())


def setting_rows() -> list[tuple[str, str, str]]:
    """Name, default as it is written in an environment, and group of every setting, in the order of the contract."""
    rows: list[tuple[str, str, str]] = []
    for group, model in _GROUPS.items():
        for field in model.model_fields.values():
            default: Any = field.default
            text = str(default).lower() if isinstance(default, bool) else "" if default is None else str(default)
            rows.append((str(field.validation_alias), text, group))
    return rows


def _unknown_names() -> tuple[str, ...]:
    known = known_names() | set(_OTHER_NAMES)
    given = sorted(name.upper() for name in os.environ if name.upper().startswith(_PREFIX))
    unknown = [name for name in given if name not in known and not name.startswith(_OTHER_PREFIXES)]
    told: list[str] = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        told.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return tuple(told)
