"""What is measured about a data set before anybody trusts it.

Only measurements: which of them are good enough is the gate policy's business.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final, cast

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.frame import AROUND_THE_CLOCK

_SERIES: Final = ("symbol", "timeframe")


class DataQuality(BaseModel):
    """Measured quality of one data set; a number that cannot be measured is None, never 0.

    Attributes:
        rows_read: rows in the file.
        rows: rows after duplicates were dropped.
        symbols: sorted.
        timeframes: rows per timeframe.
        first_event: UTC close of the first bar.
        last_event: UTC close of the last bar.
        feature_schema_version: as the signals state it (the lowest where several do); 3.0.0 where none does.
        duplicate_count: rows dropped because (event_ts, symbol, timeframe, seq) was there already.
        duplicate_ratio: of rows_read.
        backward_steps: rows whose event_ts lies before that of the row before them of the same symbol, in the file.
        required_feature_null_rate: share of rows in which a required feature is missing, see
            :func:`required_null_rate`; None until a candidate is known.
        staleness_ms_p95: 95th percentile of ingest − event; None without ingest times.
        symbol_coverage: share of the candidate's symbols with at least one row; None until a candidate is known.
        missing_sessions: sessions without a row between the first and the last session of a symbol and timeframe,
            summed; None when no symbol is traded on the exchange, as the three below.
        missing_session_ratio: of the sessions expected.
        outside_session_rows: rows of exchange-traded symbols outside every session.
        outside_session_ratio: of the rows of exchange-traded symbols.
        unused_timeframe_rows: rows whose timeframe no strategy uses; None until a candidate is known.
        adjusted: whether prices were scaled by an adjusted close.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    rows_read: int
    rows: int
    symbols: list[str]
    timeframes: dict[str, int]
    first_event: datetime
    last_event: datetime
    feature_schema_version: str
    duplicate_count: int
    duplicate_ratio: float
    backward_steps: int
    required_feature_null_rate: float | None = None
    staleness_ms_p95: float | None = None
    symbol_coverage: float | None = None
    missing_session_ratio: float | None = None
    missing_sessions: int | None = None
    outside_session_ratio: float | None = None
    outside_session_rows: int | None = None
    unused_timeframe_rows: int | None = None
    adjusted: bool = False

    def for_candidate(
        self,
        frame: pl.DataFrame,
        *,
        required_features: Sequence[str],
        warmup: int,
        symbols: Collection[str],
        timeframes: Collection[str],
    ) -> "DataQuality":
        """The same quality with what depends on the candidate filled in.

        Args:
            frame: the frame of the signal set this quality belongs to.
            required_features: features without which its strategies skip a row.
            warmup: bars per symbol and timeframe whose missing features are expected.
            symbols: its universe; empty means every symbol of the data.
            timeframes: the base timeframes of its strategies.
        """
        used = frame.filter(pl.col("timeframe").is_in(list(timeframes)))
        if symbols:
            used = used.filter(pl.col("symbol").is_in(list(symbols)))
        return self.model_copy(
            update={
                "required_feature_null_rate": required_null_rate(used, required_features, warmup),
                "symbol_coverage": symbol_coverage(used, symbols or self.symbols),
                "unused_timeframe_rows": unused_timeframe_rows(frame, timeframes),
            }
        )


def measure_quality(
    frame: pl.DataFrame,
    *,
    rows_read: int,
    backward_steps: int = 0,
    feature_schema_version: str,
    adjusted: bool = False,
) -> DataQuality:
    """Quality of a normalised market frame with at least one row.

    ``rows_read`` and ``backward_steps`` are facts of the file which the frame no longer shows.
    """
    counts = frame.group_by("timeframe").len().sort("timeframe")
    duplicates = rows_read - frame.height
    expected, missing = _sessions(frame)
    exchange_rows, outside = frame.select(
        (~AROUND_THE_CLOCK).sum().alias("all"), (~AROUND_THE_CLOCK & pl.col("session").is_null()).sum().alias("out")
    ).row(0)
    on_exchange = exchange_rows > 0
    return DataQuality(
        rows_read=rows_read,
        rows=frame.height,
        symbols=frame["symbol"].unique().sort().to_list(),
        timeframes=dict(counts.iter_rows()),
        first_event=frame["event_ts"][0],
        last_event=frame["event_ts"][-1],
        feature_schema_version=feature_schema_version,
        duplicate_count=duplicates,
        duplicate_ratio=duplicates / rows_read,
        backward_steps=backward_steps,
        staleness_ms_p95=staleness_ms_p95(frame),
        missing_sessions=missing if on_exchange else None,
        missing_session_ratio=(missing / expected if expected else 0.0) if on_exchange else None,
        outside_session_rows=outside if on_exchange else None,
        outside_session_ratio=outside / exchange_rows if on_exchange else None,
        adjusted=adjusted,
    )


def required_null_rate(frame: pl.DataFrame, required_features: Sequence[str], warmup: int) -> float | None:
    """Share of rows in which at least one of ``required_features`` is missing (NaN).

    Rows outside every session, which no strategy sees, and the first ``warmup`` rows of each symbol and timeframe do
    not count. None when no row is left.
    """
    counted = frame.filter(pl.col("session").is_not_null()).select(*_SERIES, *dict.fromkeys(required_features))
    if warmup > 0:
        counted = counted.filter(pl.int_range(pl.len()).over(_SERIES) >= warmup)
    if counted.height == 0:
        return None
    if not required_features:
        return 0.0
    missing = counted.select(pl.any_horizontal(pl.col(*required_features).is_nan()).sum()).item()
    return int(missing) / counted.height


def symbol_coverage(frame: pl.DataFrame, symbols: Collection[str]) -> float | None:
    """Share of ``symbols`` with at least one row; None without symbols."""
    wanted = set(symbols)
    if not wanted:
        return None
    return len(wanted & set(frame["symbol"].unique())) / len(wanted)


def unused_timeframe_rows(frame: pl.DataFrame, timeframes: Collection[str]) -> int:
    """Rows whose timeframe is none of ``timeframes``."""
    return frame.height - frame.filter(pl.col("timeframe").is_in(list(timeframes))).height


def staleness_ms_p95(frame: pl.DataFrame) -> float | None:
    """95th percentile of ingest − event in milliseconds, linearly interpolated; None without ingest times."""
    delays = frame.select((pl.col("ingest_ts") - pl.col("event_ts")).dt.total_microseconds() / 1e3)
    known = delays.to_series().drop_nulls().to_numpy()
    return float(np.quantile(known, 0.95)) if len(known) else None


def _sessions(frame: pl.DataFrame) -> tuple[int, int]:
    """Expected and missing sessions, summed over symbols and timeframes traded on the exchange."""
    spans = (
        frame.filter(~AROUND_THE_CLOCK & pl.col("session").is_not_null())
        .group_by(_SERIES)
        .agg(
            pl.col("session").min().alias("first"),
            pl.col("session").max().alias("last"),
            pl.col("session").n_unique().alias("seen"),
        )
    )
    if spans.height == 0:
        return 0, 0
    first, last = cast("date", spans["first"].min()), cast("date", spans["last"].max())
    known = pl.Series(TradingCalendar().sessions(first, last), dtype=pl.Date)
    expected = int((known.search_sorted(spans["last"], "right") - known.search_sorted(spans["first"], "left")).sum())
    return expected, expected - int(spans["seen"].sum())
