"""`torghut backtest`, `lane lookahead` and `candidates`: what a researcher sees, and the same through Python."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from lane_project import momentum_entry, request_of, trending_bars, write_project

from torghut_assets.cli import cli
from torghut_assets.lane import run_lane
from torghut_assets.research.backtest import backtest
from torghut_assets.research.settings import ResearchSettings
from torghut_runtime.command_line import run
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.contract import Strategy

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--param", "lookback_bars=20", "--param", "skip_bars=2", "--param", "vol_halflife=5.0")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_it(*words: str) -> tuple[int, str, str]:
        code = run(cli, "torghut", words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_it


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trending_bars(tmp_path_factory.mktemp("bars") / "bars.parquet", sessions=200)


def test_backtest_prints_metrics_and_writes_a_tear_sheet(call: Call, bars: Path, tmp_path: Path) -> None:
    code, out, err = call("backtest", "--bars", str(bars), "--strategy", "daily_momentum", *QUICK)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["metric", "out", "of", "sample,", "after", "costs"]
    assert (tmp_path / "artifacts/backtest/tearsheet.html").read_bytes().startswith(b"<!doctype html>")
    assert "buy_and_hold" in out


def test_the_command_and_the_function_measure_the_same(call: Call, bars: Path) -> None:
    _, out, _ = call("backtest", "--bars", str(bars), "--strategy", "daily_momentum", *QUICK, "--json")
    printed = json.loads(out)
    params = {"lookback_bars": 20, "skip_bars": 2, "vol_halflife": 5.0}
    result = backtest(pl.read_parquet(bars), "daily_momentum", ResearchSettings(), params=params)
    assert printed["performance"]["net_pnl"] == pytest.approx(result.report.performance.net_pnl, rel=1e-9)
    assert printed["counts"]["fill_count"] == result.fills.height
    assert printed["candidate_id"] == result.spec.candidate_id
    assert result.equity["equity"][-1] == result.report.performance.final_equity


def test_a_class_at_hand_can_be_backtested(bars: Path) -> None:
    class EveryOther(Strategy):
        """In on one bar, out on the next."""

        type = "every_other"
        version = "0.1.0"
        features = ("price",)

        @staticmethod
        def step(f, p, pos, state, out):
            if pos[0] == 0.0 and pos[4] == 0.0:
                out[0], out[1], out[2] = 1.0, 1.0, 1.0
            elif pos[0] > 0.0:
                out[0], out[2] = 2.0, 1.0

    result = backtest(bars, EveryOther)
    assert result.report.counts.trade_count > 10
    assert result.spec.strategies[0].version == "0.1.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategy", "nonsense"), "unknown strategy type 'nonsense'"),
        (("--strategy", "daily_momentum", "--param", "lookback_bar=3"), "did you mean lookback_bars?"),
        (("--strategy", "daily_momentum", "--param", "lookback_bars"), "must be KEY=VALUE"),
        (("--strategy", "daily_momentum", "--timeframe", "2Min"), "unknown timeframe '2Min'"),
    ],
)
def test_bad_words_are_2_with_one_line(call: Call, bars: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = call("backtest", "--bars", str(bars), *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_an_unwritable_output_is_2(call: Call, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = call("backtest", "--bars", str(bars), "--strategy", "buy_and_hold", "--output-dir", "file")
    assert code == 2
    assert "file/tearsheet.html: cannot be written" in err


def test_lookahead_finds_nothing_in_a_built_in_strategy(call: Call, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    config = folder / "config/test-candidate-strategies.yaml"
    code, out, _ = call("lane", "lookahead", "--bars", str(folder / "bars.parquet"), "--strategy-config", str(config))
    assert code == 0
    assert out.startswith("no lookahead: nothing changed at ")


def test_lookahead_on_too_little_data_is_no_clean_bill(call: Call, tmp_path: Path) -> None:
    short = trending_bars(tmp_path / "short.parquet", sessions=3)
    config = tmp_path / "strategies.json"
    config.write_text(json.dumps([momentum_entry()]))
    code, out, err = call("lane", "lookahead", "--bars", str(short), "--strategy-config", str(config))
    assert (code, out) == (2, "")
    assert "too short for a single test window" in err


@pytest.fixture
def judged(database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two candidates on record in a database that DB_DSN names."""
    monkeypatch.setenv("DB_DSN", database_dsn)
    other = {"entry": {"params": {"lookback_bars": 30, "skip_bars": 2, "vol_halflife": 5.0}}}
    folder = write_project(tmp_path / "project", {"candidate-a": {}, "candidate-b": other})
    for name in ("candidate-a", "candidate-b"):
        run_lane(request_of(folder, tmp_path / name, name, ledger="auto"))
    return folder


@pytest.mark.usefixtures("judged")
def test_candidates_are_listed_shown_and_compared(call: Call) -> None:
    code, out, _ = call("candidates", "list", "--json")
    listed = json.loads(out)
    sharpes = [each["Sharpe, annualised"] for each in listed]
    assert code == 0
    assert {each["name"] for each in listed} == {"candidate-a", "candidate-b"}
    assert sharpes == sorted(sharpes, reverse=True)

    code, out, _ = call("candidates", "show", "candidate-a", "--json")
    shown = json.loads(out)
    assert (code, len(shown["folds"]), shown["verdict"]) == (0, 5, "deny")
    assert shown["run_id"] == next(each["run_id"] for each in listed if each["name"] == "candidate-a")

    code, out, _ = call("candidates", "diff", "candidate-a", "candidate-b", "--json")
    different = {row["field"]: (row["candidate-a"], row["candidate-b"]) for row in json.loads(out)}
    assert code == 0
    assert different["spec.strategies.0.params.lookback_bars"] == (20, 30)
    assert "spec.dataset.dataset_id" not in different

    for words in (("list",), ("show", "candidate-a"), ("diff", "candidate-a", "candidate-b")):
        code, out, err = call("candidates", *words)
        assert (code, err) == (0, "")
        assert "candidate-a" in out


def test_an_unknown_candidate_is_2(call: Call, database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", database_dsn)
    for words in (("show", "nobody"), ("diff", "nobody", "else")):
        code, _, err = call("candidates", *words)
        assert code == 2
        assert "candidate 'nobody' has no run on record" in err


def test_bars_that_are_no_bars_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"field close: column is missing"):
        backtest(pl.DataFrame({"symbol": ["A"], "ts": ["2024-01-02"], "open": [1], "high": [1], "low": [1]}), "x")
