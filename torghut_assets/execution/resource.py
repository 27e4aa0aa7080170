"""The order feed as a resource: its settings, its driver for one tick, and a connection with the ingest's limits."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import dagster as dg
import sqlalchemy as sa

from torghut_runtime.order_feed.report import IngestReport
from torghut_runtime.order_feed.run import run_tick
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.settings import Settings, load_settings


class OrderFeedResource(dg.ConfigurableResource[None]):
    """The feed as the environment describes it; ``dsn`` names another database than ``DB_DSN`` does."""

    dsn: str | None = None

    def settings(self) -> Settings:
        """The settings of this process.

        Raises:
            InputError: a variable cannot be used.
        """
        settings = load_settings()
        return settings if self.dsn is None else settings.model_copy(update={"given_dsn": self.dsn})

    def tick(self, settings: Settings) -> IngestReport:
        """Consume for one tick of a sensor."""
        return run_tick(settings)

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    def today(self) -> date:
        """The UTC date."""
        return self.now().date()

    @contextmanager
    def connection(self) -> Generator[sa.Connection]:
        """A connection that gives up early.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with ingest_engine(self.settings().db_dsn).connect() as connection:
            yield connection
