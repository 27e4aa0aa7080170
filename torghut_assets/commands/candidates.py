"""``torghut candidates``: what has been evaluated, and how two candidates differ. Nothing here writes."""

from typing import TYPE_CHECKING, Any, cast

import click

from torghut_runtime.command_line import examples, json_option, print_json, print_table
from torghut_runtime.errors import InputError

if TYPE_CHECKING:
    from torghut_assets.research.records import RunSummary

_SHOWN = (
    ("Sharpe, annualised", ("performance", "sharpe_annualized")),
    ("net PnL", ("performance", "net_pnl")),
    ("against best baseline", ("net_pnl_delta",)),
    ("drawdown", ("performance", "drawdown_fraction")),
    ("trades", ("counts", "trade_count")),
)


@click.group()
def candidates() -> None:
    """Compare evaluated candidates."""


@candidates.command("list", epilog=examples("torghut candidates list", "torghut candidates list --json"))
@json_option
def list_candidates(as_json: bool) -> None:
    """List the newest run of every candidate on record, best Sharpe ratio first."""
    from torghut_assets.commands.database import connection
    from torghut_assets.research.records import newest_runs

    with connection() as opened:
        runs = sorted(newest_runs(opened), key=_by_sharpe)
    if as_json:
        print_json([_fields(run) for run in runs])
        return
    columns = ("name", "candidate", "run", *(title for title, _ in _SHOWN), "verdict", "mode")
    print_table(
        columns,
        [
            (
                run.name,
                run.candidate_id,
                run.run_id[:12],
                *(_figure(run, path) for _, path in _SHOWN),
                run.action,
                run.recommended_mode,
            )
            for run in runs
        ],
    )


@candidates.command(epilog=examples("torghut candidates show daily-momentum"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the newest run of candidate NAME: verdict, reasons, metrics, folds, and its earlier runs."""
    from torghut_assets.commands.database import connection
    from torghut_assets.research.records import folds_of, runs_of

    with connection() as opened:
        runs = runs_of(opened, name)
        folds = folds_of(opened, runs[0].run_id) if runs else []
    if not runs:
        raise InputError(f"candidate {name!r} has no run on record; `torghut candidates list` names those that have")
    newest = runs[0]
    if as_json:
        fold_fields = [
            {"fold": f.fold, "parameters": f.parameters, "in_sample": f.in_sample, "out_of_sample": f.out_of_sample}
            for f in folds
        ]
        print_json(
            {**_fields(newest), "report": newest.report, "folds": fold_fields, "runs": [_fields(r) for r in runs]}
        )
        return
    click.secho(f"{name}: {newest.action} for {newest.promotion_target}", bold=True)
    click.echo(f"  candidate {newest.candidate_id}, run {newest.run_id}, ledger row {newest.ledger_seq}")
    for reason in newest.reasons:
        click.echo(f"    {reason}")
    print_table(("metric", "value"), _metrics(newest.report))
    click.echo()
    print_table(
        ("fold", "test", "parameters", "net PnL in sample", "net PnL out of sample"),
        [
            (
                fold.fold + 1,
                f"{fold.test_start:%Y-%m-%d} to {fold.test_end:%Y-%m-%d}",
                _pairs(fold.parameters),
                fold.in_sample.get("net_pnl"),
                fold.out_of_sample.get("net_pnl"),
            )
            for fold in folds
        ],
    )
    click.echo()
    print_table(("run", "recorded", "verdict"), [(r.run_id, f"{r.recorded_at:%Y-%m-%d %H:%M}", r.action) for r in runs])


@candidates.command(epilog=examples("torghut candidates diff daily-momentum macd-rsi-sample"))
@click.argument("first")
@click.argument("second")
@json_option
def diff(first: str, second: str, as_json: bool) -> None:
    """Name what differs between the newest runs of FIRST and SECOND: specification, metrics, verdict."""
    from torghut_assets.commands.database import connection
    from torghut_assets.research.records import candidate_of, runs_of

    flat: list[dict[str, Any]] = []
    with connection() as opened:
        for name in (first, second):
            runs = runs_of(opened, name)
            candidate = candidate_of(opened, runs[0].candidate_id) if runs else None
            if candidate is None:
                raise InputError(f"candidate {name!r} has no run on record")
            flat.append({**_flat(candidate.spec, "spec"), **_flat(runs[0].report, "report"), **_verdict(runs[0])})
    keys = sorted({*flat[0], *flat[1]})
    rows = [(key, flat[0].get(key), flat[1].get(key)) for key in keys if flat[0].get(key) != flat[1].get(key)]
    if as_json:
        print_json([{"field": key, first: one, second: other} for key, one, other in rows])
    else:
        print_table(("field", first, second), rows)


def _by_sharpe(run: "RunSummary") -> tuple[bool, float, str]:
    sharpe = _figure(run, ("performance", "sharpe_annualized"))
    return sharpe is None, -float(sharpe or 0.0), run.name


def _figure(run: "RunSummary", path: tuple[str, ...]) -> Any:
    value: Any = dict(run.report)
    for key in path:
        value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return value


def _fields(run: "RunSummary") -> dict[str, Any]:
    return {
        "name": run.name,
        "candidate_id": run.candidate_id,
        "run_id": run.run_id,
        "promotion_target": run.promotion_target,
        "verdict": run.action,
        "recommended_mode": run.recommended_mode,
        "reasons": list(run.reasons),
        "recorded_at": run.recorded_at,
        **{title: _figure(run, path) for title, path in _SHOWN},
    }


def _verdict(run: "RunSummary") -> dict[str, Any]:
    return {"verdict": run.action, "recommended_mode": run.recommended_mode, "reasons": list(run.reasons)}


def _metrics(report: Any) -> list[tuple[str, object]]:
    return [(key, value) for key, value in sorted(_flat(report, "").items()) if not isinstance(value, list)]


def _flat(value: Any, path: str) -> dict[str, Any]:
    """Leaves of a document by dotted path; lists of objects count as objects with numbers for keys."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[Any]", value)):
        value = {str(number): item for number, item in enumerate(cast("list[Any]", value))}
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in cast("dict[str, Any]", value).items():
        found.update(_flat(item, f"{path}.{key}" if path else key))
    return found


def _pairs(values: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items())) or "none searched"
