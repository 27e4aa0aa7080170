"""The table of ``docs/simulator.md``: every method of alpaca-py's clients, and the test that calls it.

Methods are read from alpaca-py, tests from the ``covers`` decorators in the sources. ``make docs`` writes the table; a
test keeps it current.
"""

import ast
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "simulator.md"
BEGIN = "<!-- methods: begin (make docs) -->\n"
END = "<!-- methods: end -->\n"
SOURCES = (
    ROOT / "tests" / "alpaca_cases.py",
    ROOT / "tests" / "integration" / "broker" / "test_alpaca_streams.py",
)
NOT_SERVED = {
    "watchlist": "watchlists are not part of the contract",
    "option": "options are not part of the contract",
    "corporate_announcement": "superseded by `/v1/corporate-actions`",
    "register_trade": "the simulator corrects and cancels no trades",
}
_PLUMBING = {"get", "post", "put", "patch", "delete", "response_wrapper", "stop", "close", "stop_ws", "run"}


def covered() -> dict[str, list[str]]:
    """Method -> names of the tests that cover it."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "covers":
                    for argument in decorator.args:
                        if isinstance(argument, ast.Constant):
                            found.setdefault(str(argument.value), []).append(node.name)
    return found


def methods() -> Iterator[str]:
    """Public methods of the clients that the simulator is for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from alpaca.data.historical.corporate_actions import CorporateActionsClient
        from alpaca.data.historical.stock import StockHistoricalDataClient
        from alpaca.data.live.stock import StockDataStream
        from alpaca.trading.client import TradingClient
        from alpaca.trading.stream import TradingStream

    for client in (TradingClient, StockHistoricalDataClient, CorporateActionsClient, TradingStream, StockDataStream):
        for name, _ in inspect.getmembers(client, inspect.isfunction):
            if not name.startswith("_") and name not in _PLUMBING:
                yield f"{client.__name__}.{name}"


def table() -> str:
    """The rows: method, test or why there is none."""
    tests = covered()
    names = list(methods())
    others = [name for name in tests if name not in names]
    rows = ["| alpaca-py | test |\n", "|---|---|\n"]
    for name in [*names, *sorted(others)]:
        reason = next((why for part, why in NOT_SERVED.items() if part in name), "")
        listed = ", ".join(f"`{test}`" for test in dict.fromkeys(tests.get(name, []))) or f"not served: {reason}"
        rows.append(f"| `{name}` | {listed} |\n")
    return "".join(rows)


def page() -> str:
    """The page with a current table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
