"""Which strategies there are, and how an entry of the catalog becomes something that can be called at every bar.

Built-in classes and those of the entry point group ``torghut.strategies`` are found here, checked, compiled and bound
to parameters. Reading catalogs and judging bars are told elsewhere.
"""

import inspect
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np
from pydantic import JsonValue, ValidationError

from torghut_runtime.canonical import digest, sha256_hex
from torghut_runtime.code_digest import code_digest
from torghut_runtime.compiled import Vector, kernel
from torghut_runtime.market.features import FEATURES
from torghut_runtime.strategies.buy_and_hold import BuyAndHold
from torghut_runtime.strategies.catalog import StrategyEntry, explain
from torghut_runtime.strategies.contract import Strategy, StrategyError, StrategyParams, validate_class
from torghut_runtime.strategies.daily_momentum import DailyMomentum
from torghut_runtime.strategies.decide import STEP_SIGNATURE
from torghut_runtime.strategies.intraday_tsmom import IntradayTsmom
from torghut_runtime.strategies.legacy_macd_rsi import LegacyMacdRsi
from torghut_runtime.strategies.probe import probe_step
from torghut_runtime.strategies.purity import reached_functions

MAX_SEARCH_POINTS = 10_000
ENTRY_POINT_GROUP = "torghut.strategies"
BUILT_INS: tuple[type[Strategy], ...] = (LegacyMacdRsi, IntradayTsmom, DailyMomentum, BuyAndHold)


@dataclass(frozen=True)
class BoundStrategy:
    """A strategy with its parameters, ready to be called: what simulation and runtime work with.

    ``step`` is the compiled step; ``feature_columns`` are the required features and after them the optional ones, of
    which the first ``required_count`` may not be NaN. ``horizon_bars`` is the declared holding horizon,
    ``source_digest`` the sha256 over the source of every module that the step reaches.
    """

    entry: StrategyEntry
    strategy_class: type[Strategy]
    params: StrategyParams
    step: Any
    parameter_vector: Vector = field(repr=False, compare=False)
    exits_vector: Vector = field(repr=False, compare=False)
    feature_columns: tuple[str, ...]
    required_count: int
    warmup_bars: int
    state_size: int
    horizon_bars: int
    source_digest: str

    def with_params(self, **overrides: JsonValue) -> "BoundStrategy":
        """The same strategy with other parameters, validated; ``exits`` are named like ``{"exits.max_bars": 5}``.

        Raises:
            StrategyError: reason ``invalid_params``.
        """
        params: dict[str, Any] = dict(self.entry.params)
        for name, value in overrides.items():
            outer, _, inner = name.partition(".")
            if inner:
                params[outer] = {**cast("dict[str, Any]", params.get(outer) or {}), inner: value}
            else:
                params[name] = value
        return bind(self.entry.model_copy(update={"params": params}), self.strategy_class)

    def grid(self) -> list[dict[str, JsonValue]]:
        """Every combination of the entry's ``search``, as overrides for :meth:`with_params`.

        Parameters are taken by name, values as listed, the last parameter changing fastest; without a search there is
        one combination that overrides nothing. The place in this list is the parameter index.
        """
        names = sorted(self.entry.search)
        values = [self.entry.search[name] for name in names]
        return [dict(zip(names, each, strict=True)) for each in itertools.product(*values)]


@dataclass(frozen=True)
class StrategyRegistry:
    """Strategy classes by (type, version), and why others are refused."""

    classes: Mapping[tuple[str, str], type[Strategy]]
    refused: Mapping[str, StrategyError] = field(default_factory=dict[str, StrategyError])
    """By ``type version`` of a conflict, or by the name of a broken plugin's entry point or class."""

    @classmethod
    def of(cls, *strategies: type[Strategy], refused: Mapping[str, StrategyError] | None = None) -> "StrategyRegistry":
        """A registry of exactly these classes, for notebooks and tests; two of one type and version refuse both."""
        found: dict[tuple[str, str], type[Strategy]] = {}
        problems = dict(refused or {})
        for strategy in dict.fromkeys(strategies):
            try:
                validate_class(strategy)
            except StrategyError as error:
                problems[f"{strategy.__module__}.{strategy.__qualname__}"] = error
                continue
            key = (strategy.type, strategy.version)
            name = " ".join(key)
            if key in found or name in problems:
                others = {found.pop(key, strategy), strategy}
                where = " and ".join(sorted(f"{each.__module__}.{each.__qualname__}" for each in others))
                problems[name] = StrategyError("plugin_conflict", f"{name} is registered more than once: {where}")
            else:
                found[key] = strategy
        return cls(found, problems)

    def extended(self, *strategies: type[Strategy]) -> "StrategyRegistry":
        """The same registry with further classes."""
        return StrategyRegistry.of(*self.classes.values(), *strategies, refused=self.refused)

    def find(self, strategy_type: str, version: str | None) -> type[Strategy]:
        """The class of a type and version; the version may be left out while only one is registered.

        Raises:
            StrategyError: reasons ``plugin_conflict``, ``unknown_strategy``, ``unknown_version``, ``version_required``
                or what made the only plugin of that name unusable.
        """
        versions = sorted(known for name, known in self.classes if name == strategy_type)
        conflicts = sorted(name for name in self.refused if name.split(" ")[0] == strategy_type)
        if version is None:
            if len(versions) == 1 and not conflicts:
                return self.classes[strategy_type, versions[0]]
        elif (strategy_type, version) in self.classes:
            return self.classes[strategy_type, version]
        for name in conflicts:
            if version is None or name in (strategy_type, f"{strategy_type} {version}"):
                error = self.refused[name]
                raise StrategyError(error.reason, error.message, field="strategy_type")
        if not versions:
            known = ", ".join(sorted({name for name, _ in self.classes})) or "none"
            raise StrategyError(
                "unknown_strategy", f"unknown strategy type {strategy_type!r}, known are {known}", field="strategy_type"
            )
        listed = ", ".join(versions)
        if version is None:
            raise StrategyError("version_required", f"{strategy_type} has the versions {listed}", field="version")
        raise StrategyError(
            "unknown_version", f"{strategy_type} has no version {version!r}, known are {listed}", field="version"
        )

    def params_schema(self, strategy_type: str, version: str | None = None) -> dict[str, Any]:
        """JSON schema of a strategy's parameters."""
        params: type[StrategyParams] = self.find(strategy_type, version).Params
        return params.model_json_schema()


@cache
def default_registry() -> StrategyRegistry:
    """The built-ins and every plugin that is installed; a plugin that cannot be loaded is refused, others go on."""
    plugins: list[type[Strategy]] = []
    refused: dict[str, StrategyError] = {}
    for point in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda each: (each.name, each.value)):
        try:
            loaded: object = point.load()
        except Exception as error:  # noqa: BLE001 - whatever a plugin does, the others go on
            problem = f"plugin {point.value} cannot be loaded: {type(error).__name__}: {error}"
            refused[point.name] = StrategyError("plugin_broken", problem)
            continue
        if isinstance(loaded, type) and issubclass(loaded, Strategy):
            plugins.append(loaded)
        else:
            refused[point.name] = StrategyError("plugin_broken", f"plugin {point.value} is not a Strategy class")
    return StrategyRegistry.of(*BUILT_INS, *plugins, refused=refused)


def resolve(
    entry: StrategyEntry,
    available_features: frozenset[str] | None,
    registry: StrategyRegistry | None = None,
) -> BoundStrategy:
    """Bind an entry to its compiled strategy.

    ``available_features``: what the data source can have; None when that is not known yet. ``registry``: the default
    one when left out. Every combination of ``search`` is validated too.

    Raises:
        StrategyError: unknown type or version, invalid parameters, a timeframe or feature that does not fit, a step
            that is not pure or does not compile; ``reason`` and ``field`` say what and where.
    """
    strategy = (registry or default_registry()).find(entry.strategy_type, entry.version)
    if strategy.timeframes and entry.base_timeframe not in strategy.timeframes:
        wanted = ", ".join(strategy.timeframes)
        message = f"{strategy.type} is made for {wanted}, was {entry.base_timeframe}"
        raise StrategyError("timeframe_not_supported", message, field="base_timeframe")
    unknown = [name for name in strategy.features + strategy.optional_features if name not in FEATURES]
    if unknown:
        message = f"{strategy.type} asks for {unknown[0]}, which is no feature of contract v3"
        raise StrategyError("unknown_feature", message, field="features")
    if available_features is not None:
        missing = [name for name in strategy.features if name not in available_features]
        if missing:
            message = f"{strategy.type} requires {', '.join(missing)}, which its source cannot have"
            raise StrategyError("feature_unavailable", message, field="features")
    bound = bind(entry, strategy)
    _check_search(bound)
    return bound


def _check_search(bound: BoundStrategy) -> None:
    points = math.prod(len(values) for values in bound.entry.search.values())
    if points > MAX_SEARCH_POINTS:
        message = f"{points} combinations, at most {MAX_SEARCH_POINTS} are searched"
        raise StrategyError("invalid_search", message, field="search")
    for overrides in bound.grid():
        try:
            bound.with_params(**overrides)
        except StrategyError as error:
            tried = ", ".join(f"{name}={json.dumps(value)}" for name, value in overrides.items())
            raise StrategyError("invalid_search", f"with {tried}: {error}", field="search") from None


def resolve_all(
    entries: Sequence[StrategyEntry],
    available_features: frozenset[str] | None,
    registry: StrategyRegistry | None = None,
    *,
    file: Path | None = None,
) -> list[BoundStrategy]:
    """Bind every enabled entry of a catalog; errors name the file and the entry's place in it."""
    bound: list[BoundStrategy] = []
    for row, entry in enumerate(entries, start=1):
        if entry.enabled:
            try:
                bound.append(resolve(entry, available_features, registry))
            except StrategyError as error:
                raise error.located(file=file, row=row) from None
    return bound


def bind(entry: StrategyEntry, strategy: type[Strategy]) -> BoundStrategy:
    """Bind an entry to a class that is at hand: parameters validated, step compiled.

    Whether the class is the one that the entry names, and whether data for it exist, is :func:`resolve`'s question.

    Raises:
        StrategyError: an incomplete class, invalid parameters, or a step that is not pure, fails or does not compile.
    """
    step, source_digest = _compile(strategy)
    try:
        params: StrategyParams = strategy.Params.model_validate_json(json.dumps(entry.params))
    except ValidationError as error:
        message, place = explain(error, strategy.Params)
        where = "params" if place is None else f"params.{place}"
        raise StrategyError("invalid_params", message, field=where) from None
    warmup_bars, state_size = _size(strategy, params, "warmup_bars"), _size(strategy, params, "state_size")
    if not _is_ours(strategy):
        _probe(strategy, params.vector().tobytes(), warmup_bars, state_size)
    return BoundStrategy(
        entry=entry,
        strategy_class=strategy,
        params=params,
        step=step,
        parameter_vector=params.vector(),
        exits_vector=params.exits.vector(),
        feature_columns=strategy.features + strategy.optional_features,
        required_count=len(strategy.features),
        warmup_bars=warmup_bars,
        state_size=state_size,
        horizon_bars=params.exits.max_bars or 1,
        source_digest=source_digest,
    )


def _size(strategy: type[Strategy], params: StrategyParams, name: str) -> int:
    value: object = getattr(strategy, name)(params)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise StrategyError(
            "invalid_strategy", f"{strategy.type}: {name} must be a number >= 0, was {value!r}", field=name
        )
    return value


def _is_ours(strategy: type[Strategy]) -> bool:
    return strategy.__module__.split(".")[0] == "torghut_runtime"


@lru_cache(maxsize=4096)
def _probe(strategy: type[Strategy], parameters: bytes, warmup_bars: int, state_size: int) -> None:
    sizes = (len(strategy.features), len(strategy.optional_features), state_size, warmup_bars)
    probe_step(strategy.type, strategy.step, np.frombuffer(parameters), *sizes)


@cache
def _compile(strategy: type[Strategy]) -> tuple[Any, str]:
    """The compiled step of a class and the digest of its source; the same objects for the life of the process."""
    validate_class(strategy)
    function = cast("FunctionType", strategy.step)
    reached = reached_functions(function, strategy.type)
    try:
        step: Any = kernel(STEP_SIGNATURE, cache=_is_ours(strategy))(function)
    except Exception as error:
        text = " ".join(str(error).split())
        raise StrategyError("compilation_failed", f"{strategy.type}: the step does not compile: {text:.600}") from error
    return step, _source_digest(reached)


def _source_digest(functions: Iterable[FunctionType]) -> str:
    """Digest over the modules of the functions, or over a function's own text where its module is no file."""
    parts: dict[str, str] = {}
    for function in functions:
        try:
            parts[function.__module__] = code_digest(function.__module__)
        except (ModuleNotFoundError, ValueError):
            parts[f"{function.__module__}.{function.__qualname__}"] = sha256_hex(inspect.getsource(function).encode())
    return digest(parts)
