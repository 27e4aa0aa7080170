"""Errors of the guard that a user can meet; each has the code that stands in the command line's JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torghut_runtime.errors import InputError


class GuardInputError(InputError):
    """An input that the guard cannot use; ``code`` is for programs, the message for people."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        file: str | Path | None = None,
        field: str | None = None,
    ) -> None:
        self.code = code
        self.details = dict(details or {})
        super().__init__(message, file=file, field=field)


class PolicyError(GuardInputError):
    """A policy that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: list[str], *, file: str | Path | None = None) -> None:
        self.problems = problems
        super().__init__("invalid_policy", "; ".join(problems), details={"problems": problems}, file=file)
