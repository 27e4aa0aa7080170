"""Bars from a server that speaks Alpaca's protocol, well and badly, through the real client."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from torghut_assets.cli import cli
from torghut_runtime.command_line import run
from torghut_runtime.errors import InputError, UpstreamError
from torghut_runtime.market.alpaca_bars import (
    BARS_SCHEMA,
    AlpacaAccess,
    BarsRequest,
    FetchedBars,
    Transport,
    access_from_environment,
    fetch_bars,
)
from torghut_runtime.market.bars import bars_from_frame

KEY, SECRET = "PKTESTKEY0001", "very/secret+value"
TODAY = date(2024, 7, 1)

Answer = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request with what is needed to answer it."""

    handler: BaseHTTPRequestHandler
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        length = headers.pop("length", str(len(body)))
        for name, value in {"Content-Type": "application/json", "Content-Length": length, **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def page(self, bars: object, token: str | None = None) -> None:
        self.send(200, json.dumps({"bars": bars, "next_page_token": token}).encode())


@dataclass
class Upstream:
    """Answers the requests by a script, in order; the last answer is given again."""

    url: str = ""
    script: list[Answer] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            state.seen.append(Exchange(self, parts.path, query, dict(self.headers)))
            state.script[min(len(state.seen), len(state.script)) - 1](state.seen[-1])

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    state.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def bar(day: str, close: float = 10.0, **other: object) -> dict[str, object]:
    time = f"{day}T05:00:00Z" if len(day) == 10 else day
    return {"t": time, "o": close, "h": close + 1, "l": close - 1, "c": close, "v": 1000, "n": 7, "vw": close, **other}


def pages(*content: tuple[object, str | None]) -> list[Answer]:
    return [lambda exchange, each=each: exchange.page(*each) for each in content]


def status(code: int, body: str = '{"message": "no"}', **headers: str) -> Answer:
    return lambda exchange: exchange.send(code, body.encode(), **headers)


def fetch(upstream: Upstream, cache: Path, *, waits: list[float] | None = None, **request: object) -> FetchedBars:
    keys = {
        "symbols": ("AAPL", "MSFT"),
        "timeframe": "1Day",
        "start": date(2024, 1, 2),
        "end": date(2024, 1, 3),
        **request,
    }
    transport = Transport(read_timeout=0.2, attempts=3, sleep=([] if waits is None else waits).append)
    access = AlpacaAccess(KEY, SECRET, upstream.url)
    return fetch_bars(access, BarsRequest(**keys), cache, today=TODAY, transport=transport)  # pyright: ignore[reportArgumentType]


TWO_PAGES = (
    ({"AAPL": [bar("2024-01-02"), bar("2024-01-03", 11.0)], "MSFT": [bar("2024-01-02", 20.0)]}, "next"),
    ({"MSFT": [bar("2024-01-03", 21.0)]}, None),
)


def test_all_pages_become_one_table_that_bars_are_made_of(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(*TWO_PAGES)
    table = fetch(upstream, tmp_path).table
    assert dict(table.schema) == BARS_SCHEMA
    assert table.select("symbol", "close").rows() == [("AAPL", 10), ("AAPL", 11), ("MSFT", 20), ("MSFT", 21)]
    assert table["ts"][0] == datetime(2024, 1, 2, 5, tzinfo=UTC)
    bars = bars_from_frame(table)
    assert bars.timeframe == "1Day"
    assert bars.frame["event_ts"][0] == datetime(2024, 1, 2, 21, tzinfo=UTC)
    assert [exchange.query.get("page_token") for exchange in upstream.seen] == [None, "next"]


def test_the_request_says_what_is_wanted_and_carries_the_keys_as_headers(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({}, None))
    fetch(upstream, tmp_path, timeframe="5Min", feed="sip", adjustment="split")
    (seen,) = upstream.seen
    assert seen.path == "/v2/stocks/bars"
    assert seen.query == {
        "symbols": "AAPL,MSFT",
        "timeframe": "5Min",
        "start": "2024-01-02T05:00:00+00:00",
        "end": "2024-01-04T04:59:59.999999+00:00",
        "feed": "sip",
        "adjustment": "split",
        "limit": "10000",
    }
    assert seen.headers["APCA-API-KEY-ID"] == KEY
    assert seen.headers["APCA-API-SECRET-KEY"] == SECRET


def test_a_second_call_makes_no_request_and_gives_the_same_table(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(*TWO_PAGES)
    first = fetch(upstream, tmp_path)
    second = fetch(upstream, tmp_path, symbols=("MSFT", "AAPL"))
    assert len(upstream.seen) == 2
    assert second.table.equals(first.table)
    assert (first.from_cache, second.from_cache) == ((), ("MSFT", "AAPL"))


def test_only_symbols_that_are_not_cached_are_asked_for(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, None), ({"IBM": [bar("2024-01-02", 5.0)]}, None))
    fetch(upstream, tmp_path, symbols=("AAPL",))
    table = fetch(upstream, tmp_path, symbols=("AAPL", "IBM")).table
    assert upstream.seen[1].query["symbols"] == "IBM"
    assert table["symbol"].to_list() == ["AAPL", "IBM"]


def test_a_symbol_without_bars_is_told_and_not_asked_for_again(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, None))
    assert fetch(upstream, tmp_path).without_bars == ("MSFT",)
    assert fetch(upstream, tmp_path).without_bars == ("MSFT",)
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"timeframe": "1Hour"},
        {"feed": "sip"},
        {"adjustment": "raw"},
        {"start": date(2024, 1, 1)},
        {"end": date(2024, 1, 4)},
    ],
)
def test_whatever_the_bars_depend_on_is_part_of_the_cache(
    upstream: Upstream, tmp_path: Path, other: dict[str, object]
) -> None:
    upstream.script = pages(({}, None))
    fetch(upstream, tmp_path)
    fetch(upstream, tmp_path, **other)
    assert len(upstream.seen) == 2


@pytest.mark.parametrize(("end", "requests"), [(date(2024, 6, 30), 1), (TODAY, 2)])
def test_a_span_that_may_still_grow_is_not_cached(upstream: Upstream, tmp_path: Path, end: date, requests: int) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, None))
    for _ in range(2):
        fetch(upstream, tmp_path, symbols=("AAPL",), end=end)
    assert len(upstream.seen) == requests


def test_a_torn_cache_file_is_fetched_anew(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, None))
    first = fetch(upstream, tmp_path, symbols=("AAPL",))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert fetch(upstream, tmp_path, symbols=("AAPL",)).table.equals(first.table)
    assert len(upstream.seen) == 2


def test_a_cache_that_cannot_be_written_is_named(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, None))
    with pytest.raises(InputError, match="cannot be written"):
        fetch(upstream, tmp_path / "file", symbols=("AAPL",))


def test_a_rate_limit_waits_as_long_as_it_is_told(upstream: Upstream, tmp_path: Path) -> None:
    waits: list[float] = []
    upstream.script = [status(429, Retry_After="7"), status(429, Retry_After="99999"), *pages(({}, None))]
    fetch(upstream, tmp_path, waits=waits)
    assert waits == [7.0, 60.0]


def test_failures_are_tried_again_with_growing_distance(upstream: Upstream, tmp_path: Path) -> None:
    waits: list[float] = []
    upstream.script = [status(500), status(503, "<html>"), *pages(TWO_PAGES[0], TWO_PAGES[1])]
    assert fetch(upstream, tmp_path, waits=waits).table.height == 4
    assert waits == [0.5, 1.0]
    assert len(upstream.seen) == 4


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_attempts_are_bounded_and_nothing_is_cached(upstream: Upstream, tmp_path: Path, code: int) -> None:
    upstream.script = [pages(TWO_PAGES[0])[0], status(code)]
    with pytest.raises(UpstreamError, match=rf"{code}.*\(after 3 attempts\)"):
        fetch(upstream, tmp_path)
    assert len(upstream.seen) == 1 + 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(upstream: Upstream, tmp_path: Path, code: int) -> None:
    upstream.script = [status(code, '{"message": "subscription does not permit"}')]
    with pytest.raises(UpstreamError, match=f"HTTP {code}.*subscription does not permit"):
        fetch(upstream, tmp_path)
    assert len(upstream.seen) == 1


def test_a_stalled_answer_ends_in_an_error(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = [lambda exchange: upstream.released.wait(30) and None]
    with pytest.raises(UpstreamError, match="does not answer"):
        fetch(upstream, tmp_path)
    assert len(upstream.seen) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_stops_half_way_is_tried_again(upstream: Upstream, tmp_path: Path) -> None:
    torn: Answer = lambda exchange: exchange.send(200, b'{"bars": {"AAPL": [', length="500")  # noqa: E731
    upstream.script = [torn, *pages(({"AAPL": [bar("2024-01-02")]}, None))]
    assert fetch(upstream, tmp_path).table.height == 1


def test_no_server_at_all_is_an_upstream_error(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="does not answer"):
        fetch(Upstream(url="http://127.0.0.1:1"), tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>hello</html>", "does not answer as it should"),
        ('{"bars": {"AAPL": [', "does not answer as it should"),
        ("", "holds no bars"),
        ("[]", "holds no bars"),
        ("{}", "holds no bars"),
        ('{"bars": 5}', "holds no bars"),
        ('{"bars": {}, "next_page_token": 5}', "holds no bars"),
        ('{"bars": {"AAPL": 5}}', "no list of bars"),
        ('{"bars": {"AAPL": [5]}}', "no list of bars"),
        ('{"bars": {"AAPL": [{}]}}', "whose t is None"),
        ('{"bars": {"AAPL": [{"t": "2024-01-02"}]}}', "whose t is '2024-01-02'"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02", o="10")]}}), "whose o is '10'"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02", c=None)]}}), "whose c is None"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02", c=True)]}}), "whose c is True"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02", h=1)]}}), "bars that cannot be: row 1: field high"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02", v=float("nan"))]}}), "bars that cannot be"),
        (json.dumps({"bars": {"AAPL": [bar("2024-01-02")] * 2}}), "times of a symbol must increase"),
        (json.dumps({"bars": {"EVIL": [bar("2024-01-02")]}}), "'EVIL', which was not asked for"),
    ],
)
def test_what_cannot_be_bars_is_refused_and_not_cached(
    upstream: Upstream, tmp_path: Path, body: str, message: str
) -> None:
    upstream.script = [status(200, body)]
    with pytest.raises(UpstreamError, match=message):
        fetch(upstream, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pages_without_end_are_an_error(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02")]}, "again"))
    with pytest.raises(UpstreamError, match="no end"):
        fetch(upstream, tmp_path)
    assert len(upstream.seen) == 2


def test_a_bar_without_trades_has_no_average_price(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = pages(({"AAPL": [bar("2024-01-02", vw=0, n=None, v=0)]}, None))
    row = fetch(upstream, tmp_path).table.row(0, named=True)
    assert (row["vwap"], row["trade_count"], row["volume"]) == (None, None, 0.0)


def test_null_bars_mean_that_there_are_none(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = [status(200, '{"bars": null, "next_page_token": null}')]
    assert fetch(upstream, tmp_path).without_bars == ("AAPL", "MSFT")


def test_no_error_and_no_representation_holds_a_secret(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = [status(403, f'{{"message": "bad keys {KEY} {SECRET}"}}')]
    with pytest.raises(UpstreamError) as raised:
        fetch(upstream, tmp_path)
    for text in (str(raised.value), repr(AlpacaAccess(KEY, SECRET))):
        assert KEY not in text
        assert SECRET not in text
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("BTC/USD",)}, "symbols"),
        ({"symbols": ("aapl",)}, "symbols"),
        ({"timeframe": "1Sec"}, "timeframe"),
        ({"timeframe": "2Min"}, "timeframe"),
        ({"end": date(2024, 1, 1)}, "end"),
    ],
)
def test_a_request_that_cannot_be_made_names_its_field(change: dict[str, object], field: str) -> None:
    keys = {"symbols": ("AAPL",), "timeframe": "1Day", "start": date(2024, 1, 2), "end": date(2024, 1, 3)}
    with pytest.raises(InputError) as raised:
        BarsRequest(**{**keys, **change})  # pyright: ignore[reportArgumentType]
    assert raised.value.field == field


@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
@pytest.mark.parametrize("value", ["", " ", "a\nb", "ключ"])
def test_a_missing_or_broken_key_names_its_variable(name: str, value: str) -> None:
    environ = {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET, name: value}
    with pytest.raises(InputError) as raised:
        access_from_environment(environ)
    assert raised.value.field == name


def test_the_address_comes_from_the_environment() -> None:
    environ = {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET}
    assert access_from_environment(environ).url == "https://data.alpaca.markets"
    assert access_from_environment({**environ, "APCA_DATA_API_BASE_URL": "http://h:1/"}).url == "http://h:1"
    for wrong in ("ftp://h", "data.alpaca.markets", "https://user:secret@h"):
        with pytest.raises(InputError, match="APCA_DATA_API_BASE_URL"):
            access_from_environment({**environ, "APCA_DATA_API_BASE_URL": wrong})


class TestCommand:
    @pytest.fixture(autouse=True)
    def _environment(self, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name, value in {
            "APCA_API_KEY_ID": KEY,
            "APCA_API_SECRET_KEY": SECRET,
            "APCA_DATA_API_BASE_URL": upstream.url,
        }.items():
            monkeypatch.setenv(name, value)

    def call(self, *more: str) -> int:
        words = ("bars", "fetch", "--symbols", "aapl,MSFT", "--start", "2024-01-02", "--end", "2024-01-03")
        return run(cli, "torghut", [*words, "--output", "bars.parquet", *more])

    def test_the_file_is_written(self, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        upstream.script = pages(*TWO_PAGES)
        assert self.call("--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "output": "bars.parquet",
            "rows": 4,
            "from_cache": [],
            "without_bars": [],
        }
        assert bars_from_frame(pl.read_parquet(tmp_path / "bars.parquet")).frame.height == 4

    def test_missing_keys_end_with_2(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.delenv("APCA_API_SECRET_KEY")
        assert self.call() == 2
        assert "APCA_API_SECRET_KEY" in capsys.readouterr().err

    def test_an_upstream_failure_ends_with_1_and_leaves_the_output_alone(
        self, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "bars.parquet").write_text("mine")
        upstream.script = [status(401)]
        assert self.call() == 1
        err = capsys.readouterr().err
        assert "HTTP 401" in err
        assert SECRET not in err
        assert (tmp_path / "bars.parquet").read_text() == "mine"

    def test_no_bars_at_all_end_with_2(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.script = pages(({}, None))
        assert self.call() == 2
        assert not (tmp_path / "bars.parquet").exists()

    def test_another_kind_of_file_ends_with_2(self) -> None:
        assert self.call("--output", "bars.xlsx") == 2
