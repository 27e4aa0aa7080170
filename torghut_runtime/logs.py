"""Log lines of a process that serves: one JSON object per line, with what they are about, without secrets.

``ts, level, logger, message`` stand in every line; ``trace_id, strategy_id, symbol, client_order_id, order_id`` where
the line is about them, so that one identifier leads from a bar's decision to its fills. Which things are worth a line
is said where they happen.
"""

import logging
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

from pythonjsonlogger.msgspec import MsgspecFormatter

from torghut_runtime.canonical import utc_text
from torghut_runtime.redaction import Redactor

FIELDS: Final = ("trace_id", "strategy_id", "symbol", "client_order_id", "order_id")
PACKAGE: Final = "torghut_runtime"

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - never changed, only replaced


@contextmanager
def about(**fields: str | None) -> Generator[None]:
    """Within the block every log line of this thread or task carries these fields; names are those of FIELDS."""
    token = _about.set({**_about.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _about.reset(token)


class Lines(MsgspecFormatter):
    """Formats a record as one line."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "error"},
        )
        self._redactor = redactor

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Hide secrets, and leave out what is not known."""
        return self._redactor.value({name: value for name, value in log_data.items() if value is not None})

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Add time and context; a field of the record itself wins."""
        log_data["ts"] = utc_text(datetime.fromtimestamp(record.created, UTC))
        super().add_fields(log_data, record, message_dict)
        log_data["level"] = record.levelname.lower()
        for name, value in _about.get().items():
            log_data.setdefault(name, value)


def configure_logging(stream: TextIO | None = None, redactor: Redactor | None = None) -> None:
    """Send every log line of the process to stderr, or to ``stream``, as JSON; ours from ``info`` on.

    What nobody caught is a line, too: a traceback on its own would be shown as it is.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(redactor or Redactor()))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(PACKAGE).critical("nobody caught %s", kind.__name__, exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and found.exc_type is not SystemExit:
        name = "a thread" if found.thread is None else found.thread.name
        trace = (found.exc_type, found.exc_value, found.exc_traceback)
        logging.getLogger(PACKAGE).critical("%s ended: %s", name, found.exc_type.__name__, exc_info=trace)
