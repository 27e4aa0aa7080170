"""Times as text: RFC 3339 with a stated offset, nothing else."""

import re
from typing import Final

import polars as pl

from torghut_runtime.market.calendar import TIME

_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%.f%:z"
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")


def parse_times(texts: pl.Series) -> pl.Series:
    """``Datetime("us", "UTC")`` per text; null where a text is no RFC 3339 time with an offset or ``Z``.

    A space or a small letter between date and time is accepted, digits beyond microseconds are cut off.
    """
    normalised = texts.str.strip_chars()
    # Nearly every file is in the normal form already: rewriting is only paid for where it is needed.
    normalised = pl.select(
        pl.when(pl.lit(normalised).str.ends_with("Z"))
        .then(pl.lit(normalised).str.head(-1) + "+00:00")
        .otherwise(pl.lit(normalised))
    ).to_series()
    parsed = normalised.str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    odd = parsed.is_null() & normalised.is_not_null()
    if odd.any():
        rewritten = normalised.str.replace(r"^(\d{4}-\d\d-\d\d)[t ]", "${1}T").str.replace(r"z$", "+00:00")
        parsed = parsed.fill_null(rewritten.str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False))
    return parsed.cast(TIME)


def parse_dates(texts: pl.Series) -> pl.Series:
    """00:00 UTC per ``YYYY-MM-DD``; null where a text is anything else."""
    whole = texts.str.contains(r"^\d{4}-\d\d-\d\d$")
    days = texts.str.to_date("%Y-%m-%d", strict=False)
    moments = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.select(pl.when(pl.lit(whole)).then(pl.lit(moments))).to_series().cast(TIME)


def time_fault(text: str) -> str:
    """Why ``text`` is not accepted, for a message."""
    if _NAIVE.fullmatch(text.strip()):
        return f"a time needs a time zone (such as a final Z), was {text!r}"
    return f"not an RFC 3339 time, was {text!r}"
