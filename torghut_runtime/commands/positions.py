"""``torghut-runtime positions``: what our records say is held beside what the broker holds, and booking a difference.

Nothing here trades. A process that trades takes over what was booked with its next reconciliation.
"""

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from torghut_runtime.command_line import (
    ExitCode,
    end,
    examples,
    json_option,
    operating_system_user,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from torghut_runtime.commands.held_positions import Difference


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
    from torghut_runtime.commands.held_positions import held_positions
    from torghut_runtime.orders.reconcile import position_differences

    ours = held_positions()
    tracker, held, account, label = ours.tracker, ours.documents, ours.account, ours.account_label
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


@positions.command(
    epilog=examples(
        "torghut-runtime positions reconcile AAPL --reason '4:1 split of 12 January'",
        "torghut-runtime positions reconcile AAPL --reason 'transferred by hand' --yes",
    )
)
@click.argument("symbol")
@click.option("--reason", required=True, help="Why the difference is booked; kept in the ledger.")
@click.option("--yes", is_flag=True, help="Book without asking; needed where nobody can be asked.")
@json_option
def reconcile(symbol: str, reason: str, yes: bool = False, as_json: bool = False) -> None:
    """Book the difference between our position in SYMBOL and the broker's, and unfreeze the symbol.

    An announced split multiplies every strategy's quantity and divides its average entry; any other difference goes to
    'unattributed'. Exit 3 when it was not booked: somebody said no, or an order of the symbol is not in our records as
    the broker has it.
    """
    from torghut_runtime.commands.held_positions import book, difference_in, held_positions

    reason = reason.strip()
    if not 1 <= len(reason) <= 500:
        raise click.BadParameter("must have 1 to 500 characters", param_hint="--reason")
    found = difference_in(held_positions(), symbol.strip().upper())
    if not found.is_open:
        _tell(found, None, as_json)
        return
    if found.behind:
        _tell(found, None, as_json)
        end(ExitCode.DENIED)
    if not yes:
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("nobody can be asked here; --yes books without asking")
        _show(found)
        if not click.confirm("Book this?", default=False):
            end(ExitCode.DENIED)
    _tell(found, book(found, reason=reason, actor=operating_system_user()), as_json)


def _tell(found: "Difference", ledger_seq: int | None, as_json: bool) -> None:
    if as_json:
        print_json({**found.document(), "booked": ledger_seq is not None, "ledger_seq": ledger_seq})
        return
    _show(found)
    if found.behind:
        click.echo(f"not booked: {', '.join(found.behind)} not in our records as the broker has it; try again later")
    elif ledger_seq is None:
        click.echo("nothing to book")
    else:
        click.echo(f"booked, ledger record {ledger_seq}")


def _show(found: "Difference") -> None:
    click.echo(f"{found.symbol}: ours {found.ours}, broker {found.theirs}")
    if found.frozen is not None:
        click.echo(f"frozen: {found.frozen.reason}")
    if found.split is not None:
        announced = found.split.document()
        click.echo(f"announced: split {announced['ratio']}, ex-date {announced['ex_date']}")
    rows = [(each.strategy_id, each.qty_factor, each.qty_change, each.price) for each in found.adjustments]
    if rows:
        print_table(("strategy", "quantity ×", "then +", "at price"), rows)
