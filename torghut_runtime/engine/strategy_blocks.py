"""Strategies that an operator has stopped, as the pipeline asks for them: in memory, from any thread.

A block holds at once and is written later; what another process has stored joins it. The table is
:mod:`torghut_runtime.storage.strategy_blocks`.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Final

import sqlalchemy as sa

from torghut_runtime.storage.strategy_blocks import StrategyBlock, block_strategy, read_blocks, unblock_strategy

STRATEGY_DISABLED: Final = "strategy_disabled"


class StrategyBlocks:
    """The blocks of one account: what is stored, with what is still to be written on top."""

    def __init__(self) -> None:
        self.on_block: list[Callable[[StrategyBlock], None]] = []
        """Hears of a block that is new or of another mode, whichever process made it; must not wait."""
        self._lock = threading.Lock()
        self._stored: dict[str, StrategyBlock] = {}
        self._unwritten: dict[str, StrategyBlock | None] = {}
        self._blocks: dict[str, StrategyBlock] = {}

    def reasons(self, strategy_id: str, *, is_exit: bool) -> list[str]:
        """What a block says to an order of a strategy: a reduced one may exit, a frozen one nothing."""
        block = self._blocks.get(strategy_id)
        if block is None or (is_exit and block.mode == "reduce"):
            return []
        return [STRATEGY_DISABLED]

    def all(self) -> Mapping[str, StrategyBlock]:
        """Every block by strategy."""
        return self._blocks

    def block(self, block: StrategyBlock) -> None:
        """Block a strategy now; :meth:`write` makes it durable."""
        self._change(block.strategy_id, block)

    def lift(self, strategy_id: str) -> None:
        """Lift a block now; :meth:`write` makes it durable."""
        self._change(strategy_id, None)

    def read(self, connection: sa.Connection, account_label: str) -> None:
        """Take over what is stored."""
        stored = read_blocks(connection, account_label)
        with self._lock:
            self._stored = stored
            self._unwritten = {
                key: block for key, block in self._unwritten.items() if not _agree(stored.get(key), block)
            }
            new = self._merge()
        self._tell(new)

    def write(self, connection: sa.Connection, account_label: str) -> None:
        """Store what is not stored yet; :meth:`read` sees that it is."""
        with self._lock:
            unwritten = dict(self._unwritten)
        for strategy_id, block in unwritten.items():
            if block is None:
                unblock_strategy(connection, account_label, strategy_id)
            else:
                block_strategy(connection, account_label, block)

    def _change(self, strategy_id: str, block: StrategyBlock | None) -> None:
        with self._lock:
            self._unwritten[strategy_id] = block
            new = self._merge()
        self._tell(new)

    def _merge(self) -> list[StrategyBlock]:
        before = self._blocks
        merged: dict[str, StrategyBlock | None] = {**self._stored, **self._unwritten}
        self._blocks = {key: block for key, block in merged.items() if block is not None}
        return [block for key, block in self._blocks.items() if key not in before or before[key].mode != block.mode]

    def _tell(self, new: list[StrategyBlock]) -> None:
        for block in new:
            for hear in self.on_block:
                hear(block)


def _agree(stored: StrategyBlock | None, wanted: StrategyBlock | None) -> bool:
    if stored is None or wanted is None:
        return stored is wanted
    return (stored.mode, stored.reason, stored.actor) == (wanted.mode, wanted.reason, wanted.actor)
