"""Looks every few seconds whether database and broker answer, whatever the trading thread is busy with."""

import threading
from typing import Final

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerError, BrokerReader
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.surface import Dependency
from torghut_runtime.errors import StoreUnavailableError

EVERY_SECONDS: Final = 5.0
SOON_SECONDS: Final = 0.5
_CALL_SECONDS: Final = 15.0
_UNKNOWN: Final = Dependency(ok=False, detail="not asked yet")


class Probe:
    """What was found last."""

    def __init__(self, database: sa.Engine, reader: BrokerReader) -> None:
        self._database = database
        self._reader = reader
        self.postgres = _UNKNOWN
        self.broker = _UNKNOWN

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop; what does not answer is asked again sooner."""
        while not stop.is_set():
            beat.beat(_CALL_SECONDS)
            self.postgres = self._asked_database()
            self.broker = self._asked_broker()
            beat.beat()
            well = self.postgres.ok and self.broker.ok
            stop.wait(EVERY_SECONDS if well else SOON_SECONDS)

    def _asked_database(self) -> Dependency:
        try:
            with self._database.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except StoreUnavailableError as error:
            return Dependency(ok=False, detail=str(error))
        return Dependency(ok=True, detail="answers")

    def _asked_broker(self) -> Dependency:
        try:
            account = self._reader.account()
        except BrokerError as error:
            return Dependency(ok=False, detail=str(error))
        return Dependency(ok=True, detail=f"account {account.get('account_number')}")
