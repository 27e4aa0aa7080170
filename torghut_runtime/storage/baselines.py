"""What losses are measured against, per account, durable across restarts (``risk_baselines``).

How the numbers move is :mod:`torghut_runtime.risk.baselines`; when they are stored is the engine's business.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.risk.baselines import Baselines
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.runtime_tables import risk_baselines


def read_baselines(connection: sa.Connection, account_label: str) -> Baselines | None:
    """The stored baselines of an account; None when none ever were."""
    statement = sa.select(risk_baselines).where(risk_baselines.c.account_label == account_label)
    row = connection.execute(statement).first()
    if row is None:
        return None
    return Baselines(row.session, row.opening_equity, row.high_water_mark, row.transfers)


def save_baselines(connection: sa.Connection, account_label: str, baselines: Baselines) -> None:
    """Store the baselines of an account in place of the ones before."""
    values: dict[str, Any] = {
        "session": baselines.session,
        "opening_equity": baselines.opening_equity,
        "high_water_mark": baselines.high_water_mark,
        "transfers": baselines.transfers,
        "updated_at": sa.func.clock_timestamp(),
    }
    statement = insert(risk_baselines).values(account_label=account_label, **values)
    with transaction(connection):
        connection.execute(statement.on_conflict_do_update(index_elements=["account_label"], set_=values))
