"""``torghut lane``: the whole way from data to verdict, without a Dagster process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, path_option, print_json, progress

_INPUTS = (
    "--strategy-config config/autonomous-strategy-sample.yaml"
    " --gate-policy config/autonomous-gate-policy.json --output-dir artifacts/autonomy-lane"
)


@click.group()
def lane() -> None:
    """Judge a candidate: research, gates, decision, patch."""


def _data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which data and strategies are looked at."""
    for option in reversed(
        (
            path_option("--signals", help="Signals, JSON list or NDJSON. Either this or --bars."),
            path_option("--bars", help="Bars, Parquet or CSV, from which the signals are computed."),
            click.option("--timeframe", help="Timeframe of the bars; inferred when left out."),
            path_option("--strategy-config", required=True, help="Strategies, YAML or JSON."),
            path_option("--research", help="Research settings; config/research.yaml when left out."),
        )
    ):
        function = option(function)
    return function


def _check_data(signals: Path | None, bars: Path | None) -> None:
    if (signals is None) == (bars is None):
        raise click.UsageError("give either --signals or --bars")


@lane.command(
    epilog=examples(
        f"torghut lane run --signals tests/fixtures/walkforward_signals.json {_INPUTS}",
        "torghut lane run --bars bars.parquet --strategy-config config/strategies/daily-momentum.yaml"
        " --gate-policy config/autonomous-gate-policy.json --output-dir artifacts/daily-momentum --require-promotion",
    )
)
@_data_options
@path_option("--gate-policy", required=True, help="Gate policy, JSON or YAML.")
@path_option("--output-dir", required=True, help="Folder that becomes the bundle.")
@click.option("--name", help="Candidate name; the slug of the first strategy_id when left out.")
@click.option(
    "--promotion-target",
    type=click.Choice(("shadow", "paper", "live")),
    default="paper",
    show_default=True,
    help="Which promotion is asked for; the gates of all targets are judged anyway.",
)
@path_option(
    "--strategy-configmap",
    default=Path("deploy/k8s/base/strategy-configmap.yaml"),
    show_default=True,
    help="The ConfigMap that the patch is made against.",
)
@click.option("--approval-token", help="Token of a granted approval (live).")
@click.option(
    "--ledger",
    type=click.Choice(("auto", "none")),
    default="auto",
    show_default=True,
    help="none: no database; the trial count is then the candidate's own, and the report says so.",
)
@click.option("--require-promotion", is_flag=True, help="Exit with 3 when the verdict is not to promote.")
@json_option
def run(
    *,
    signals: Path | None,
    bars: Path | None,
    timeframe: str | None,
    strategy_config: Path,
    gate_policy: Path,
    output_dir: Path,
    name: str | None,
    research: Path | None,
    promotion_target: str,
    strategy_configmap: Path,
    approval_token: str | None,
    ledger: str,
    require_promotion: bool,
    as_json: bool,
) -> None:
    """Judge one candidate and export its bundle.

    Ends with 0 when a verdict was reached, whatever it is. On 1 and 2 the output folder is what it was before.
    """
    _check_data(signals, bars)
    from torghut_assets.commands.verdict import print_verdict, result_fields
    from torghut_assets.lane import LaneRequest, run_lane

    request = LaneRequest(
        signals=signals,
        bars=bars,
        timeframe=timeframe,
        strategy_config=strategy_config,
        gate_policy=gate_policy,
        output_dir=output_dir,
        name=name,
        research=research,
        promotion_target=cast("Literal['shadow', 'paper', 'live']", promotion_target),
        strategy_configmap=strategy_configmap,
        approval_token=approval_token,
        ledger=cast("Literal['auto', 'none']", ledger),
    )
    with progress() as listen:
        result = run_lane(request, listen)
    if as_json:
        print_json(result_fields(result))
    else:
        print_verdict(result)
    if require_promotion and not result.decision.promotion_allowed:
        end(ExitCode.DENIED)


@lane.command(
    epilog=examples(
        "torghut lane lookahead --bars torghut_assets/sample_data/us5_daily_raw_quandlwiki.parquet"
        " --strategy-config config/strategies/daily-momentum.yaml"
    )
)
@_data_options
@json_option
def lookahead(
    *,
    signals: Path | None,
    bars: Path | None,
    timeframe: str | None,
    strategy_config: Path,
    research: Path | None,
    as_json: bool,
) -> None:
    """Cut the future off at a sample of times and name the first bar and feature that change.

    Ends with 3 when something leaks, with 2 when the data are too short for a single check.
    """
    _check_data(signals, bars)
    from torghut_assets.lane import lookahead_of
    from torghut_runtime.canonical import utc_text
    from torghut_runtime.errors import InputError

    with progress() as listen:
        found = lookahead_of(signals, bars, timeframe, strategy_config, research, listen)
    if found.detected is None:
        raise InputError("too short for a single test window, so nothing could be checked", file=signals or bars)
    if as_json:
        print_json(found)
    elif found.first_leak is None:
        click.echo(f"no lookahead: nothing changed at {found.checked_points} points at which the future was cut off")
    else:
        leak = found.first_leak
        what = "a decision" if leak.feature is None else f"feature {leak.feature}"
        click.echo(
            f"lookahead: {what} of {leak.symbol} at {utc_text(leak.event_ts)} changes "
            f"when the data end at {utc_text(leak.cut_off_at)}"
        )
    if found.detected:
        end(ExitCode.DENIED)
