"""What one call of a strategy's step was asked with and what it said, as it is recorded for parity (``runtime.md`` 7).

Values only. They are made by :mod:`torghut_runtime.engine.recording`, stored by
:mod:`torghut_runtime.storage.decision_inputs` and replayed by :mod:`torghut_runtime.engine.parity`.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from torghut_runtime.canonical import SIGNIFICANT_DIGITS, sha256_hex
from torghut_runtime.orders.model import client_order_id, trace_of


class StrategyCode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which code and which parameters a strategy ran with; one value serves all its steps."""

    strategy_id: str
    strategy_type: str
    version: str
    source_sha256: str
    """Over the source of every module that the step reaches."""
    params: Mapping[str, Any]
    """Plain JSON values, floats with all their digits."""
    params_sha256: str
    feature_names: tuple[str, ...]
    commit: str
    provenance: Mapping[str, Any]
    """Mode and adapter that it trades under, and what the check of its provenance said when it was loaded."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call of a step, at the moment of the call.

    ``features``, ``position``, ``memory`` (before the step) and ``output`` are the very float64 values; ``account`` and
    ``price`` are what the decision saw beside them.
    """

    account_label: str
    strategy: StrategyCode
    symbol: str
    timeframe: str
    bar_ts: datetime
    """Start of the bar."""
    features: tuple[float, ...]
    position: tuple[float, ...]
    memory: tuple[float, ...]
    seconds_to_close: float
    code: int
    output: tuple[float, ...]
    account: Mapping[str, Decimal]
    price: Mapping[str, Any]
    decided_at: datetime

    @property
    def trace_id(self) -> str:
        """That of the decision and of the orders that may follow from it."""
        key = client_order_id(self.account_label, self.strategy.strategy_id, self.symbol, self.bar_ts, intent_seq=0)
        return trace_of(key)


def feature_digest(names: Sequence[str], features: Sequence[float]) -> str:
    """sha256 of the canonical JSON of a feature row by name, as decisions have it.

    Written out for speed: a name needs no escape, a float is what :mod:`torghut_runtime.canonical` makes of it.
    """
    named = sorted(zip(names, features, strict=True))
    text = ",".join([f'"{name}":{_number(value)}' for name, value in named])
    return sha256_hex(f"{{{text}}}".encode())


def _number(value: float) -> str:
    return "null" if math.isnan(value) else repr(float(f"{value:.{SIGNIFICANT_DIGITS}g}") or 0.0)
