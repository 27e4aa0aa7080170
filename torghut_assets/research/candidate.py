"""The candidate: what is judged, under which identity (``research/candidate-spec.json``).

Parts of an identity are hashed as canonical JSON, so neither white space nor key order nor the format of a file
changes it; any change of content or code does. Reading files is ``inputs``'s business.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from torghut_assets.registration import check_name
from torghut_assets.research.settings import ResearchSettings
from torghut_runtime.canonical import canonical_value, digest
from torghut_runtime.code_digest import code_digest
from torghut_runtime.errors import InputError
from torghut_runtime.market.features import FEATURE_SCHEMA_VERSION
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.registry import BoundStrategy

SCHEMA = "torghut.candidate-spec.v1"
_FEATURE_CODE = ("torghut_runtime.market.features", "torghut_runtime.market.frame", "torghut_runtime.strategies.decide")
LANE_CODE = (
    "torghut_assets.gates",
    "torghut_assets.promotion",
    "torghut_assets.research",
    "torghut_runtime.market",
    "torghut_runtime.risk",
    "torghut_runtime.strategies",
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StrategySpec(_Part):
    """One strategy of the candidate: its entry, every parameter with its value, and the code behind it."""

    strategy_id: str
    strategy_type: str
    version: str
    base_timeframe: str
    priority: int
    universe_symbols: tuple[str, ...] | None
    max_notional_per_trade: float | None
    max_position_pct_equity: float | None
    params: Mapping[str, Any] = Field(description="complete, defaults included")
    search: Mapping[str, tuple[Any, ...]]
    required_features: tuple[str, ...]
    horizon_bars: int
    source_sha256: str


class Dataset(_Part):
    """Fingerprint of the data."""

    dataset_id: str
    source: Literal["signals", "bars"]
    symbols: tuple[str, ...]
    timeframes: Mapping[str, int] = Field(description="rows per timeframe")
    rows: int
    first_event: datetime
    last_event: datetime
    first_session: date | None
    last_session: date | None


class Universe(_Part):
    """The symbols that the strategies trade."""

    symbols: tuple[str, ...]
    symbol_count: int


class AdviserBounds(_Part):
    """What a language-model adviser may do for this candidate; none takes part in research."""

    enabled: bool = False


class CandidateSpec(_Part):
    """``research/candidate-spec.json``."""

    schema_: Literal["torghut.candidate-spec.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    dataset: Dataset
    strategies: tuple[StrategySpec, ...]
    search_points: int = Field(description="parameter combinations that the walk-forward may choose from")
    universe: Universe
    research: ResearchSettings
    feature_schema_version: str
    code: Mapping[str, str] = Field(description="sha256 of the feature and decision code, and of each strategy")
    bounded_llm: AdviserBounds
    evidence_requirements: tuple[str, ...] = Field(description="artifacts that an evaluation reads")


def slug(strategy_id: str) -> str:
    """A candidate name made of a strategy id.

    Raises:
        InputError: nothing of it can be a name.
    """
    name = re.sub(r"[^a-z0-9]+", "-", strategy_id.lower()).strip("-")[:63].rstrip("-")
    try:
        return check_name(name)
    except ValueError as error:
        raise InputError(
            f"no candidate name can be made of strategy_id {strategy_id!r}; give --name", field="--name"
        ) from error


def family(strategies: Sequence[BoundStrategy]) -> str:
    """Strategy family under which trials are recorded: the types, sorted."""
    return "+".join(sorted(each.entry.strategy_type for each in strategies))


def timeframes_of(strategies: Sequence[BoundStrategy]) -> tuple[str, ...]:
    """Base timeframes of the strategies, sorted."""
    return tuple(sorted({each.entry.base_timeframe for each in strategies}))


def universe_of(strategies: Sequence[BoundStrategy], signals: SignalSet) -> tuple[str, ...]:
    """Symbols that the strategies trade, sorted; a strategy without symbols trades all of the data."""
    symbols: set[str] = set()
    for each in strategies:
        symbols.update(each.entry.universe_symbols or signals.quality.symbols)
    return tuple(sorted(symbols))


def specify(
    name: str, signals: SignalSet, strategies: Sequence[BoundStrategy], settings: ResearchSettings
) -> CandidateSpec:
    """Describe a candidate and give it its id.

    Args:
        name: given, stable over time.
        signals: the data.
        strategies: bound, at least one.
        settings: research settings.
    """
    described = tuple(_strategy(each) for each in strategies)
    code = {"features": code_digest(*_FEATURE_CODE), **{each.strategy_id: each.source_sha256 for each in described}}
    identity = {
        "strategies": [canonical_value(each) for each in described],
        "descriptions": [each.entry.description for each in strategies],
        "dataset_id": signals.dataset_id,
        "research": canonical_value(settings),
        "code": code,
    }
    universe = universe_of(strategies, signals)
    sessions = signals.frame["session"].drop_nulls()
    quality = signals.quality
    points = 1
    for each in strategies:
        points *= len(each.grid())
    return CandidateSpec(
        schema=SCHEMA,
        name=name,
        candidate_id=f"cand-{digest(identity)[:12]}",
        dataset=Dataset(
            dataset_id=signals.dataset_id,
            source=signals.source,
            symbols=tuple(quality.symbols),
            timeframes=quality.timeframes,
            rows=quality.rows,
            first_event=quality.first_event,
            last_event=quality.last_event,
            first_session=sessions.min() if sessions.len() else None,  # pyright: ignore[reportArgumentType]
            last_session=sessions.max() if sessions.len() else None,  # pyright: ignore[reportArgumentType]
        ),
        strategies=described,
        search_points=points,
        universe=Universe(symbols=universe, symbol_count=len(universe)),
        research=settings,
        feature_schema_version=FEATURE_SCHEMA_VERSION,
        code=code,
        bounded_llm=AdviserBounds(),
        evidence_requirements=(
            "research/candidate-spec.json",
            "backtest/evaluation-report.json",
            "gates/evidence.json",
        ),
    )


def lane_code_version() -> str:
    """Digest of all code that a verdict depends on."""
    return code_digest(*LANE_CODE)


def _strategy(bound: BoundStrategy) -> StrategySpec:
    entry = bound.entry
    return StrategySpec(
        strategy_id=entry.strategy_id,
        strategy_type=entry.strategy_type,
        version=bound.strategy_class.version,
        base_timeframe=entry.base_timeframe,
        priority=entry.priority,
        universe_symbols=entry.universe_symbols,
        max_notional_per_trade=entry.max_notional_per_trade,
        max_position_pct_equity=entry.max_position_pct_equity,
        params=bound.params.model_dump(mode="json"),
        search=entry.search,
        required_features=bound.strategy_class.features,
        horizon_bars=bound.horizon_bars,
        source_sha256=bound.source_digest,
    )
