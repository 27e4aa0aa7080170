"""A code location with nothing but the order feed, for the test that watches it in Dagster's own processes."""

import os

import dagster as dg

from torghut_assets.execution.assets import EXECUTION_ASSETS, execution_automation
from torghut_assets.execution.checks import EXECUTION_CHECKS
from torghut_assets.execution.resource import OrderFeedResource
from torghut_assets.execution.sensor import order_feed_sensor
from torghut_assets.resources import ArtifactStoreResource

defs = dg.Definitions(
    assets=EXECUTION_ASSETS,
    asset_checks=EXECUTION_CHECKS,
    sensors=[order_feed_sensor, execution_automation],
    resources={
        "order_feed": OrderFeedResource(),
        "artifacts": ArtifactStoreResource(root=os.environ.get("ORDER_FEED_STORE", "artifacts")),
    },
    executor=dg.in_process_executor,
)
