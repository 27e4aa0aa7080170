"""The single holder of the client that can change something at the broker.

Nothing leaves unless the gate is open at that very moment: kill switch, state, lease, account. Cancels always pass. Any
thread may call. Whoever closes the gate waits with :meth:`Firewall.settle` for the requests that had passed it before;
afterwards none is on its way. What to send, and what an answer means, is the order manager's business.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from torghut_runtime.broker.protocol import BrokerWriter, Document, RateLimitedError
from torghut_runtime.clock import Clock
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.risk.limits import Flatten, Gate, gate_reasons

SETTLE_SECONDS: Final = 6.0
"""How long :meth:`Firewall.settle` waits: a request has its answer, or has given up, after 5 s."""


class BlockedError(Exception):
    """A request that did not leave; ``reasons`` are those of the gate."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(", ".join(reasons))


class Firewall:
    """One way out: submits and replaces only through an open gate and within the budget, cancels always.

    ``may_submit`` is asked last: whether the lease, by its holder's monotonic clock, is still far from its end.
    """

    def __init__(
        self,
        writer: BrokerWriter,
        gate: Callable[[], Gate],
        budget: RequestBudget,
        clock: Clock,
        *,
        may_submit: Callable[[], bool] = lambda: True,
    ) -> None:
        self._writer = writer
        self._gate = gate
        self._budget = budget
        self._clock = clock
        self._may_submit = may_submit
        self._passing = threading.Condition()
        self._under_way: set[object] = set()

    def submit(self, payload: Mapping[str, str], *, is_exit: bool, flatten: Flatten | None = None) -> Document:
        """Submit an order; ``flatten`` is the operator's word to close a position in any state.

        Raises:
            BlockedError: the gate is closed; no request has left.
            RateLimitedError: our own budget or the broker's is used up; nothing was carried out.
            RejectedError, UncertainError: see :class:`~torghut_runtime.broker.protocol.BrokerWriter`.
        """
        return self._send(lambda: self._writer.submit(payload), is_exit=is_exit, flatten=flatten)

    def replace(self, order_id: str, changes: Mapping[str, str]) -> Document:
        """Replace an open entry; raises as :meth:`submit`."""
        return self._send(lambda: self._writer.replace(order_id, changes), is_exit=False, flatten=None)

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an order; waits for nothing but the broker.

        Raises:
            RejectedError, RateLimitedError, UncertainError
        """
        self._budget.take(self._clock.now_ns(), urgent=True)
        self._writer.cancel(order_id)

    def cancel_all(self) -> list[Document]:
        """Ask for the end of every open order in one call, id and status of each; raises as :meth:`cancel`."""
        self._budget.take(self._clock.now_ns(), urgent=True)
        return self._writer.cancel_all()

    def settle(self, seconds: float = SETTLE_SECONDS) -> bool:
        """Wait for the submits and replaces that are under way now; False when one still is after that time.

        After the gate was closed and this has returned True, no request that the gate refuses will leave.
        """
        deadline = time.monotonic() + seconds
        with self._passing:
            earlier = set(self._under_way)
            while self._under_way & earlier:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._passing.wait(left)
        return True

    def _send(self, request: Callable[[], Document], *, is_exit: bool, flatten: Flatten | None) -> Document:
        ticket = object()
        # The gate is read under the lock: whoever closes it and then takes the lock finds every request that passed.
        with self._passing:
            reasons = gate_reasons(self._gate(), is_exit=is_exit, flatten=flatten)
            if reasons:
                raise BlockedError(reasons)
            wait = self._budget.take(self._clock.now_ns(), is_exit=is_exit)
            if wait > 0:
                raise RateLimitedError(wait)
            if not self._may_submit():
                raise BlockedError(["lease_not_held"])
            self._under_way.add(ticket)
        try:
            return request()
        except RateLimitedError as error:
            self._budget.close(self._clock.now_ns(), error.retry_after)
            raise
        finally:
            with self._passing:
                self._under_way.remove(ticket)
                self._passing.notify_all()
