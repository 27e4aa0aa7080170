"""Specifications of checks that are judged for one candidate at a time.

Partitioned checks are a preview of Dagster's; this is the one place that says so and accepts it. What a check judges
stands in the ``checks`` module of its stage.
"""

import warnings

import dagster as dg

from torghut_assets.partitions import CANDIDATES


def candidate_check(name: str, asset: dg.AssetKey, description: str) -> dg.AssetCheckSpec:
    """A check of ``asset`` per candidate; never blocking, since a denial is a result and not a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=CANDIDATES)
