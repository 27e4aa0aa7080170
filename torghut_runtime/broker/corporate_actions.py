"""Announced splits, by alpaca-py's corporate actions client; the simulator answers the same.

Dividends, mergers and the other actions are left aside: they move no quantity by a ratio that could be told from the
announcement alone. What a split does to a position is :mod:`torghut_runtime.orders.splits`.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any, cast

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import CorporateActionsType
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import CorporateActionsRequest

from torghut_runtime.broker.alpaca import bound
from torghut_runtime.broker.protocol import UncertainError
from torghut_runtime.orders.splits import Split
from torghut_runtime.trading_settings import BrokerAccess

_KINDS = [CorporateActionsType.FORWARD_SPLIT, CorporateActionsType.REVERSE_SPLIT]


class CorporateActions:
    """Reads announcements; ``url`` None is Alpaca's own data host."""

    def __init__(self, access: BrokerAccess, url: str | None) -> None:
        self._client = CorporateActionsClient(*access.keys, raw_data=True, url_override=url)
        bound(self._client)

    def splits(self, symbols: Iterable[str], first: date, last: date) -> list[Split]:
        """Splits of some symbols whose ex-date lies between two days; one that cannot be read is left out.

        Raises:
            UncertainError: the service does not answer.
        """
        wanted = sorted(symbols)
        if not wanted:
            return []
        request = CorporateActionsRequest(symbols=wanted, types=_KINDS, start=first, end=last)
        try:
            answer: Any = self._client.get_corporate_actions(request)
        except (APIError, requests.RequestException, ValueError) as error:
            raise UncertainError(f"corporate actions: {type(error).__name__}") from None
        found = cast("dict[str, Any]", answer)
        actions = cast("dict[str, list[dict[str, Any]]]", found.get("corporate_actions", found))
        rows = [row for kind in ("forward_splits", "reverse_splits") for row in actions.get(kind, [])]
        return [split for row in rows if (split := _split(row)) is not None]


def _split(row: dict[str, Any]) -> Split | None:
    try:
        split = Split(
            str(row["symbol"]),
            Decimal(str(row["new_rate"])),
            Decimal(str(row["old_rate"])),
            date.fromisoformat(str(row["ex_date"])),
        )
    except (KeyError, ValueError, ArithmeticError):
        return None
    return split if split.new_rate > 0 and split.old_rate > 0 and split.new_rate != split.old_rate else None
