"""The errors of torghut that a user can meet.

::

    TorghutError
    ├── InputError              bad input: names file, row and field (command lines exit with 2)
    ├── InputFaults             several of them at once (exit 2, one line each)
    ├── StoreUnavailableError   PostgreSQL does not answer (exit 1)
    └── UpstreamError           a remote service answered with an error or not at all (exit 1)

Everything else that escapes is a defect.
"""

from collections.abc import Sequence
from pathlib import Path


class TorghutError(Exception):
    """Base of every error that is reported to a user without a traceback."""


class InputError(TorghutError):
    """An input that cannot be used; the message says where (file, row, field), what and what was found.

    ``row`` counts from 1, in the order of the file.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        field: str | None = None,
    ) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.row = row
        self.field = field
        where = [part for part in (self.file, row and f"row {row}", field and f"field {field}") if part]
        super().__init__(": ".join([*where, message]))

    def located(self, *, file: str | Path | None = None, row: int | None = None) -> "InputError":
        """Return the same error with what the raiser could not know filled in."""
        return InputError(self.message, file=self.file or file, row=self.row or row, field=self.field)


class InputFaults(TorghutError):  # noqa: N818 - a list of errors, read as one
    """Everything that is wrong with an input that is judged as a whole, such as the environment."""

    def __init__(self, faults: Sequence[InputError]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in faults))


class StoreUnavailableError(TorghutError):
    """PostgreSQL cannot be reached or answered with an error of its own."""


class UpstreamError(TorghutError):
    """A remote service (market data, broker, flags) failed after the retries it is allowed."""
