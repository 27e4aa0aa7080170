"""How a leg of the demo's trading is told: as tables for people, as fields for programs."""

from typing import TYPE_CHECKING, Any

import click

from torghut_runtime.command_line import print_table

if TYPE_CHECKING:
    from torghut_assets.demo_trading import Leg

_SHOWN = 10


def print_leg(leg: "Leg") -> None:
    """Print decisions, fills, costs, parity and what is left of the money."""
    traded = leg.traded
    click.secho(leg.title, bold=True)
    click.echo()
    columns = ("strategy", "decision", "became", "count", "reasons")
    rows = [
        (each["strategy_id"], each["rationale"], each["status"], each["count"], ", ".join(each["reasons"] or ()))
        for each in traded.decisions
    ]
    print_table(columns, rows, title="decisions (holds are recorded, too, and not listed)")
    click.echo()
    fills = [
        (f"{each['at']:%Y-%m-%d %H:%M}", each["symbol"], each["side"], f"{each['qty']:f}".rstrip("0").rstrip("."),
         f"{each['price']:.2f}")
        for each in traded.fills[:_SHOWN]
    ]  # fmt: skip
    left = len(traded.fills) - _SHOWN
    title = f"fills{f' (the first {_SHOWN} of {len(traded.fills)})' if left > 0 else ''}"
    print_table(("time (UTC)", "symbol", "side", "qty", "price"), fills, title=title)
    click.echo()
    costs = [
        (each["strategy_id"], each["symbol"], each["orders"], f"{each['slippage_bps']:+.2f}",
         f"{each['shortfall']:+.2f}")
        for each in traded.tca
        if each["slippage_bps"] is not None
    ]  # fmt: skip
    print_table(("strategy", "symbol", "orders", "slippage bps", "shortfall $"), costs, title="costs against arrival")
    click.echo()
    found = traded.parity
    ratio = "missing" if found.ratio is None else f"{found.ratio:.6g}"
    click.echo(f"parity {ratio}: {found.equal} of {found.recorded} recorded steps repeat bit by bit")
    click.echo(
        f"equity {traded.equity:.2f}, {traded.state}, {traded.differences} differences from the broker's records"
    )


def leg_fields(leg: "Leg") -> dict[str, Any]:
    """What ``torghut demo --json`` prints of a leg."""
    traded = leg.traded
    return {
        "title": leg.title,
        "bars": traded.bars,
        "decisions": traded.decisions,
        "fills": traded.fills,
        "tca": traded.tca,
        "parity": traded.parity.document(),
        "equity": traded.equity,
        "state": traded.state,
        "differences": traded.differences,
    }
