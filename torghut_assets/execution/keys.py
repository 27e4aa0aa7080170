"""Keys and partitions of the execution assets."""

import dagster as dg

from torghut_assets.execution.cursor import FIRST_DATE

ORDER_EVENTS = dg.AssetKey(["execution", "order_events"])
EXECUTIONS = dg.AssetKey(["execution", "executions"])
TCA = dg.AssetKey(["execution", "tca"])
PARITY = dg.AssetKey(["execution", "parity"])
RECONCILIATION_REPORT = dg.AssetKey(["execution", "reconciliation_report"])

TRADING_DATES = dg.DailyPartitionsDefinition(start_date=FIRST_DATE.isoformat(), end_offset=1)
"""UTC dates of broker times, the current one included."""
