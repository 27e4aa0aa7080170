"""Checks that every row of a bar or signal file must pass; each names the first row (from 1) that does not."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import polars as pl

from torghut_runtime.errors import InputError

SYMBOL_PATTERN: Final = r"^[A-Z0-9][A-Z0-9._/-]{0,31}$"


def refuse_where(bad: pl.Series, values: pl.Series, field: str, fault: Callable[[Any], str]) -> None:
    """Raise for the first row where ``bad`` is true; ``fault`` words its value."""
    row = bad.fill_null(value=False).arg_max()
    if row is not None and bad[row]:
        raise InputError(fault(values[row]), row=row + 1, field=field)


def checked_symbols(series: pl.Series) -> pl.Series:
    """Symbols in upper case.

    Raises:
        InputError: a symbol that is missing or does not match :data:`SYMBOL_PATTERN`.
    """
    symbols = series.cast(pl.String).str.to_uppercase()
    refuse_where(symbols.is_null(), series, "symbol", lambda _: "is missing")
    refuse_where(
        ~symbols.str.contains(SYMBOL_PATTERN),
        series,
        "symbol",
        lambda value: f"not a symbol (a letter or digit, then up to 31 of A-Z 0-9 . _ / -), was {value!r}",
    )
    return symbols.alias("symbol")


def check_prices(table: pl.DataFrame, names: Sequence[str], field: Callable[[str], str] = str) -> None:
    """Prices are above 0, the high is the highest and the low the lowest of the bar, volume is not negative.

    Args:
        table: ``open, high, low, close, volume`` and the other ``names``; NaN passes.
        names: columns that hold prices.
        field: from a column to the name under which the user knows it.
    """
    for name in names:
        refuse_where(table[name] <= 0, table[name], field(name), lambda value: f"a price must be above 0, was {value}")
    refuse_where(
        table["volume"] < 0, table["volume"], field("volume"), lambda value: f"must not be negative, was {value}"
    )
    # Beside open and close the high need not be compared with the low: that names the one of the two that is wrong.
    highest = table.select(pl.max_horizontal("open", "close")).to_series()
    lowest = table.select(pl.min_horizontal("open", "close")).to_series()
    for name, bad, side in (("high", table["high"] < highest, "below"), ("low", table["low"] > lowest, "above")):
        refuse_where(
            bad, table[name], field(name), lambda value, side=side: f"{value} is {side} another price of the bar"
        )
