"""The single holder of the client that can change something at the broker.

Nothing leaves unless the gate is open at that very moment: kill switch, state, lease, account. Cancels always pass.
What to send, and what an answer means, is the order manager's business.
"""

from collections.abc import Callable, Mapping

from torghut_runtime.broker.protocol import BrokerWriter, Document, RateLimitedError
from torghut_runtime.clock import Clock
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.risk.limits import Gate, gate_reasons


class BlockedError(Exception):
    """A request that did not leave; ``reasons`` are those of the gate."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(", ".join(reasons))


class Firewall:
    """One way out: submits and replaces only through an open gate and within the budget, cancels always."""

    def __init__(self, writer: BrokerWriter, gate: Callable[[], Gate], budget: RequestBudget, clock: Clock) -> None:
        self._writer = writer
        self._gate = gate
        self._budget = budget
        self._clock = clock

    def submit(self, payload: Mapping[str, str], *, is_exit: bool) -> Document:
        """Submit an order.

        Raises:
            BlockedError: the gate is closed; no request has left.
            RateLimitedError: our own budget or the broker's is used up; nothing was carried out.
            RejectedError, UncertainError: see :class:`~torghut_runtime.broker.protocol.BrokerWriter`.
        """
        self._check(is_exit=is_exit)
        return self._limited(lambda: self._writer.submit(payload))

    def replace(self, order_id: str, changes: Mapping[str, str]) -> Document:
        """Replace an open entry; raises as :meth:`submit`."""
        self._check(is_exit=False)
        return self._limited(lambda: self._writer.replace(order_id, changes))

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an order; waits for nothing but the broker.

        Raises:
            RejectedError, RateLimitedError, UncertainError
        """
        self._budget.take(self._clock.now_ns(), urgent=True)
        self._writer.cancel(order_id)

    def cancel_all(self) -> None:
        """Ask for the end of every open order in one call; raises as :meth:`cancel`."""
        self._budget.take(self._clock.now_ns(), urgent=True)
        self._writer.cancel_all()

    def _check(self, *, is_exit: bool) -> None:
        reasons = gate_reasons(self._gate(), is_exit=is_exit)
        if reasons:
            raise BlockedError(reasons)

    def _limited(self, send: Callable[[], Document]) -> Document:
        wait = self._budget.take(self._clock.now_ns())
        if wait > 0:
            raise RateLimitedError(wait)
        try:
            return send()
        except RateLimitedError as error:
            self._budget.close(self._clock.now_ns(), error.retry_after)
            raise
