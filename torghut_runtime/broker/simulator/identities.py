"""Identifiers that are pure functions of the seed and of a running number, so that a day repeats to the byte."""

import hashlib
from collections import defaultdict
from typing import Final
from uuid import UUID

from torghut_runtime.broker.simulator.instants import MILLISECOND

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def uuid_of(text: str) -> str:
    """A version 4 UUID that depends on ``text`` only."""
    return str(UUID(bytes=_digest(text)[:16], version=4))


def asset_id(symbol: str) -> str:
    """The identifier of an asset: the same in every simulation."""
    return uuid_of(f"asset:{symbol}")


class Identities:
    """Draws identifiers in order, per kind."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: defaultdict[str, int] = defaultdict(int)

    def draw(self, kind: str) -> str:
        """The next UUID of this kind."""
        self._drawn[kind] += 1
        return uuid_of(f"{self._seed}:{kind}:{self._drawn[kind]}")

    def event(self, ns: int) -> str:
        """The next event identifier: a ULID (time in milliseconds, then 80 bits), ascending in the order drawn."""
        self._drawn["event"] += 1
        number = self._drawn["event"]
        entropy = int.from_bytes(_digest(f"{self._seed}:event:{number}")[:5], "big")
        value = (ns // MILLISECOND) << 80 | number << 40 | entropy
        letters: list[str] = []
        for _ in range(26):
            value, digit = divmod(value, 32)
            letters.append(_CROCKFORD[digit])
        return "".join(reversed(letters))
