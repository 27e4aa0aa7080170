"""Every step leaves one row; a replay of the rows repeats the decisions, and names what it does not repeat."""

import json
import threading
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from alpaca_streams import until
from click.testing import CliRunner, Result
from engine_world import Timed, minute_tape, settings_of, timed
from order_cases import ACCOUNT, BAR, decision, intent, step_record
from order_path_process import leased
from postgres import free_port

from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.cli import cli
from torghut_runtime.clock import SimulatedClock, nanoseconds_of
from torghut_runtime.compiled import Vector
from torghut_runtime.engine import parity as parity_module
from torghut_runtime.engine.parity import Parity, parity
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.replay import Replay, Replayed
from torghut_runtime.engine.step_writer import BATCH, CAPACITY, StepWriter
from torghut_runtime.order_feed.ingest import cursor_of
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.decision_inputs import INSERT_STEP, copy_steps, delete_before, recorded_rows, step_values
from torghut_runtime.storage.order_journal import PostgresJournal
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.registry import BoundStrategy, StrategyRegistry, default_registry, resolve

DAY = ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")
SINCE, UNTIL = (datetime.fromisoformat(text) for text in DAY)


class Kept:
    """A sink that keeps records in memory."""

    def __init__(self, *, full: bool = False) -> None:
        self.steps: list[StepRecord] = []
        self.is_full = full

    def take(self, steps: Sequence[StepRecord]) -> None:
        self.steps.extend(steps)


def play(tape: Tape, *strategies: BoundStrategy, sink: Any, **environment: str) -> Replayed:
    recorder = Recorder(ACCOUNT, sink, mode="paper", adapter="simulator", commit="c0ffee")
    return Replay(tape, strategies, settings_of(**environment), recorder=recorder).run()


def hold(strategy_id: str = "hold", **params: Any) -> BoundStrategy:
    entry = {
        "strategy_id": strategy_id, "strategy_type": "buy_and_hold", "max_notional_per_trade": 5_000.0,
        "params": {"exits": {"stop_pct": 0.001, "max_bars": 20}, **params},
    }  # fmt: skip
    return resolve(StrategyEntry.model_validate(entry), None)


def tsmom() -> BoundStrategy:
    entry = {"strategy_id": "tsmom", "strategy_type": "intraday_tsmom_v1", "max_notional_per_trade": 3_000.0}
    return resolve(StrategyEntry.model_validate(entry), None)


def a_day(minutes: int = 390) -> Tape:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=5, first=SINCE.date(), sessions=1)
    return Tape(tape.bars[: 2 * minutes], tape.timeframe)


def store(engine: sa.Engine, steps: Sequence[StepRecord]) -> None:
    with connect(engine) as connection, transaction(connection):
        copy_steps(connection, steps)


def replayed(engine: sa.Engine, registry: StrategyRegistry | None = None, strategy: str | None = None) -> Parity:
    with connect(engine) as connection:
        return parity(recorded_rows(connection, SINCE, UNTIL, strategy), registry)


def count(engine: sa.Engine) -> int:
    with connect(engine) as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM decision_inputs")).scalar_one())


def alter(engine: sa.Engine, change: str, where: str = "true") -> None:
    with connect(engine) as connection:
        connection.execute(
            sa.text(
                f"UPDATE decision_inputs SET {change} WHERE id = (SELECT id FROM decision_inputs WHERE {where}"
                " ORDER BY id LIMIT 1)"
            )
        )


# Recording -----------------------------------------------------------------------------------------------------------


def test_a_recorded_day_has_a_row_per_step_and_replays_with_parity_one(engine: sa.Engine, database_dsn: str) -> None:
    writer = StepWriter(database_dsn, ACCOUNT, SimulatedClock(nanoseconds_of(UNTIL)))
    writer.start()
    tape = a_day()
    done = play(tape, hold(), tsmom(), sink=writer)
    assert writer.stop()
    assert done.order_count > 20
    found = replayed(engine)
    assert found.by_strategy["hold"] == (len(tape.bars), len(tape.bars))
    assert 0 < found.by_strategy["tsmom"][0] < len(tape.bars)
    assert (found.ratio, found.status, found.differences) == (1.0, "equal", ())
    assert (writer.lost, writer.waiting) == (0, 0)


def test_a_row_has_what_the_step_saw_and_the_trace_of_what_followed(engine: sa.Engine) -> None:
    kept = Kept()
    done = play(minute_tape({"AAPL": [100, 100, 101]}), timed(), sink=kept)
    store(engine, kept.steps)
    with connect(engine) as connection:
        rows = list(connection.execute(sa.text("SELECT * FROM decision_inputs ORDER BY bar_ts")).mappings())
    assert [(row["code"], row["output"][0]) for row in rows] == [(1, 1.0), (0, 0.0), (0, 0.0)]
    assert [row["position"][0] for row in rows] == [0.0, 10.0, 10.0]
    assert [row["memory"] for row in rows] == [[0.0], [1.0], [2.0]]
    first = rows[0]
    (made,) = done.decisions
    assert first["trace_id"] == made["trace_id"] == done.orders[0]["trace_id"] == done.fills[0]["trace_id"]
    assert first["feature_sha256"] == made["decision"]["features_sha256"]
    assert first["account"] == {
        "equity": "100000", "cash": "100000", "buying_power": "200000", "gross_exposure": "0", "net_exposure": "0",
    }  # fmt: skip
    assert first["price_snapshot"]["price"] == "100"
    assert first["params"]["qty"] == 10.0
    assert first["commit"] == "c0ffee"
    assert first["provenance"]["trading"] == {"mode": "paper", "adapter": "simulator"}
    assert first["provenance"]["check"] == {"result": "not_checked"}
    assert first["bar_ts"] == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    assert first["seconds_to_close"] == 389 * 60


def test_the_row_of_an_order_is_written_with_its_intent_and_the_batch_adds_none(
    engine: sa.Engine, database_dsn: str
) -> None:
    journal = PostgresJournal(database_dsn, ACCOUNT, "simulator", leased(database_dsn))
    order = intent()
    made = decision(order)
    assert journal.commit(made, order)
    assert count(engine) == 1
    assert made.step is not None
    store(engine, [made.step, step_record(symbol="MSFT")])
    assert not journal.commit(made, order)
    journal.close()
    assert count(engine) == 2


def test_a_batch_and_a_single_row_are_stored_alike(engine: sa.Engine) -> None:
    odd = {
        "features": (float("nan"),), "output": (-0.0, 0.1 + 0.2, 1e-300, 2.0**40), "memory": (float("inf"), -1e22),
        "seconds_to_close": float("nan"), "price": {"source": 'tab\t, "quote", back\\slash', "as_of": BAR},
    }  # fmt: skip
    with connect(engine) as connection:
        cursor_of(connection).execute(INSERT_STEP.encode(), step_values(step_record("single", **odd)))
        copy_steps(connection, [step_record("batched", **odd)])
        rows = connection.execute(sa.text("SELECT * FROM decision_inputs ORDER BY id")).mappings()
        one, two = ({k: repr(v) for k, v in row.items() if k not in ("id", "strategy_id", "trace_id")} for row in rows)
    assert one == two
    assert one["output"] == "[-0.0, 0.30000000000000004, 1e-300, 1099511627776.0]"


def test_while_too_many_rows_wait_nothing_is_entered_and_exits_go_out() -> None:
    tape = minute_tape({"AAPL": [100, 100, 101, 101, 101]})
    full = Kept(full=True)
    assert play(tape, timed(), sink=full).decisions[0]["reasons"] == ["backpressure"]

    class FullAfterTheEntry(Kept):
        def take(self, steps: Sequence[StepRecord]) -> None:
            super().take(steps)
            self.is_full = True

    done = play(tape, timed(exit_at=3), sink=FullAfterTheEntry())
    assert [(order["side"], order["state"]) for order in done.orders] == [("buy", "filled"), ("sell", "filled")]


def test_rows_wait_for_a_database_that_does_not_take_them_and_are_all_written_afterwards(
    engine: sa.Engine, database_dsn: str
) -> None:
    writer = StepWriter(database_dsn, ACCOUNT, SimulatedClock(nanoseconds_of(UNTIL)))
    writer.start()
    with engine.connect() as blocker:
        blocker.execute(sa.text("LOCK TABLE decision_inputs IN ACCESS EXCLUSIVE MODE"))
        writer.take([step_record(bar_ts=BAR + timedelta(minutes=n)) for n in range(CAPACITY - 1)])
        assert not writer.is_full
        writer.take([step_record(symbol="MSFT")])
        assert writer.is_full
        blocker.rollback()
    until(lambda: not writer.waiting)
    assert not writer.is_full
    writer.take([step_record(symbol="GOOG")])
    assert writer.stop(timeout=60)
    assert count(engine) == CAPACITY + 1


def test_what_a_slow_server_does_not_take_at_once_it_takes_in_parts(engine: sa.Engine, database_dsn: str) -> None:
    too_slow = """
        CREATE FUNCTION too_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT count(*) FROM added) > 300 THEN
                RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER too_slow AFTER INSERT ON decision_inputs REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION too_slow();
    """
    with connect(engine) as connection, transaction(connection):
        connection.execute(sa.text(too_slow))
    writer = StepWriter(database_dsn, ACCOUNT, SimulatedClock(nanoseconds_of(UNTIL)))
    writer.take([step_record(bar_ts=BAR + timedelta(minutes=n)) for n in range(BATCH)])
    writer.start()
    until(lambda: not writer.waiting)
    assert writer.stop(timeout=60)
    assert count(engine) == BATCH


def test_the_server_does_not_wait_while_records_are_made_into_text(
    engine: sa.Engine, connection: sa.Connection
) -> None:
    copying: list[int] = []

    def steps() -> Generator[StepRecord]:
        for number in range(3):
            with connect(engine) as other:
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY'"
                copying.append(other.execute(sa.text(query)).scalar_one())
            yield step_record(bar_ts=BAR + timedelta(minutes=number))

    with transaction(connection):
        copy_steps(connection, steps())
    assert copying == [0, 0, 0]
    assert count(engine) == 3


def test_a_stop_without_a_database_says_how_many_rows_are_lost() -> None:
    writer = StepWriter(embedded_dsn(free_port()), ACCOUNT, SimulatedClock(nanoseconds_of(UNTIL)))
    writer.start()
    writer.take([step_record(), step_record(symbol="MSFT")])
    assert not writer.stop(timeout=0.0)
    assert writer.lost == 2
    assert not any(thread.name == "step-writer" for thread in threading.enumerate())


def test_records_are_kept_ninety_days_and_deleted_in_bounded_numbers(engine: sa.Engine, database_dsn: str) -> None:
    old = [step_record(bar_ts=BAR + timedelta(minutes=n), decided_at=BAR + timedelta(minutes=n)) for n in range(5)]
    store(engine, old)
    at = BAR + timedelta(days=90, minutes=3)
    with connect(engine) as connection:
        assert delete_before(connection, ACCOUNT, at - timedelta(days=90), limit=2) == 2
        assert delete_before(connection, "other", at, limit=2) == 0
    writer = StepWriter(database_dsn, ACCOUNT, SimulatedClock(nanoseconds_of(at)))
    writer.start()
    writer.take([step_record(bar_ts=at, decided_at=at)])
    assert writer.stop(timeout=60)
    with connect(engine) as connection:
        left = connection.execute(sa.text("SELECT decided_at FROM decision_inputs ORDER BY 1")).scalars().all()
    assert left == [BAR + timedelta(minutes=3), BAR + timedelta(minutes=4), at]


# Parity --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(engine: sa.Engine) -> sa.Engine:
    """A database with half an hour of two symbols under one strategy."""
    kept = Kept()
    play(a_day(30), hold(), sink=kept)
    store(engine, kept.steps)
    return engine


@pytest.mark.parametrize(
    ("change", "cause", "detail"),
    [
        ("output[1] = 0.0", "output_changed", "signal"),
        ("output[2] = 0.5", "output_changed", "target"),
        ("output[3] = output[3] + 1e-15", "output_changed", "confidence"),
        ("code = 5", "output_changed", "code"),
        ("features[1] = features[1] + 0.01", "inputs_changed", "features"),
        ("params = jsonb_set(params, '{exits,max_bars}', '21')", "inputs_changed", "parameters"),
        ("params = jsonb_set(params, '{no_such}', '1')", "strategy_unknown", "invalid_params"),
        ("provenance = jsonb_set(provenance, '{source_sha256}', '\"ab\"')", "code_changed", "source ab"),
        ("strategy_version = '9.9.9'", "strategy_unknown", "unknown_version"),
        ("strategy_type = 'gone'", "strategy_unknown", "unknown_strategy"),
        ("memory = '{1}'", "code_changed", "memory"),
        ("timeframe = 'fortnight'", "strategy_unknown", "timeframe"),
    ],
)
def test_one_altered_row_is_named_with_its_cause_and_parity_is_below_one(
    recorded: sa.Engine, change: str, cause: str, detail: str
) -> None:
    alter(recorded, change)
    found = replayed(recorded)
    (difference,) = found.differences
    assert (found.recorded, found.equal, found.status) == (60, 59, "different")
    assert found.ratio == 59 / 60
    assert difference.cause == cause
    assert detail in difference.detail
    assert (difference.strategy_id, difference.symbol) == ("hold", "AAPL")
    assert difference.bar_ts == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


class OtherCode(Strategy):
    """The type and version of the recorded strategy with another rule."""

    type = "timed"
    version = "1.0.0"
    features = ("price",)
    Params = Timed.Params

    @staticmethod
    def state_size(params: Any) -> int:
        """As the recorded one."""
        return 1

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
        """Never says anything."""
        state[0] += 1.0


def test_other_code_under_the_same_version_is_a_difference_even_where_it_says_the_same(engine: sa.Engine) -> None:
    kept = Kept()
    play(minute_tape({"AAPL": [100] * 5}), timed(enter_at=3), sink=kept)
    store(engine, kept.steps)
    assert replayed(engine, StrategyRegistry.of(Timed)).ratio == 1.0
    found = replayed(engine, StrategyRegistry.of(OtherCode))
    assert found.ratio == 0.0
    assert {each.cause for each in found.differences} == {"code_changed"}
    said = [(each.recorded[0], each.replayed and each.replayed[0]) for each in found.differences]
    assert said == [(0.0, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (0.0, 0.0)]


def test_an_invalid_output_is_repeated_too(engine: sa.Engine) -> None:
    kept = Kept()
    play(minute_tape({"AAPL": [100] * 3}), timed(invalid_at=1), sink=kept)
    store(engine, kept.steps)
    found = replayed(engine, StrategyRegistry.of(Timed))
    assert (found.recorded, found.ratio) == (3, 1.0)
    assert kept.steps[0].code == -1


def test_without_a_record_parity_is_missing() -> None:
    found = parity([])
    assert (found.ratio, found.status) == (None, "missing")


# The command ---------------------------------------------------------------------------------------------------------


def command(dsn: str, *more: str, span: tuple[str, str] = DAY) -> Result:
    arguments = ["replay", "--recorded", "--since", span[0], "--until", span[1], *more]
    return CliRunner().invoke(cli, arguments, env={"DB_DSN": dsn})


def test_the_command_ends_with_3_on_a_difference_and_names_the_row(recorded: sa.Engine, database_dsn: str) -> None:
    equal = command(database_dsn)
    assert (equal.exit_code, equal.output) == (0, "equal: 60 of 60 recorded steps repeated, ratio 1.0\n")
    alter(recorded, "output[2] = 0.25", "symbol = 'MSFT'")
    different = command(database_dsn)
    assert different.exit_code == 3
    assert "MSFT" in different.output
    assert "output_changed" in different.output
    document = json.loads(command(database_dsn, "--json").output)
    assert (document["status"], document["recorded"], document["equal"]) == ("different", 60, 59)
    (row,) = document["differences"]
    assert row["recorded"]["target"] == 0.25
    assert row["replayed"]["target"] == 1
    assert (row["symbol"], row["bar_ts"]) == ("MSFT", "2026-01-05T14:30:00Z")


def test_the_command_finds_other_code_under_the_same_version(
    recorded: sa.Engine, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = default_registry().find("buy_and_hold", "1.0.0")

    class Impostor(original):
        @staticmethod
        def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
            out[0] = 3.0
            out[1] = 0.5
            out[2] = 1.0

    monkeypatch.setattr(parity_module, "default_registry", lambda: StrategyRegistry.of(Impostor))
    answer = command(database_dsn, "--json")
    assert answer.exit_code == 3
    document = json.loads(answer.output)
    assert document["ratio"] == 0
    assert {row["cause"] for row in document["differences"]} == {"code_changed"}


@pytest.mark.parametrize("more", [("--strategy", "nobody"), ()])
def test_without_a_recorded_row_the_command_says_missing_and_ends_with_3(
    recorded: sa.Engine, database_dsn: str, more: tuple[str, ...]
) -> None:
    span = DAY if more else ("2026-01-06T00:00:00Z", "2026-01-07T00:00:00+00:00")
    answer = command(database_dsn, *more, span=span)
    assert answer.exit_code == 3
    assert answer.output.startswith("missing: ")
    assert json.loads(command(database_dsn, *more, "--json", span=span).output)["ratio"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recorded", "--until", DAY[1]], "Missing option '--since'"),
        (["--recorded", "--since", "yesterday", "--until", DAY[1]], "--since"),
        (["--recorded", "--since", "2026-01-05T00:00:00", "--until", DAY[1]], "needs a time zone"),
        (["--recorded", "--since", DAY[1], "--until", DAY[0]], "must be later"),
        (["--recorded", "--since", DAY[0], "--until", DAY[0]], "must be later"),
        (["--recorded", "--since", DAY[0], "--until", DAY[1], "--bars", "b.csv"], "--bars does not go with"),
        (["--bars", "b.csv", "--strategies", "s.yaml"], "Missing option '--out'"),
        (["--bars", "b.csv", "--strategies", "s.yaml", "--out", "o", "--since", DAY[0]], "--since does not go with"),
    ],
)
def test_times_and_options_that_do_not_fit_end_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from torghut_runtime.command_line import run

    assert run(cli, "torghut-runtime", ["replay", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_account_shown_follows_the_money() -> None:
    kept = Kept()
    play(minute_tape({"AAPL": [100, 100, 110]}), timed(), sink=kept)
    assert [step.account["cash"] for step in kept.steps] == [100_000, 99_000, 99_000]
    assert kept.steps[2].account["equity"] == Decimal(100_100)
