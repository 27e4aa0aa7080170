"""Recording of every step: what a strategy was asked with and what it said, holds included.

A recorder stands between the trader and whoever keeps the records. Storing them is
:mod:`torghut_runtime.engine.step_writer`'s business, comparing them with a replay that of
:mod:`torghut_runtime.engine.parity`.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from torghut_runtime.engine.decision_record import parameters_digest
from torghut_runtime.engine.driver import Verdict
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.orders.step_record import StepRecord, StrategyCode
from torghut_runtime.strategies.registry import BoundStrategy

UNCHECKED: Final[Mapping[str, Any]] = {"result": "not_checked"}
"""Provenance of a strategy that nobody has checked."""


class StepSink(Protocol):
    """Where records go; called by the trading thread, never waits."""

    def take(self, steps: Sequence[StepRecord]) -> None:
        """Keep records; one whose step is kept already changes nothing."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so many records wait to be stored that nothing may be entered (``backpressure``)."""
        ...


def strategy_code(bound: BoundStrategy, commit: str, provenance: Mapping[str, Any]) -> StrategyCode:
    """What a strategy runs with."""
    kind = bound.strategy_class
    return StrategyCode(
        strategy_id=bound.entry.strategy_id,
        strategy_type=kind.type,
        version=kind.version,
        source_sha256=bound.source_digest,
        params=bound.params.model_dump(mode="json"),
        params_sha256=parameters_digest(bound),
        feature_names=bound.feature_columns,
        commit=commit,
        provenance=provenance,
    )


class Recorder:
    """Makes the records of one account's steps and hands them on.

    Args:
        account_label: of the account.
        sink: who keeps the records.
        mode: paper or live.
        adapter: the broker's, alpaca or simulator.
        commit: of the code that runs.
        checked: result of the check of each strategy's provenance, by strategy id.
    """

    def __init__(
        self,
        account_label: str,
        sink: StepSink,
        *,
        mode: str,
        adapter: str,
        commit: str = "dev",
        checked: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._label = account_label
        self._sink = sink
        self._commit = commit
        self._trading = {"mode": mode, "adapter": adapter}
        self._checked = checked or {}
        self._codes: dict[str, tuple[BoundStrategy, StrategyCode]] = {}
        self._current: dict[str, StepRecord] = {}

    @property
    def is_full(self) -> bool:
        """See :class:`StepSink`."""
        return self._sink.is_full

    @contextmanager
    def steps(
        self,
        verdicts: Sequence[Verdict],
        seconds_to_close: float,
        account: Mapping[str, Decimal],
        price: PriceSnapshot,
        decided_at: datetime,
    ) -> Generator[None]:
        """Record the verdicts on one bar; what is decided on them happens within the block.

        A decision that becomes an order takes its record into the transaction of the intent (:meth:`of`). All records
        go to the sink as well, also when the block raises: the sink drops those that are stored already.
        """
        shown = price.document()
        self._current = {
            verdict.strategy.entry.strategy_id: StepRecord(
                account_label=self._label,
                strategy=self._code(verdict.strategy),
                symbol=verdict.bar.symbol,
                timeframe=verdict.bar.timeframe,
                bar_ts=verdict.bar.open_ts,
                features=tuple(verdict.features.tolist()),
                position=tuple(verdict.position.tolist()),
                memory=tuple(verdict.memory.tolist()),
                seconds_to_close=seconds_to_close,
                code=verdict.code,
                output=tuple(verdict.out.tolist()),
                account=account,
                price=shown,
                decided_at=decided_at,
            )
            for verdict in verdicts
        }
        try:
            yield
        finally:
            if self._current:
                self._sink.take(list(self._current.values()))
                self._current = {}

    def of(self, verdict: Verdict) -> StepRecord | None:
        """The record of a verdict while it is decided on."""
        return self._current.get(verdict.strategy.entry.strategy_id)

    def _code(self, bound: BoundStrategy) -> StrategyCode:
        strategy_id = bound.entry.strategy_id
        known = self._codes.get(strategy_id)
        if known is None or known[0] is not bound:
            check = self._checked.get(strategy_id, UNCHECKED)
            code = strategy_code(bound, self._commit, {"trading": self._trading, "check": check})
            known = self._codes[strategy_id] = (bound, code)
        return known[1]
