"""Parity: the compiled steps asked again what they were asked when they traded, and compared bit by bit.

A recorded step has everything that the step saw: features, position, own memory, seconds to the close, parameters. The
same code must say the same again. The ratio is the equal ones by the recorded ones; without a record there is none.
Where records are read from is the caller's business; gates and ``torghut-runtime replay --recorded`` use this alike.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
from pydantic import ValidationError

from torghut_runtime.compiled import functions_as_arguments
from torghut_runtime.engine.decision_record import parameters_digest
from torghut_runtime.orders.step_record import feature_digest
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import OUTPUT, StrategyError
from torghut_runtime.strategies.decide import decide
from torghut_runtime.strategies.registry import BoundStrategy, StrategyRegistry, default_registry, resolve

Cause = Literal["strategy_unknown", "code_changed", "inputs_changed", "output_changed"]
Status = Literal["equal", "different", "missing"]

_NAN: Final = struct.pack("d", float("nan"))


@dataclass(frozen=True, slots=True)
class Difference:
    """A recorded step that the replay does not repeat.

    ``strategy_unknown``: type, version or parameters that nothing registered takes; ``code_changed``: another source
    under the recorded version; ``inputs_changed``: features or parameters that are not those of their digests;
    ``output_changed``: the same code says something else. ``replayed`` is None where nothing could be asked.
    """

    account_label: str
    strategy_id: str
    symbol: str
    timeframe: str
    bar_ts: datetime
    cause: Cause
    detail: str
    recorded: tuple[float, ...]
    """Code and output."""
    replayed: tuple[float, ...] | None = None

    def document(self) -> dict[str, Any]:
        """As plain values; a number that JSON does not have is text."""
        return {
            "account_label": self.account_label,
            "strategy_id": self.strategy_id,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "bar_ts": self.bar_ts,
            "cause": self.cause,
            "detail": self.detail,
            "recorded": _answer(self.recorded),
            "replayed": None if self.replayed is None else _answer(self.replayed),
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """How much of what was recorded a replay repeats."""

    recorded: int = 0
    equal: int = 0
    differences: tuple[Difference, ...] = ()
    by_strategy: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Recorded and equal steps per strategy."""

    @property
    def ratio(self) -> float | None:
        """Equal by recorded steps; None where nothing is recorded, which is no parity."""
        return self.equal / self.recorded if self.recorded else None

    @property
    def status(self) -> Status:
        """``missing`` without a record."""
        if not self.recorded:
            return "missing"
        return "equal" if self.equal == self.recorded else "different"

    def document(self) -> dict[str, Any]:
        """As plain values, every difference listed."""
        return {
            "status": self.status,
            "recorded": self.recorded,
            "equal": self.equal,
            "ratio": self.ratio,
            "strategies": {
                name: {"recorded": recorded, "equal": equal, "ratio": equal / recorded}
                for name, (recorded, equal) in sorted(self.by_strategy.items())
            },
            "differences": [each.document() for each in self.differences],
        }


def parity(rows: Iterable[Mapping[str, Any]], registry: StrategyRegistry | None = None) -> Parity:
    """Replay recorded steps and compare, bit by bit: code, signal, target, confidence, tags. Every NaN is one value.

    Args:
        rows: as :func:`~torghut_runtime.storage.decision_inputs.recorded_rows` reads them.
        registry: whose strategies are asked; the installed ones when left out.
    """
    steps = _Steps(registry or default_registry())
    counts: dict[str, list[int]] = {}
    differences: list[Difference] = []
    with functions_as_arguments():
        for row in rows:
            found = _difference(row, steps)
            count = counts.setdefault(row["strategy_id"], [0, 0])
            count[0] += 1
            if found is None:
                count[1] += 1
            else:
                differences.append(found)
    return Parity(
        recorded=sum(count[0] for count in counts.values()),
        equal=sum(count[1] for count in counts.values()),
        differences=tuple(differences),
        by_strategy={name: (count[0], count[1]) for name, count in counts.items()},
    )


class _Steps:
    """Recorded strategies bound to the code that is installed, each once."""

    def __init__(self, registry: StrategyRegistry) -> None:
        self._registry = registry
        self._bound: dict[tuple[str, ...], BoundStrategy | str] = {}
        self._digests: dict[int, str] = {}

    def of(self, row: Mapping[str, Any]) -> BoundStrategy | str:
        key = (row["strategy_id"], row["strategy_type"], row["strategy_version"], row["timeframe"], repr(row["params"]))
        if key not in self._bound:
            try:
                entry = StrategyEntry(
                    strategy_id=key[0],
                    name=key[0],
                    strategy_type=key[1],
                    version=key[2],
                    base_timeframe=key[3],
                    params=row["params"],
                )
                self._bound[key] = resolve(entry, None, self._registry)
            except StrategyError as error:
                self._bound[key] = f"{error.reason}: {error.message}"
            except ValidationError as error:
                self._bound[key] = f"no entry of a catalog: {error.errors()[0]['msg']}"
        return self._bound[key]

    def digest_of(self, bound: BoundStrategy) -> str:
        """That of its parameters."""
        if id(bound) not in self._digests:
            self._digests[id(bound)] = parameters_digest(bound)
        return self._digests[id(bound)]


def _difference(row: Mapping[str, Any], steps: _Steps) -> Difference | None:
    recorded = (float(row["code"]), *row["output"])

    def differs(cause: Cause, detail: str, replayed: tuple[float, ...] | None = None) -> Difference:
        return Difference(
            row["account_label"],
            row["strategy_id"],
            row["symbol"],
            row["timeframe"],
            row["bar_ts"],
            cause,
            detail,
            recorded,
            replayed,
        )

    bound = steps.of(row)
    if isinstance(bound, str):
        return differs("strategy_unknown", bound)
    sizes = (len(bound.feature_columns), bound.state_size)
    if (len(row["features"]), len(row["memory"])) != sizes:
        return differs("code_changed", "the step takes other features or another memory")
    replayed = _replayed(row, bound)
    source = row["provenance"].get("source_sha256")
    if source != bound.source_digest:
        detail = f"source {str(source)[:12]} was recorded, {bound.source_digest[:12]} is installed"
        return differs("code_changed", detail, replayed)
    if row["params_sha256"] != steps.digest_of(bound):
        return differs("inputs_changed", "the parameters are not those of their digest", replayed)
    if row["feature_sha256"] != feature_digest(bound.feature_columns, row["features"]):
        return differs("inputs_changed", "the features are not those of their digest", replayed)
    compared = zip(("code", *OUTPUT), recorded, replayed, strict=True)
    names = [name for name, was, now in compared if _bits(was) != _bits(now)]
    return differs("output_changed", ", ".join(names), replayed) if names else None


def _replayed(row: Mapping[str, Any], bound: BoundStrategy) -> tuple[float, ...]:
    out = np.zeros(len(OUTPUT))
    seconds = row["seconds_to_close"]
    code = decide(
        bound.step,
        np.array(row["features"], dtype=np.float64),
        bound.parameter_vector,
        bound.exits_vector,
        np.array(row["position"], dtype=np.float64),
        float("nan") if seconds is None else seconds,
        bound.params.pyramid,
        np.array(row["memory"], dtype=np.float64),
        out,
    )
    return (float(code), *out.tolist())


def _bits(value: float) -> bytes:
    return _NAN if math.isnan(value) else struct.pack("d", value)


def _answer(values: Sequence[float]) -> dict[str, float | str]:
    return {
        name: value if math.isfinite(value) else repr(value)
        for name, value in zip(("code", *OUTPUT), values, strict=True)
    }
