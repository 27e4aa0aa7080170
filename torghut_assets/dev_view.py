"""What ``torghut dev`` shows in its terminal: the lines of its parts, and one table of what is up.

On a terminal the table stands below the lines and follows; elsewhere it is printed when everything is ready, and each
change of a state is a line.
"""

import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, Protocol

from torghut_assets.dev_parts import Say, State, line_of

OURS: Final = "torghut"
_STYLES: Final[dict[str, str]] = {"ready": "green", "starting": "yellow", "does not answer": "red", "ended": "red"}


class Shown(Protocol):
    """A part as the table shows it."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def state(self) -> State: ...


class View:
    """Lines, and a change of a state as a line."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._complete = False

    def say(self, line: str) -> None:
        """Show a line; from any thread."""
        with self._lock:
            self._say(line)

    def tell(self, text: str) -> None:
        """A line of our own."""
        self.say(line_of(OURS, text))

    def show(self, parts: Iterable[Shown]) -> None:
        """Show how the parts are now."""
        rows: list[tuple[str, str, State]] = [(part.name, part.address, part.state) for part in parts]
        for name, address, state in rows:
            before = self._states.get(name)
            if state != before and (before is not None or state != "starting"):
                self._changed(name, address, state)
            self._states[name] = state
        if rows and not self._complete and all(state == "ready" for _, _, state in rows):
            self._complete = True
            self.tell("everything is up (Ctrl-C stops all of it)")
            for name, address, state in rows:
                self.tell(f"  {name:<10} {address:<28} {state}")

    def _changed(self, name: str, address: str, state: State) -> None:
        if state == "ready":
            self.tell(f"ready: {address} ({name})" if address.startswith("http") else f"{name} is ready on {address}")
        elif state != "starting":
            self.tell(f"{name} {state}")


class LiveView(View):
    """The same with a table below the lines that follows the states."""

    def __init__(self, live: Any) -> None:
        self._live = live
        super().__init__(lambda line: live.console.print(line, markup=False, highlight=False, soft_wrap=True))

    def show(self, parts: Iterable[Shown]) -> None:
        """Show how the parts are now."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        rows = list(parts)
        super().show(rows)
        table = Table("part", "address", "state", box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(row.name, row.address, Text(row.state, style=_STYLES.get(row.state, "")))
        self._live.update(table, refresh=True)


@contextmanager
def terminal_view(say: Say | None = None) -> Generator[View]:
    """The view that fits stdout; with ``say``, plain lines through that."""
    if say is not None or not sys.stdout.isatty():
        yield View(say or (lambda line: print(line, flush=True)))
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=sys.stdout, highlight=False), auto_refresh=False, transient=True) as live:
        yield LiveView(live)
