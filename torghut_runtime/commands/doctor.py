"""``torghut-runtime doctor``: why nothing trades."""

from dataclasses import asdict

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, print_json, print_table
from torghut_runtime.errors import InputError

URL = "http://127.0.0.1:8181"


@click.command(epilog=examples("torghut-runtime doctor", "torghut-runtime doctor --url http://127.0.0.1:8191 --json"))
@click.option("--url", default=URL, show_default=True, help="Of the runtime.")
@click.option("--token", envvar="TORGHUT_TOKEN", help="For a runtime that wants one to read [env: TORGHUT_TOKEN].")
@json_option
def doctor(url: str, token: str | None, as_json: bool) -> None:
    """Say why nothing trades, check by check; exits with 3 when something keeps entries back.

    Asks the running runtime. Where none answers, environment, files and database are judged, and that is said; what
    only a running process knows stays unknown then.
    """
    from torghut_runtime.addresses import is_web_address
    from torghut_runtime.doctor.environment import facts_of_environment
    from torghut_runtime.doctor.findings import examine, is_blocked
    from torghut_runtime.doctor.runtime import facts_of_runtime
    from torghut_runtime.settings import load_settings
    from torghut_runtime.trading_settings import load_trading_settings

    if not is_web_address(url):
        raise InputError("must be http(s)://HOST[:PORT]", field="--url")
    trading = load_trading_settings()
    facts = facts_of_runtime(url, token, lag_limit=trading.data.stale_lag_seconds)
    answered = facts is not None
    if facts is None:
        facts = facts_of_environment(load_settings(), trading)
    lines = examine(facts)
    blocked = is_blocked(lines)
    if as_json:
        print_json(
            {"asked": facts.asked, "runtime_answers": answered, "blocked": blocked, "lines": [asdict(e) for e in lines]}
        )
    else:
        if not answered:
            click.echo(f"no runtime answers at {url}: judged by {facts.asked}")
        columns = ("check", "verdict", "code", "value", "remedy")
        print_table(columns, [[each.check, each.verdict, each.code, each.value, each.remedy] for each in lines])
    if blocked:
        end(ExitCode.DENIED)
