"""What of trading is read from tables for metrics: orders, differences, costs, incidents of one account.

:class:`TradingRows` is read by the service's collector, every 15 s; a scrape shows what was read last. Every statement
goes through an index of what is open or recent; none aggregates a whole table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric

from torghut_runtime.engine.metric_families import PREFIX
from torghut_runtime.order_feed.event import TERMINAL
from torghut_runtime.storage.guard_tables import incidents
from torghut_runtime.storage.order_costs import COSTS
from torghut_runtime.storage.order_tables import executions, order_intents, reconcile_discrepancies
from torghut_runtime.storage.runtime_tables import frozen_symbols

_RECENT_COSTS: Final = sa.text(
    f"""
    SELECT count(*) AS orders, sum(slippage_bps * filled_qty * avg_fill_price)
            / nullif(sum(filled_qty * avg_fill_price) FILTER (WHERE slippage_bps IS NOT NULL), 0) AS slippage_bps,
        avg(shortfall_notional) AS shortfall_notional, sum(churn_qty) / nullif(sum(filled_qty), 0) AS churn_ratio
    FROM ({COSTS} AND t.alpaca_account_label = :account AND e.last_fill_at > clock_timestamp() - interval '24 hours')
        AS costs
    """  # noqa: S608 - two constants of ours
)
_AVERAGES: Final = {
    "slippage_bps": "Slippage of the last 24 h, weighted by filled notional.",
    "shortfall_notional": "Shortfall per priced order of the last 24 h, currency.",
    "churn_ratio": "Churned shares of the last 24 h to filled ones.",
}


@dataclass(frozen=True)
class Costs:
    """Costs of the last 24 h; None where no order has a price to compare with."""

    orders: int
    averages: dict[str, float | None]


class TradingRows:
    """What was read last of one account; :meth:`read` brings it up to date."""

    def __init__(self, account_label: str) -> None:
        self._account = account_label
        self.unknown_orders = 0
        self.open_orders = 0
        self.frozen_symbols = 0
        self.incidents_open = 0
        self.discrepancies: dict[str, int] = {}
        self.costs = Costs(0, dict.fromkeys(_AVERAGES))

    def read(self, connection: sa.Connection) -> None:
        """Read what stands in the tables.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        intents, orders, differences = order_intents.c, executions.c, reconcile_discrepancies.c
        unknown = self._count(
            intents.alpaca_account_label == self._account,
            intents.state.not_in(sorted(TERMINAL)),
            intents.state.in_(("submitting", "unknown")),
        )
        working = self._count(orders.alpaca_account_label == self._account, orders.terminal_at.is_(None))
        frozen = self._count(frozen_symbols.c.account_label == self._account)
        opened = self._count(incidents.c.closed_at.is_(None))
        statement = sa.select(
            unknown.label("unknown"), working.label("working"), frozen.label("frozen"), opened.label("opened")
        )
        row = connection.execute(statement).one()
        kinds = (
            sa.select(differences.kind, sa.func.count().label("number"))
            .where(differences.alpaca_account_label == self._account, differences.resolved_at.is_(None))
            .group_by(differences.kind)
        )
        found = {row.kind: row.number for row in connection.execute(kinds)}
        cost = connection.execute(_RECENT_COSTS, {"account": self._account}).mappings().one()
        self.unknown_orders, self.open_orders = row.unknown, row.working
        self.frozen_symbols, self.incidents_open = row.frozen, row.opened
        self.discrepancies = found
        self.costs = Costs(
            cost["orders"], {name: None if cost[name] is None else float(cost[name]) for name in _AVERAGES}
        )

    @staticmethod
    def _count(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
        return sa.select(sa.func.count()).where(*conditions).scalar_subquery()

    def families(self) -> Iterator[Metric]:
        """The families as Prometheus' client wants them."""
        yield GaugeMetricFamily(f"{PREFIX}unknown_orders", "Requests without an answer.", self.unknown_orders)
        yield GaugeMetricFamily(f"{PREFIX}open_orders", "Orders that may still trade.", self.open_orders)
        yield GaugeMetricFamily(f"{PREFIX}frozen_symbols", "Symbols with an unexplained position.", self.frozen_symbols)
        yield GaugeMetricFamily(f"{PREFIX}incidents_open", "Open incidents.", self.incidents_open)
        kinds = GaugeMetricFamily(f"{PREFIX}reconcile_discrepancies", "Open differences.", labels=("kind",))
        for kind, number in sorted(self.discrepancies.items()):
            kinds.add_metric((kind,), number)
        yield kinds
        yield GaugeMetricFamily(f"{PREFIX}tca_order_count", "Orders filled in the last 24 h.", self.costs.orders)
        for name, text in _AVERAGES.items():
            family = GaugeMetricFamily(f"{PREFIX}tca_avg_{name}", text)
            average = self.costs.averages[name]
            if average is not None:
                family.add_metric((), average)
            yield family
