"""The catalog of a running engine: read, merged with what was stored, bound to code, and read again when it changes.

A file that cannot be used leaves the catalog that runs as it is; an entry that cannot be bound disables that strategy
with a reason. What trades is decided here only as far as the catalog says; swapping is the trading thread's business.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from torghut_runtime.canonical import digest, sha256_hex
from torghut_runtime.clock import Clock
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import StrategyEntry, load_catalog
from torghut_runtime.strategies.contract import StrategyError
from torghut_runtime.strategies.registry import BoundStrategy, StrategyRegistry, resolve
from torghut_runtime.trading_settings import StrategySettings

log = logging.getLogger(__name__)

DISABLED: Final = "strategy_disabled"
MISSING: Final = "provenance_missing"
_BIND_SECONDS: Final = 120.0

Provenance = Callable[[StrategyEntry], list[str]]
"""Reasons against entries of a strategy; empty when it may enter."""
Features = Callable[[str], frozenset[str]]
"""The features that bars of a timeframe can have."""


def without_attestations(*, required: bool) -> Provenance:
    """What holds while nothing verifies attestations: where one is required there is none."""
    return lambda _: [MISSING] if required else []


@dataclass(frozen=True)
class LoadedStrategy:
    """An entry, and what it became: ``bound`` is None where it cannot run, ``error`` says why."""

    entry: StrategyEntry
    bound: BoundStrategy | None
    error: str | None
    provenance: tuple[str, ...]
    """Reasons of provenance against its entries; empty where it is in order, or none is required."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Reasons against its entries: the catalog's, and those of provenance."""
        return self.provenance if self.enabled and self.bound is not None else (DISABLED, *self.provenance)

    @property
    def strategy_id(self) -> str:
        """Of the entry."""
        return self.entry.strategy_id

    @property
    def name(self) -> str:
        """Of the entry."""
        return self.entry.name

    @property
    def enabled(self) -> bool:
        """Whether the catalog wants it to trade."""
        return self.entry.enabled

    @property
    def document(self) -> dict[str, Any]:
        """The entry as plain values, each as it was given."""
        return self.entry.model_dump(mode="json", exclude_none=True)

    @property
    def sha256(self) -> str:
        """Of the entry."""
        return digest(self.document)

    @property
    def shown(self) -> dict[str, Any]:
        """What the status says of it."""
        kind = None if self.bound is None else self.bound.strategy_class
        return {
            "strategy_id": self.strategy_id,
            "name": self.name,
            "strategy_type": self.entry.strategy_type,
            "version": self.entry.version if kind is None else kind.version,
            "base_timeframe": self.entry.base_timeframe,
            "symbols": None if self.entry.universe_symbols is None else list(self.entry.universe_symbols),
            "enabled": self.enabled,
            "error": self.error,
            "entry_refusals": list(self.refusals),
            "entry_sha256": self.sha256,
        }


@dataclass(frozen=True)
class LoadedCatalog:
    """A catalog that can run."""

    strategies: tuple[LoadedStrategy, ...] = ()
    digest: str | None = None
    """Of the file's bytes; None without a file."""
    loaded_at: datetime | None = None

    def refusals(self, strategy_id: str) -> tuple[str, ...]:
        """Reasons against entries of a strategy; one that the catalog does not have is disabled."""
        return next((each.refusals for each in self.strategies if each.strategy_id == strategy_id), (DISABLED,))

    def running(self, holders: Iterable[str]) -> list[BoundStrategy]:
        """The strategies that are asked at every bar: the enabled ones, and of the others those that hold something."""
        holding = frozenset(holders)
        return [
            each.bound
            for each in self.strategies
            if each.bound is not None and (each.enabled or each.strategy_id in holding)
        ]


def merged(
    stored: Iterable[StrategyEntry], given: Sequence[StrategyEntry] | None, mode: str
) -> tuple[StrategyEntry, ...]:
    """The stored entries with the file's over them, by name; ``sync`` disables what the file does not name.

    ``given`` is None where there is no usable file. An entry that takes another's strategy id ends that other.
    """
    if given is None:
        return tuple(stored)
    names, ids = {entry.name for entry in given}, {entry.strategy_id for entry in given}
    kept: list[StrategyEntry] = []
    for entry in stored:
        if entry.strategy_id in ids:
            continue
        renamed = entry.name in names
        if renamed:  # the name now belongs to another strategy id; positions stay with the old one
            kept.append(entry.model_copy(update={"enabled": False, "name": entry.strategy_id}))
        else:
            kept.append(entry.model_copy(update={"enabled": False}) if mode == "sync" else entry)
    return tuple(sorted([*kept, *given], key=lambda entry: entry.strategy_id))


class LiveCatalog:
    """Reads the file, and keeps the newest catalog that can run."""

    def __init__(
        self,
        settings: StrategySettings,
        features: Features,
        clock: Clock,
        provenance: Provenance,
        *,
        registry: StrategyRegistry | None = None,
    ) -> None:
        self._settings = settings
        self._features = features
        self._clock = clock
        self._provenance = provenance
        self._registry = registry
        self._lock = threading.Lock()
        self._seen: str | None = None
        self._entries: tuple[StrategyEntry, ...] = ()
        self.current = LoadedCatalog()
        self.error: str | None = None
        self.errors_total = 0
        self.changed: Callable[[], None] = lambda: None
        """Called after another catalog has become the current one, in the thread that read it."""

    @property
    def _path(self) -> Path | None:
        return self._settings.config_path

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Look for another file every few seconds until told to stop."""
        pause = float(self._settings.reload_seconds)
        waited = 0.0
        while not stop.is_set():
            beat.beat()
            stop.wait(min(1.0, pause))
            waited += min(1.0, pause)
            if waited >= pause:
                waited = 0.0
                beat.beat(_BIND_SECONDS)
                if self.reload():
                    self.changed()

    def load(self, stored: Iterable[Mapping[str, Any]]) -> LoadedCatalog:
        """The catalog of a start: what was stored, and the file over it."""
        with self._lock:
            entries: list[StrategyEntry] = []
            for document in stored:
                try:
                    entries.append(StrategyEntry.model_validate(document))
                except ValidationError as error:
                    log.warning("a stored strategy cannot be read any more: %s", error.errors()[0]["msg"])
            self._entries = tuple(entries)
            self._seen = None
            self._read()
            if self._seen is None:
                self._become(self._entries, None)
            return self.current

    def reload(self) -> bool:
        """Read the file when its bytes are others; whether the catalog is another one now."""
        with self._lock:
            before = self.current
            self._read()
            return self.current is not before

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            content = self._path.read_bytes()
        except OSError as error:
            self._fail(f"{self._path}: cannot be read: {error.strerror}")
            return
        found = sha256_hex(content)
        if found == self._seen:
            return
        first = self._seen is None
        self._seen = found
        try:
            given = load_catalog(content.decode())
        except (InputError, UnicodeDecodeError) as error:
            told = error.located(file=self._path) if isinstance(error, InputError) else error
            self._fail(str(told))
            if first:
                self._seen = None
            return
        self.error = None
        self._become(merged(self._entries, given, self._settings.config_mode), found)

    def _fail(self, message: str) -> None:
        if message != self.error:
            self.errors_total += 1
            log.error("the catalog stays as it is: %s", message)
        self.error = message

    def _become(self, entries: tuple[StrategyEntry, ...], file_digest: str | None) -> None:
        self._entries = entries
        loaded = tuple(self._loaded(entry) for entry in entries)
        self.current = LoadedCatalog(loaded, file_digest, self._clock.now())

    def _loaded(self, entry: StrategyEntry) -> LoadedStrategy:
        provenance = tuple(self._provenance(entry))
        try:
            bound = resolve(entry, self._features(entry.base_timeframe), self._registry)
        except StrategyError as error:
            log.error("strategy %s does not run: %s", entry.strategy_id, error)  # noqa: TRY400 - told, not traced
            return LoadedStrategy(entry, None, f"{error.reason}: {error}", provenance)
        return LoadedStrategy(entry, bound, None, provenance)
