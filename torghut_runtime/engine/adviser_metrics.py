"""Metric families of the adviser (``runtime.md`` 12), named by what became of a review."""

from typing import Final, Literal

from torghut_runtime.engine.metric_families import Families
from torghut_runtime.engine.metric_labels import CIRCUITS, FAIL_MODES, closed

Review = Literal[
    "requests", "approve", "veto", "reduce", "error", "validation_error", "circuit_open", "deadline", "late", "shadow"
]
_HELP: Final[dict[Review, str]] = {
    "requests": "Requests to the model.",
    "approve": "Answers that approved.",
    "veto": "Answers that vetoed.",
    "reduce": "Answers that reduced.",
    "error": "Requests that failed.",
    "validation_error": "Answers against the schema.",
    "circuit_open": "Reviews that the open circuit skipped.",
    "deadline": "Reviews without an answer at the deadline.",
    "late": "Answers after the deadline, stored only.",
    "shadow": "Reviews in shadow mode.",
}
_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20)


class AdviserMetrics:
    """Families ``torghut_trading_llm_*``."""

    def __init__(self, families: Families) -> None:
        self._reviews = {name: families.counter(f"llm_{name}", text) for name, text in _HELP.items()}
        self._prompt = families.counter("llm_tokens_prompt", "Tokens of requests.")
        self._completion = families.counter("llm_tokens_completion", "Tokens of answers.")
        self._fail_modes = families.counter("llm_fail_mode", "Reviews without a usable answer, by fail mode.", "mode")
        for mode in sorted(FAIL_MODES):
            self._fail_modes.labels(mode)
        self._circuit = families.gauge("llm_circuit_state", "0 closed, 1 half open, 2 open.")
        self._latency = families.histogram("llm_latency_seconds", "Candidate to answer.", buckets=_SECONDS)

    def reviewed(self, what: Review) -> None:
        """One review, or one stage of it."""
        self._reviews[what].inc()

    def tokens(self, prompt: int, completion: int) -> None:
        """What a request used, as the provider told it."""
        self._prompt.inc(prompt)
        self._completion.inc(completion)

    def failed_over(self, mode: str) -> None:
        """The fail mode decided in place of the model."""
        self._fail_modes.labels(closed(mode, FAIL_MODES)).inc()

    def circuit(self, state: Literal["closed", "half_open", "open"]) -> None:
        """The circuit as it is now."""
        self._circuit.set(CIRCUITS.index(state))

    def answered(self, seconds: float) -> None:
        """An answer came so long after its candidate."""
        self._latency.observe(seconds)
