"""Which symbols may be entered at all: a list in the settings, or a file that is read again and again.

``refresh`` reads, ``view`` only looks at what was read. A file that cannot be used leaves the last good list in force,
degraded, for a while; then nothing may be entered. What follows for positions is nobody's business here: exits are
allowed always.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, cast

import yaml

from torghut_runtime.clock import Clock
from torghut_runtime.market_data.continuity import UniverseStatus
from torghut_runtime.trading_settings import UniverseSettings

_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9._/-]{0,31}")
_LARGEST_FILE: Final = 4 * 1024 * 1024
_STALE: Final = "_using_stale_cache"
NOT_READ: Final = "not_read"
EMPTY: Final = "symbols_empty"


@dataclass(frozen=True, slots=True)
class UniverseView:
    """The universe now; ``reason`` is empty when all is well, the age is that of the last good list."""

    source: str
    status: UniverseStatus
    reason: str
    symbols: frozenset[str]
    cache_age_seconds: float | None


class UniverseError(Exception):
    """A list that cannot be used; the text is its stable cause."""


class Universe:
    """The universe of one process."""

    def __init__(self, settings: UniverseSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._symbols: frozenset[str] = frozenset()
        self._good_at: datetime | None = None
        self._failure: str = NOT_READ

    def refresh(self) -> UniverseView:
        """Read the list if it is due: after ``TRADING_UNIVERSE_CACHE_SECONDS``, or at once after a failure."""
        now = self._clock.now()
        age = self._age(now)
        if self._failure or age is None or age >= self._settings.cache_seconds or age < 0:
            try:
                self._symbols = self._read()
            except UniverseError as error:
                self._failure = str(error)
            else:
                self._failure, self._good_at = "", now
        return self.view

    @property
    def view(self) -> UniverseView:
        """What holds now, by what was read."""
        age = self._age(self._clock.now())
        source = self._settings.source
        if not self._failure:
            return UniverseView(source, "ok", "", self._symbols, age)
        if age is not None and age <= self._settings.max_stale_seconds and self._failure != EMPTY:
            return UniverseView(source, "degraded", self._failure + _STALE, self._symbols, age)
        return UniverseView(source, "error", self._failure, frozenset(), age)

    def _age(self, now: datetime) -> float | None:
        return None if self._good_at is None else (now - self._good_at).total_seconds()

    def _read(self) -> frozenset[str]:
        if self._settings.source == "static":
            given = (self._settings.static_symbols or "").split(",")
            return _checked([each for each in given if each.strip()])
        assert self._settings.path is not None
        return read_universe(self._settings.path)


def read_universe(path: Path) -> frozenset[str]:
    """Symbols of a file: a list, or an object with ``symbols``; YAML or JSON.

    Raises:
        UniverseError: ``file_missing``, ``file_unreadable``, ``file_invalid`` or ``symbols_empty``.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UniverseError("file_invalid")
        document: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UniverseError("file_missing") from None
    except (OSError, UnicodeDecodeError):
        raise UniverseError("file_unreadable") from None
    except (yaml.YAMLError, RecursionError):
        raise UniverseError("file_invalid") from None
    if isinstance(document, dict):
        fields = cast("dict[object, object]", document)
        if set(fields) != {"symbols"}:
            raise UniverseError("file_invalid")
        document = fields["symbols"]
    if document is None:
        raise UniverseError(EMPTY)
    if not isinstance(document, list):
        raise UniverseError("file_invalid")
    return _checked(cast("list[object]", document))


def _checked(values: Collection[object]) -> frozenset[str]:
    symbols = [each.strip().upper() if isinstance(each, str) else "" for each in values]
    if not symbols:
        raise UniverseError(EMPTY)
    if not all(_SYMBOL.fullmatch(symbol) for symbol in symbols):
        raise UniverseError("file_invalid")
    return frozenset(symbols)


def is_allowed(symbol: str, strategy_symbols: Collection[str] | None, universe: Collection[str]) -> bool:
    """Whether a strategy may enter a symbol: its own symbols ∩ universe, or the universe where it names none."""
    return symbol in universe and (strategy_symbols is None or symbol in strategy_symbols)
