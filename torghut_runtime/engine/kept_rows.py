"""The newest feature rows of one symbol and timeframe: what a strategy that joins later is warmed up with.

All memory is taken at once, so that a day of bars does not grow it. What a row means is
:mod:`torghut_runtime.market.features`'s business.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from torghut_runtime.compiled import Vector
from torghut_runtime.market.features import FEATURES

KEPT_ROWS: Final = 512


class KeptRows:
    """A ring of feature rows, each with its seconds to the session's close."""

    def __init__(self) -> None:
        # Written, not only reserved: pages that nobody has touched are no memory yet.
        self._table = np.full((KEPT_ROWS, len(FEATURES) + 1), np.nan)
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, KEPT_ROWS)

    def append(self, row: Vector, seconds_to_close: float) -> None:
        """Keep a copy; the oldest gives way."""
        kept = self._table[self._count % KEPT_ROWS]
        kept[:-1] = row
        kept[-1] = seconds_to_close
        self._count += 1

    def oldest_first(self) -> Iterator[tuple[Vector, float]]:
        """Every row with its seconds to the close."""
        for number in range(self._count - len(self), self._count):
            kept = self._table[number % KEPT_ROWS]
            yield kept[:-1].copy(), float(kept[-1])
