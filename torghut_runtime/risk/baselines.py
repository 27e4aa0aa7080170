"""The two numbers that losses are measured against, as a value: equity at the session's start, and its highest ever.

Money that is put in or taken out is neither profit nor loss: it shifts both. Where they are kept is
:mod:`torghut_runtime.storage.baselines`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

TRANSFER_TYPES: Final = ("CSD", "CSW", "JNLC")
"""Account activities that move cash in or out: deposit, withdrawal, journal between accounts."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """Amounts in account currency; ``transfers`` is the sum of all deposits less withdrawals that were counted."""

    session: date
    opening_equity: Decimal
    high_water_mark: Decimal
    transfers: Decimal = Decimal(0)

    def begun(self, session: date, equity: Decimal) -> "Baselines":
        """The same in a later session, which begins with this equity; an earlier one changes nothing."""
        return replace(self, session=session, opening_equity=equity) if session > self.session else self

    def valued(self, equity: Decimal) -> "Baselines":
        """The same after the account was valued."""
        return replace(self, high_water_mark=equity) if equity > self.high_water_mark else self

    def transferred(self, total: Decimal) -> "Baselines":
        """The same once all transfers together come to ``total``; what is new of it shifts both baselines."""
        change = total - self.transfers
        return replace(
            self,
            opening_equity=self.opening_equity + change,
            high_water_mark=self.high_water_mark + change,
            transfers=total,
        )


def transfers_of(activities: Iterable[Mapping[str, Any]]) -> Decimal:
    """Deposits less withdrawals of an account's activities; those not carried out (yet) do not count."""
    return sum(
        (
            Decimal(str(each["net_amount"]))
            for each in activities
            if each.get("activity_type") in TRANSFER_TYPES and each.get("status", "executed") == "executed"
        ),
        Decimal(0),
    )
