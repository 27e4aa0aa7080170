"""How long HTTP waits for the database, in seconds; tests on a busy machine wait longer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadlines:
    """With these every GET is answered within 2 s."""

    probe: float = 1.0
    """Whether the database answers at all."""
    answer: float = 1.8
    """A list; its statements give up a little earlier."""
    stop_claim: float = 0.25
    """Whether a stop was asked before: it acts at once when nobody says so."""
    claim: float = 3.0
    """The same for a call that needs the database."""
    record: float = 2.0
    """The record of a call; what takes longer is written later."""
