"""What the HTTP service is made of: who may call, what is read, what is asked of the engine, and the routes over it.

The engine is attached when it is there (:meth:`HttpService.attach`); until then the service shows that none runs and
answers operators with ``engine_unavailable``.
"""

from fastapi import FastAPI

from torghut_runtime.api.access import Access
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.console.routes import console_routes
from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.faults import answer_faults
from torghut_runtime.api.flags_document import ReadElsewhere, flags_from_environment
from torghut_runtime.api.health import health_routes
from torghut_runtime.api.no_engine import NoEngine
from torghut_runtime.api.offline_docs import docs_routes
from torghut_runtime.api.operator_calls import OperatorCalls
from torghut_runtime.api.operator_log import OperatorLog
from torghut_runtime.api.operator_routes import operator_routes
from torghut_runtime.api.reading import Reader
from torghut_runtime.api.trading_routes import trading_routes
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.surface import EngineView, Operations
from torghut_runtime.settings import Settings
from torghut_runtime.trading_settings import TradingSettings


class HttpService:
    """Everything behind the routes of one process."""

    def __init__(
        self,
        settings: Settings,
        trading: TradingSettings,
        collector: FeedCollector,
        metrics: TradingMetrics,
        loop: Heartbeat,
        deadlines: Deadlines,
    ) -> None:
        self.settings = settings
        self._view: EngineView = NoEngine(trading)
        self._operations: Operations | None = None
        self.reader = Reader(settings.db_dsn, deadlines)
        self.log = OperatorLog(settings.db_dsn, deadlines)
        self.access = Access(settings, self.log, metrics)
        self.calls = OperatorCalls(self.log, self.view, self.operations, metrics, deadlines)
        self._collector = collector
        self._registry = metrics.registry
        self._loop = loop
        elsewhere = ReadElsewhere()
        self._flags = flags_from_environment(settings, trading, elsewhere)

    def view(self) -> EngineView:
        """What is seen of the engine now."""
        return self._view

    def operations(self) -> Operations | None:
        """What may be asked of the engine; ``None`` while there is none."""
        return self._operations

    def attach(self, view: EngineView, operations: Operations) -> None:
        """Show this engine from now on, and let operators ask it."""
        self._view, self._operations = view, operations

    def add_routes(self, app: FastAPI) -> None:
        """Have the application serve all of it."""
        answer_faults(app)
        label = self.settings.account_label
        app.include_router(
            health_routes(
                self.settings, self._collector, self._registry, self.access, self.reader, self.view, self._loop
            )
        )
        app.include_router(
            trading_routes(self.access, self.reader, self.view, self._registry, lambda: self._flags)
        )  # fmt: skip
        app.include_router(operator_routes(self.access, self.calls, label))
        app.include_router(console_routes(self.settings, self.access, self.reader, self.view, self._collector))
        app.include_router(docs_routes(app, self.access))

    def start(self) -> None:
        """Begin to write records."""
        self.log.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self.log.stop()
        self.reader.close()
