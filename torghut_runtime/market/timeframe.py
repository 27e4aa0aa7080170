"""Bar lengths: the closed set of timeframes and their seconds.

Which timeframe a file has is inferred where bars are read, not here.
"""

from typing import Final

from torghut_runtime.errors import InputError

TIMEFRAMES: Final[dict[str, int]] = {"1Sec": 1, "1Min": 60, "5Min": 300, "15Min": 900, "1Hour": 3600, "1Day": 86_400}
"""Seconds per bar, shortest first."""

DAILY: Final = "1Day"


def timeframe_seconds(timeframe: str) -> int:
    """Length of one bar in seconds.

    Raises:
        InputError: not one of :data:`TIMEFRAMES`; the message lists them.
    """
    if timeframe not in TIMEFRAMES:
        raise InputError(f"unknown timeframe {timeframe!r}, known are {', '.join(TIMEFRAMES)}", field="timeframe")
    return TIMEFRAMES[timeframe]
