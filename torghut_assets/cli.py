"""The ``torghut`` command: the group of all commands and the process's entry point.

A command's module is in ``torghut_assets.commands``; how commands speak is ``torghut_runtime.command_line``'s business.
"""

import sys

import click

from torghut_assets.commands.backtest import backtest
from torghut_assets.commands.bars import bars
from torghut_assets.commands.candidates import candidates
from torghut_assets.commands.checks import checks
from torghut_assets.commands.compare import compare
from torghut_assets.commands.demo import demo
from torghut_assets.commands.dev import dev
from torghut_assets.commands.gates import gates
from torghut_assets.commands.guard import guard
from torghut_assets.commands.init import init
from torghut_assets.commands.lane import lane
from torghut_assets.commands.ledger import ledger
from torghut_assets.commands.promotion import promotion
from torghut_runtime.command_line import examples, run


@click.group(
    epilog=examples(
        "torghut demo",
        "torghut backtest --bars bars.parquet --strategy daily_momentum --param lookback_bars=126",
        "torghut lane run --bars bars.parquet --strategy-config config/strategies/daily-momentum.yaml"
        " --gate-policy config/autonomous-gate-policy.json --output-dir artifacts/daily-momentum",
    )
)
@click.version_option(package_name="torghut")
def cli() -> None:
    """Decide which trading strategies may trade, and keep the proof of every decision.

    Exit codes: 0 done, 1 failure, 2 bad usage or input, 3 the answer is no.
    """


for _command in (lane, backtest, compare, bars, candidates, checks, gates, promotion, guard, ledger, dev, init, demo):
    cli.add_command(_command)


def main() -> None:
    """Run ``torghut`` with the process's arguments and exit."""
    sys.exit(run(cli, "torghut"))
