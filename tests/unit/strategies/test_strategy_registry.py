"""Which strategies load, which do not and why; parameters, search grids and the purity of a step."""

import random
import time
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field

from torghut_runtime.compiled import Vector, float64, kernel
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy, StrategyError, StrategyParams, tag_names
from torghut_runtime.strategies.registry import (
    BUILT_INS,
    MAX_SEARCH_POINTS,
    BoundStrategy,
    StrategyRegistry,
    default_registry,
    resolve,
    resolve_all,
)

LIMITS = [1.0, 2.0]
FACTOR = 2.0


class Plain(Strategy):
    """Buys always."""

    type = "plain"
    version = "1.0.0"
    tags = ("first", "second")
    features = ("price",)

    class Params(StrategyParams):
        """One of each kind of parameter."""

        level: float = Field(default=1.5, ge=0, le=10)
        flag: bool = False
        mode: Literal["a", "b", "c"] = "b"
        bars: int | None = Field(default=None, ge=1)

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
        """Buy."""
        out[0], out[1], out[2] = 1.0, 1.0, 1.0


class PlainTwo(Plain):
    """The next version."""

    version = "2.0.0"


class Conflicting(Strategy):
    """Another class under a name that is taken."""

    type = "plain"
    version = "1.0.0"
    features = ("price",)
    step = Plain.step


def entry(strategy_type: str = "plain", **keys: Any) -> StrategyEntry:
    return StrategyEntry.model_validate({"strategy_id": "s", "strategy_type": strategy_type, **keys})


def bound(strategy: type[Strategy] = Plain, **keys: Any) -> BoundStrategy:
    return resolve(entry(strategy.type, **keys), None, StrategyRegistry.of(strategy))


def refusal(strategy: type[Strategy] = Plain, **keys: Any) -> StrategyError:
    with pytest.raises(StrategyError) as raised:
        bound(strategy, **keys)
    return raised.value


def test_the_built_in_strategies_are_registered() -> None:
    classes = default_registry().classes
    for strategy in BUILT_INS:
        assert classes[strategy.type, strategy.version] is strategy
    assert {(each.type, each.version) for each in BUILT_INS} == {
        ("legacy_macd_rsi", "1.0.0"),
        ("intraday_tsmom_v1", "1.1.0"),
        ("daily_momentum", "1.0.0"),
        ("buy_and_hold", "1.0.0"),
    }


def test_a_version_may_be_left_out_only_while_there_is_one() -> None:
    one, two = StrategyRegistry.of(Plain), StrategyRegistry.of(Plain, PlainTwo)
    assert one.find("plain", None) is Plain
    assert two.find("plain", "2.0.0") is PlainTwo
    for registry, version, reason in (
        (two, None, "version_required"),
        (two, "3.0.0", "unknown_version"),
        (one, "1.0", "unknown_version"),
    ):
        with pytest.raises(StrategyError) as raised:
            registry.find("plain", version)
        assert (raised.value.reason, raised.value.field) == (reason, "version")


def test_an_unknown_type_is_told_with_the_known_ones() -> None:
    with pytest.raises(StrategyError, match="unknown strategy type 'plan', known are plain") as raised:
        resolve(entry("plan"), None, StrategyRegistry.of(Plain))
    assert (raised.value.reason, raised.value.field) == ("unknown_strategy", "strategy_type")


def test_two_classes_of_one_type_and_version_refuse_each_other() -> None:
    for registry in (
        StrategyRegistry.of(Plain, Conflicting),
        StrategyRegistry.of(Conflicting, Plain, Conflicting),
        StrategyRegistry.of(Plain).extended(Conflicting),
        StrategyRegistry.of(Plain, Conflicting).extended(Plain),
    ):
        for version in ("1.0.0", None):
            with pytest.raises(StrategyError, match="registered more than once") as raised:
                registry.find("plain", version)
            assert raised.value.reason == "plugin_conflict"
    assert StrategyRegistry.of(Plain, Conflicting, PlainTwo).find("plain", "2.0.0") is PlainTwo


def test_the_same_class_twice_is_no_conflict() -> None:
    assert StrategyRegistry.of(Plain, Plain).find("plain", "1.0.0") is Plain


def test_parameters_reach_the_step_as_numbers_in_field_order() -> None:
    assert np.array_equal(bound().parameter_vector, [1.5, 0.0, 1.0, np.nan], equal_nan=True)
    chosen = bound(params={"level": 0, "flag": True, "mode": "c", "bars": 3})
    assert chosen.parameter_vector.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"levl": 2}, "params.levl", "unknown key; did you mean level?"),
        ({"level": 11}, "params.level", "less than or equal to 10"),
        ({"level": "2"}, "params.level", "valid number"),
        ({"level": None}, "params.level", "valid number"),
        ({"flag": "true"}, "params.flag", "valid boolean, was 'true'"),
        ({"flag": 1}, "params.flag", "valid boolean"),
        ({"mode": "d"}, "params.mode", "'a', 'b' or 'c'"),
        ({"bars": 0}, "params.bars", "greater than or equal to 1"),
        ({"bars": 1.5}, "params.bars", "valid integer"),
        ({"qty": -1}, "params.qty", "greater than or equal to 0"),
        ({"pyramid": "no"}, "params.pyramid", "valid boolean"),
        ({"exits": {"stop": 1}}, "params.exits.stop", "did you mean stop_pct?"),
        ({"exits": {"stop_pct": 1.5}}, "params.exits.stop_pct", "less than or equal to 1"),
        ({"exits": {"max_bars": 0}}, "params.exits.max_bars", "greater than or equal to 1"),
    ],
)
def test_invalid_parameters_are_named(params: dict[str, Any], field: str, message: str) -> None:
    error = refusal(params=params)
    assert (error.reason, error.field) == ("invalid_params", field)
    assert message in error.message


def test_parameters_that_contradict_each_other_are_refused() -> None:
    for strategy_type, timeframe, params, message in (
        ("intraday_tsmom_v1", "1Min", {"min_bull_rsi": 63}, "min_bull_rsi is above max_bull_rsi"),
        ("intraday_tsmom_v1", "1Min", {"vol_floor": 0.1}, "vol_floor is above vol_ceil"),
        ("daily_momentum", "1Day", {"skip_bars": 252}, "skip_bars must be below lookback_bars"),
    ):
        with pytest.raises(StrategyError, match=message) as raised:
            resolve(entry(strategy_type, params=params, base_timeframe=timeframe), None)
        assert raised.value.reason == "invalid_params"


def test_a_search_is_a_grid_in_a_fixed_order() -> None:
    grid = bound(search={"mode": ["a", "c"], "level": [1, 2], "exits.max_bars": [5]}).grid()
    assert grid == [{"exits.max_bars": 5, "level": level, "mode": mode} for level in (1, 2) for mode in ("a", "c")]
    assert bound().grid() == [{}]
    changed = bound(params={"exits": {"stop_pct": 0.1}}).with_params(**grid[-1])
    assert (changed.horizon_bars, changed.params.exits.stop_pct) == (5, 0.1)
    assert changed.parameter_vector[:3].tolist() == [2.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"level": [1, 11]}, "with level=11"),
        ({"levl": [1]}, "did you mean level?"),
        ({"exits.stop": [0.1]}, "stop"),
        ({"level": [index / 20000 for index in range(MAX_SEARCH_POINTS + 1)]}, f"at most {MAX_SEARCH_POINTS}"),
    ],
)
def test_a_search_outside_the_parameters_is_refused(search: dict[str, Any], message: str) -> None:
    error = refusal(search=search)
    assert (error.reason, error.field) == ("invalid_search", "search")
    assert message in error.message


def test_a_strategy_says_for_which_timeframes_and_features_it_is() -> None:
    with pytest.raises(StrategyError, match="made for 1Day, was 1Min") as raised:
        resolve(entry("daily_momentum"), None)
    assert (raised.value.reason, raised.value.field) == ("timeframe_not_supported", "base_timeframe")
    with pytest.raises(StrategyError, match="requires macd_signal, which") as raised:
        resolve(entry("legacy_macd_rsi"), frozenset({"macd", "rsi14"}))
    assert (raised.value.reason, raised.value.field) == ("feature_unavailable", "features")
    optional = resolve(entry("intraday_tsmom_v1"), frozenset({"ema12", "ema26", "macd", "macd_signal", "rsi14"}))
    assert optional.feature_columns[optional.required_count :] == ("vol_realized_w60s",)


def test_an_undeclared_feature_is_refused() -> None:
    class Asks(Plain):
        type = "asks"
        features = ("price", "sentiment")

    error = refusal(Asks)
    assert (error.reason, error.field) == ("unknown_feature", "features")


def test_only_enabled_entries_are_bound_and_errors_name_the_entry() -> None:
    registry = StrategyRegistry.of(Plain)
    off = entry("nothing", enabled=False)
    assert resolve_all([off], None, registry) == []
    with pytest.raises(StrategyError) as raised:
        resolve_all([off, entry(), entry(params={"level": -1})], None, registry)
    assert raised.value.row == 3


class _EntryPoint:
    """An installed plugin, or one that breaks."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, f"package:{name}", loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_a_plugin_that_breaks_is_refused_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        _EntryPoint("plain", Plain),
        _EntryPoint("broken", ImportError("no module named secret_sauce")),
        _EntryPoint("thing", 5),
        _EntryPoint("clash", variant("Clash", type="buy_and_hold")),
    ]
    monkeypatch.setattr("torghut_runtime.strategies.registry.metadata.entry_points", lambda group: points)
    registry = default_registry.__wrapped__()
    assert registry.find("plain", None) is Plain
    assert registry.find("legacy_macd_rsi", None).version == "1.0.0"
    reasons = {name: error.reason for name, error in registry.refused.items()}
    assert reasons["broken"] == "plugin_broken"
    assert reasons["buy_and_hold 1.0.0"] == "plugin_conflict"
    assert len(reasons) == 3
    with pytest.raises(StrategyError, match="no module named secret_sauce") as raised:
        registry.find("broken", None)
    assert raised.value.reason == "plugin_broken"


def variant(name: str, **attributes: Any) -> type[Strategy]:
    """A class like ``Plain`` with other attributes."""
    return type(name, (Plain,), {"type": "variant", **attributes})


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"type": "Not An Identifier"}, "type"),
        ({"type": None}, "type"),
        ({"version": "1.0"}, "version"),
        ({"version": "01.0.0"}, "version"),
        ({"features": ()}, "features"),
        ({"features": ["price"]}, "features"),
        ({"features": ("price", "price")}, "features"),
        ({"optional_features": ("price",)}, "features"),
        ({"tags": ("stop_loss",)}, "tags"),
        ({"tags": ("a", "a")}, "tags"),
        ({"tags": tuple(f"t{index}" for index in range(33))}, "tags"),
        ({"Params": dict}, "Params"),
        ({"step": staticmethod(lambda f, p, pos, state: None)}, "step"),
        ({"step": Strategy.step}, "step"),
    ],
)
def test_an_incomplete_class_is_refused_with_its_attribute(attributes: dict[str, Any], field: str) -> None:
    strategy = variant("Variant", **attributes)
    registry = StrategyRegistry.of(strategy)
    assert registry.classes == {}
    (error,) = registry.refused.values()
    assert (error.reason, error.field) == ("invalid_strategy", field)


@pytest.mark.parametrize("attribute", ["warmup_bars", "state_size"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_sizes_are_whole_numbers(attribute: str, value: object) -> None:
    error = refusal(variant("Sized", **{attribute: staticmethod(lambda params: value)}))
    assert (error.reason, error.field) == ("invalid_strategy", attribute)


def test_a_parameter_that_is_no_number_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="a parameter is a number, flag or choice"):

        class Texts(StrategyParams):  # pyright: ignore[reportUnusedClass]
            name: str = "x"


@kernel(float64(float64), cache=False)
def doubled(value: float) -> float:
    return value * FACTOR


@kernel(float64(float64), cache=False)
def drawn(value: float) -> float:
    return value * random.random()


def _reads_a_list(f, p, pos, state, out):
    out[0] = LIMITS[0]


def _asks_the_time(f, p, pos, state, out):
    out[0] = time.time()


def _draws(f, p, pos, state, out):
    out[0] = np.random.rand()


def _draws_through_another(f, p, pos, state, out):
    out[0] = drawn(f[0])


def _raises(f, p, pos, state, out):
    if f[0] > 1.0:
        raise ValueError("no")


def _prints(f, p, pos, state, out):
    print(f[0])


def _hashes(f, p, pos, state, out):
    out[0] = hash(f[0])


def _calls_python(f, p, pos, state, out):
    out[0] = entry(f[0])


def _closing() -> Any:
    level = 2.0

    def step(f, p, pos, state, out):
        out[0] = level

    return step


@pytest.mark.parametrize(
    "step",
    [
        _reads_a_list,
        _asks_the_time,
        _draws,
        _draws_through_another,
        _raises,
        _prints,
        _hashes,
        _calls_python,
        _closing(),
    ],
    ids=lambda step: step.__name__,
)
def test_an_impure_step_is_refused(step: Any) -> None:
    error = refusal(variant("Impure", step=staticmethod(step)))
    assert (error.reason, error.field) == ("impure_step", "step")


def _pure(f, p, pos, state, out):
    out[0] = 1.0 if doubled(f[0]) > np.log(p[0]) else 0.0
    out[1], out[2] = 1.0, min(1.0, abs(f[0]))


def _reads_behind_its_features(f, p, pos, state, out):
    out[0] = f[1]


def _writes_behind_its_memory(f, p, pos, state, out):
    state[0] = 1.0


def _does_not_compile(f, p, pos, state, out):
    out[0] = f[0].nothing_of_the_kind


def test_a_step_may_use_numbers_numpy_and_compiled_functions() -> None:
    strategy = bound(variant("Pure", step=staticmethod(_pure)))
    out = np.zeros(4)
    strategy.step(np.array([10.0]), strategy.parameter_vector, np.zeros(5), np.zeros(0), out)
    assert out.tolist() == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (_reads_behind_its_features, "step_failed"),
        (_writes_behind_its_memory, "step_failed"),
        (_does_not_compile, "compilation_failed"),
    ],
)
def test_a_step_that_fails_is_refused_before_it_is_trusted(step: Any, reason: str) -> None:
    assert refusal(variant("Failing", step=staticmethod(step))).reason == reason


def test_the_digest_of_the_source_is_that_of_the_code_reached() -> None:
    assert bound().source_digest == bound(params={"level": 3}).source_digest
    (built_in,) = resolve_all([entry("buy_and_hold")], None)
    assert built_in.source_digest != bound().source_digest
    assert len(built_in.source_digest) == 64


def test_tags_are_named_by_their_bits() -> None:
    assert tag_names(("first", "second"), 0b10) == ("second",)
    assert tag_names(("first", "second"), 0b11 + 2.0**40) == ("first", "second", "stop_loss")
    assert tag_names((), 2.0**43) == ("flatten_before_close",)


def test_parameters_have_a_schema() -> None:
    schema = StrategyRegistry.of(Plain).params_schema("plain")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"level", "flag", "mode", "bars", "qty", "pyramid", "exits"}
    assert schema["properties"]["level"]["maximum"] == 10
