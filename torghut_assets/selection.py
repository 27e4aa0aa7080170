"""What a run was asked for: the one place that reads the selection behind an asset's execution.

Dagster offers no public way; a contract test watches over this one.
"""

from typing import Any, cast

import dagster as dg


def selected_alone(context: dg.AssetExecutionContext) -> bool:
    """Whether the run materialises this asset and no other."""
    layer = cast("Any", context.job_def).asset_layer
    return set(layer.selected_asset_keys) == {context.asset_key}
