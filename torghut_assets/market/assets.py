"""Assets of a candidate's market data: its bars and the signals made of them.

Reading and checking is ``torghut_runtime.market``'s business; quality is judged by gate 0.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from datetime import timedelta
from typing import Any

import dagster as dg

from torghut_assets.guard.answering import answered
from torghut_assets.guard.stages import INTAKE
from torghut_assets.io_manager import Encoded
from torghut_assets.keys import BARS, RESEARCHERS, SIGNALS
from torghut_assets.market.data import market_signals, read_market_bars
from torghut_assets.partitions import CANDIDATES
from torghut_assets.presentation import frame_metadata, table
from torghut_assets.resources import ProjectResource
from torghut_runtime.code_digest import code_digest
from torghut_runtime.market.bars import BarSet

_AGE = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=4))


@dg.asset(
    key=BARS,
    partitions_def=CANDIDATES,
    group_name="market",
    kinds={"polars", "parquet"},
    owners=RESEARCHERS,
    code_version=code_digest("torghut_runtime.market.bars", "torghut_runtime.market.frame")[:16],
    freshness_policy=_AGE,
    description="Checked bars of the candidate: one timeframe, in order, adjusted where the file says how. "
    "Empty for a candidate that is registered with signals.",
)
@answered(INTAKE)
def bars(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult[Encoded]:
    """Read the bars that the registration names."""
    registration = project.registration(context.partition_key)
    path = None if registration.bars is None else project.folder / registration.bars
    found = read_market_bars(path, registration.timeframe)
    encoded = Encoded.of(found)
    metadata: dict[str, Any] = {"file": registration.bars or "none: the candidate has signals"}
    if found is not None:
        per_symbol = found.frame.group_by("symbol").len().sort("symbol").rows()
        metadata |= frame_metadata(found.frame)
        metadata |= {
            "timeframe": found.timeframe,
            "adjusted": found.adjusted,
            "bars_per_symbol": table(("symbol", "bars"), per_symbol),
            "first_close": str(found.frame["event_ts"].min()),
            "last_close": str(found.frame["event_ts"].max()),
        }
    return encoded.materialized(metadata=metadata)


@dg.asset(
    key=SIGNALS,
    ins={"bars": dg.AssetIn(BARS)},
    partitions_def=CANDIDATES,
    group_name="market",
    kinds={"polars", "numba"},
    owners=RESEARCHERS,
    code_version=code_digest("torghut_runtime.market")[:16],
    description="The candidate's bars with the features of contract v3, computed or as its signal file has them, and "
    "what was measured about the data.",
)
@answered(INTAKE)
def signals(
    context: dg.AssetExecutionContext, project: ProjectResource, bars: BarSet | None
) -> dg.MaterializeResult[Encoded]:
    """Compute the features, or read the signals that the registration names."""
    registration = project.registration(context.partition_key)
    path = None if registration.signals is None else project.folder / registration.signals
    found = market_signals(bars, path)
    encoded = Encoded.of(found)
    quality = found.quality.model_dump(mode="json")
    return dg.MaterializeResult(
        value=encoded,
        data_version=dg.DataVersion(found.dataset_id),
        metadata={
            **frame_metadata(found.frame),
            "dataset_id": found.dataset_id,
            "source": found.source,
            "features": ", ".join(sorted(found.available_features)),
            "quality": table(("measured", "value"), [(name, quality[name]) for name in quality]),
        },
    )


MARKET_ASSETS = [bars, signals]
