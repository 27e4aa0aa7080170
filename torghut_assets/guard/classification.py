"""Which exception belongs to which class of failures; the first row that fits decides.

The table is part of ``docs/guard.md``. What follows from a class is the policy's business.
"""

import concurrent.futures
import multiprocessing
from typing import Final

from sqlalchemy.exc import OperationalError

from torghut_assets.gates.policy import GatePolicyError
from torghut_assets.guard.errors import PolicyError
from torghut_assets.guard.policy import FailureClass
from torghut_runtime.errors import InputError, StoreUnavailableError, UpstreamError

FAILURE_TABLE: Final[tuple[tuple[type[BaseException], FailureClass, str], ...]] = (
    (PolicyError, "policy", "the orchestration policy cannot be used"),
    (GatePolicyError, "policy", "the gate policy cannot be used"),
    (InputError, "spec", "a registration, strategy config or data file cannot be used"),
    (StoreUnavailableError, "transient", "PostgreSQL does not answer, or a lock was not granted in time"),
    (UpstreamError, "transient", "a remote service failed after its own retries"),
    (OperationalError, "transient", "the database ended the connection or the transaction"),
    (TimeoutError, "transient", "something took too long"),
    (ConnectionError, "transient", "a connection was refused, reset or broken"),
    (concurrent.futures.BrokenExecutor, "transient", "a worker was lost"),
    (multiprocessing.ProcessError, "transient", "a worker was lost"),
    (Exception, "deterministic", "any other exception in stage code"),
)


def classify(error: BaseException) -> FailureClass:
    """The class of an exception."""
    for kind, name, _ in FAILURE_TABLE:
        if isinstance(error, kind):
            return name
    return "deterministic"


def failure_table() -> str:
    """The table as Markdown, for the documentation."""
    rows = [f"| `{kind.__module__}.{kind.__qualname__}` | {name} | {why} |" for kind, name, why in FAILURE_TABLE]
    return "\n".join(("| exception | class | when |", "|---|---|---|", *rows)) + "\n"
