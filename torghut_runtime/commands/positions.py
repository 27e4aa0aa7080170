"""``torghut-runtime positions``: what our records say is held, beside what the broker holds."""

from decimal import Decimal
from typing import Any

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, print_json, print_table
from torghut_runtime.errors import UpstreamError


@click.group(
    invoke_without_command=True,
    epilog=examples("torghut-runtime positions", "torghut-runtime positions show --json"),
)
@click.pass_context
def positions(context: click.Context) -> None:
    """Compare our positions with the broker's; without a further word, show them."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@positions.command(epilog=examples("torghut-runtime positions show", "torghut-runtime positions show --json"))
@json_option
def show(as_json: bool = False) -> None:
    """Show every position by strategy, and where the broker holds another quantity.

    Ours is the fold of every stored order event of the account; the broker is that of the environment. Reads only.
    Exit 3 when a quantity differs.
    """
    from torghut_runtime.broker.alpaca import AlpacaReader, account_fault
    from torghut_runtime.broker.protocol import BrokerError
    from torghut_runtime.orders.portfolio import Portfolio
    from torghut_runtime.orders.reconcile import position_differences, restore
    from torghut_runtime.orders.tracker import OrderTracker
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import connect, create_engine
    from torghut_runtime.storage.order_journal import stored_events, stored_intents
    from torghut_runtime.trading_settings import load_trading_settings

    trading = load_trading_settings()
    label, mode = trading.mode.account_label, trading.mode.mode
    base_url = trading.broker_url
    tracker = OrderTracker(label, Portfolio(Decimal(0)))
    with connect(create_engine(load_settings().db_dsn)) as connection:
        restore(tracker, stored_intents(connection, label), stored_events(connection, label))
    try:
        reader = AlpacaReader(trading.broker, base_url)
        account, held = reader.account(), reader.positions()
    except BrokerError as error:
        raise UpstreamError(f"broker at {base_url}: {error}") from None
    fault = account_fault(account, base_url, mode, trading.broker.live_account_number)
    if fault is not None:
        raise UpstreamError(f"account_mismatch: account {account.get('account_number')} {fault}")
    different = {each.symbol: each for each in position_differences(tracker, held)}
    theirs = {document["symbol"]: Decimal(document["qty"]) for document in held}
    symbols = sorted({slot[1] for slot, _ in tracker.portfolio.positions()} | set(theirs))
    items: list[dict[str, Any]] = [
        {
            "symbol": symbol,
            "qty": tracker.portfolio.symbol_qty(symbol),
            "broker_qty": theirs.get(symbol, Decimal(0)),
            "discrepancy_qty": theirs.get(symbol, Decimal(0)) - tracker.portfolio.symbol_qty(symbol),
            "by_strategy": [
                {
                    "strategy_id": slot[0],
                    "qty": each.qty,
                    "avg_entry_price": each.average_entry,
                    "realized_pl": each.realized,
                }
                for slot, each in tracker.portfolio.positions()
                if slot[1] == symbol
            ],
        }
        for symbol in symbols
    ]
    if as_json:
        number = account.get("account_number")
        print_json({"account_label": label, "account_number": number, "matches": not different, "items": items})
    else:
        _print(items)
    if different:
        end(ExitCode.DENIED)


def _print(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["symbol"], each["strategy_id"], each["qty"], f"{each['avg_entry_price']:.4f}", None, None)
        for item in items
        for each in item["by_strategy"]
    ]
    totals = [(item["symbol"], "all", item["qty"], None, item["broker_qty"], item["discrepancy_qty"]) for item in items]
    if not items:
        click.echo("nothing is held, here or at the broker")
        return
    columns = ("symbol", "strategy", "qty", "average entry", "broker", "difference")
    print_table(columns, sorted([*rows, *totals], key=lambda row: (row[0], row[1] == "all", row[1])))
