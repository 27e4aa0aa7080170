"""Both websockets: alpaca-py's clients unchanged, and the handshakes and errors frame by frame."""

import json
from queue import Queue
from typing import Any

import msgpack
import pytest
import requests
from alpaca.data.live.stock import StockDataStream
from alpaca.data.models import Bar, Quote, Trade, TradingStatus
from alpaca.trading.models import TradeUpdate
from alpaca.trading.stream import TradingStream
from alpaca_streams import await_listening, covers, running, until
from simulator_fixtures import LOCKSTEP, StartSimulator, control, step
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.launch import RunningSimulator

ORDER = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}


def submit(simulator: RunningSimulator, **fields: object) -> dict[str, Any]:
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    answer = requests.post(f"{simulator.url}/v2/orders", json={**ORDER, **fields}, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


@covers("TradingStream.subscribe_trade_updates", "TradingStream.run", "TradingStream.stop_ws")
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_the_trading_stream_hears_every_event(start_simulator: StartSimulator, raw: bool, binary: bool) -> None:
    simulator = start_simulator(server=ServerSettings(pace=LOCKSTEP.pace, binary_frames=binary))
    step(simulator, 2)
    heard: Queue[Any] = Queue()

    async def hear(update: Any) -> None:
        heard.put(update)

    stream = TradingStream("k", "s", raw_data=raw, url_override=simulator.trading_stream_url)
    stream.subscribe_trade_updates(hear)
    with running(stream):
        await_listening(simulator, "trading")
        order = submit(simulator)
        step(simulator, 2)
        updates = [heard.get(timeout=30) for _ in range(3)]
    if raw:
        assert [update["data"]["event"] for update in updates] == ["pending_new", "new", "fill"]
    else:
        assert all(isinstance(update, TradeUpdate) for update in updates)
        assert {str(update.order.id) for update in updates} == {order["id"]}
        assert (updates[-1].event, updates[-1].qty, updates[-1].position_qty) == ("fill", 1, 1)


@covers(
    "StockDataStream.subscribe_bars",
    "StockDataStream.subscribe_updated_bars",
    "StockDataStream.subscribe_daily_bars",
    "StockDataStream.subscribe_trades",
    "StockDataStream.subscribe_quotes",
    "StockDataStream.subscribe_trading_statuses",
    "StockDataStream.unsubscribe_bars",
    "StockDataStream.unsubscribe_updated_bars",
    "StockDataStream.unsubscribe_daily_bars",
    "StockDataStream.unsubscribe_trades",
    "StockDataStream.unsubscribe_quotes",
    "StockDataStream.unsubscribe_trading_statuses",
    "StockDataStream.run",
)
def test_the_data_stream_delivers_every_kind_of_message(simulator: RunningSimulator) -> None:
    heard: dict[str, Queue[Any]] = {}
    stream = StockDataStream("k", "s", url_override=simulator.data_stream_url)
    channels = ["bars", "updated_bars", "daily_bars", "trades", "quotes", "trading_statuses"]
    for channel in channels:
        queue = heard[channel] = Queue()

        async def hear(message: Any, queue: Queue[Any] = queue) -> None:
            queue.put(message)

        getattr(stream, f"subscribe_{channel}")(hear, "AAPL")
    with running(stream):
        await_listening(simulator, "data")
        step(simulator, 2)
        bar, day = heard["bars"].get(timeout=30), heard["daily_bars"].get(timeout=30)
        trade, quote = heard["trades"].get(timeout=30), heard["quotes"].get(timeout=30)
        fields = {"close": bar.close + 1}
        control(simulator, correct_bars=[{"symbol": "AAPL", "ts": "2026-01-05T14:30:00Z", "fields": fields}])
        updated = heard["updated_bars"].get(timeout=30)
        control(simulator, halt=["AAPL"])
        status = heard["trading_statuses"].get(timeout=30)
        for channel in channels:
            getattr(stream, f"unsubscribe_{channel}")("AAPL")
        until(lambda: requests.get(f"{simulator.url}/sim/status", timeout=10).json()["listening"]["data"] == 0)
        step(simulator, 2)
        assert heard["bars"].empty()
    assert all(isinstance(message, Bar) for message in (bar, day, updated))
    assert (isinstance(trade, Trade), isinstance(quote, Quote)) == (True, True)
    assert isinstance(status, TradingStatus)
    assert bar.timestamp.isoformat() == "2026-01-05T14:30:00+00:00"
    assert day.timestamp.isoformat() == "2026-01-05T05:00:00+00:00"
    assert (updated.close, updated.timestamp) == (bar.close + 1, bar.timestamp)
    assert (status.status_code, status.reason_code) == ("H", "T12")


def ask(socket: ClientConnection, **request: object) -> Any:
    socket.send(json.dumps(request))
    return json.loads(socket.recv(timeout=30))


def test_the_trading_handshake_frame_by_frame(start_simulator: StartSimulator) -> None:
    server = ServerSettings(pace=LOCKSTEP.pace, credentials=Credentials("k", "s"), binary_frames=False)
    simulator = start_simulator(server=server)
    with connect(simulator.trading_stream_url) as socket:
        assert ask(socket, action="listen", data={"streams": ["trade_updates"]}) == {
            "stream": "authorization",
            "data": {"status": "unauthorized", "action": "listen"},
        }
        assert ask(socket, action="auth", key="k", secret="x") == {
            "stream": "authorization",
            "data": {"status": "unauthorized", "action": "authenticate"},
        }
        old = ask(socket, action="authenticate", data={"key_id": "k", "secret_key": "s"})
        assert (old["stream"], old["data"]["status"]) == ("authorization", "authorized")
        assert ask(socket, action="auth", key="k", secret="s") == {
            "stream": "authorization",
            "data": {"status": "authorized", "action": "authenticate"},
        }
        assert ask(socket, action="listen", data={"streams": ["trade_updates", "other"]}) == {
            "stream": "listening",
            "data": {"streams": ["trade_updates"]},
        }
        socket.send("{ this is no JSON")
        submit(simulator)
        assert json.loads(socket.recv(timeout=30))["data"]["event"] == "pending_new"


def test_paper_frames_are_binary(simulator: RunningSimulator) -> None:
    with connect(simulator.trading_stream_url) as socket:
        socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        assert isinstance(socket.recv(timeout=30), bytes)


def test_the_data_handshake_and_its_errors(start_simulator: StartSimulator) -> None:
    server = ServerSettings(
        pace=LOCKSTEP.pace, credentials=Credentials("k", "s"), data_connections=1, symbol_limit=2, sip=False
    )
    simulator = start_simulator(server=server)

    def error(code: int, text: str) -> list[dict[str, object]]:
        return [{"T": "error", "code": code, "msg": text}]

    with connect(simulator.data_stream_url) as socket:
        assert json.loads(socket.recv(timeout=30)) == [{"T": "success", "msg": "connected"}]
        assert ask(socket, action="subscribe", bars=["AAPL"]) == error(401, "not authenticated")
        assert ask(socket, action="auth", key="k", secret="x") == error(402, "auth failed")
        assert ask(socket, action="dance") == error(400, "invalid syntax")
        assert ask(socket, action="auth", key="k", secret="s") == [{"T": "success", "msg": "authenticated"}]
        assert ask(socket, action="auth", key="k", secret="s") == error(403, "already authenticated")
        assert ask(socket, action="subscribe", bars=["A", "B", "C"]) == error(405, "symbol limit exceeded")
        assert ask(socket, action="subscribe", candles=["A"]) == error(400, "invalid syntax")
        assert ask(socket, action="subscribe", bars="A") == error(400, "invalid syntax")
        [confirmed] = ask(socket, action="subscribe", bars=["AAPL", "*"], quotes=["MSFT"])
        assert (confirmed["T"], confirmed["bars"], confirmed["quotes"], confirmed["trades"]) == (
            "subscription",
            ["AAPL", "*"],
            ["MSFT"],
            [],
        )
        [left] = ask(socket, action="unsubscribe", bars=["*"])
        assert left["bars"] == ["AAPL"]
        with connect(simulator.data_stream_url) as second:
            second.recv(timeout=30)
            assert ask(second, action="auth", key="k", secret="s") == error(406, "connection limit exceeded")
        with connect(simulator.data_stream_url.replace("iex", "sip")) as sip:
            sip.recv(timeout=30)
            assert ask(sip, action="auth", key="k", secret="s") == error(409, "insufficient subscription")


def test_who_does_not_authenticate_in_time_is_sent_away(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(server=ServerSettings(pace=LOCKSTEP.pace, auth_seconds=0.05))
    with connect(simulator.data_stream_url) as socket:
        socket.recv(timeout=30)
        assert json.loads(socket.recv(timeout=30)) == [{"T": "error", "code": 404, "msg": "auth timeout"}]


def test_a_client_that_does_not_read_is_told_and_sent_away(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(server=ServerSettings(pace=LOCKSTEP.pace, longest_queue=3))
    with connect(simulator.data_stream_url) as socket:
        socket.recv(timeout=30)
        ask(socket, action="auth", key="k", secret="s")
        ask(socket, action="subscribe", quotes=["*"], trades=["*"], bars=["*"])

        # More frames at once than may wait: nothing is sent in between.
        def flood(_: SimulatedBroker) -> None:
            simulator.broker.step(1200)

        simulator.call(flood)
        requests.post(f"{simulator.url}/sim/control", timeout=30)
        # One frame may have been on its way already.
        last = [json.loads(frame) for frame in socket][-1]
    assert last == [{"T": "error", "code": 407, "msg": "slow client"}]


def test_messagepack_clients_get_timestamps_and_json_clients_text(simulator: RunningSimulator) -> None:
    with (
        connect(simulator.data_stream_url, additional_headers={"Content-Type": "application/msgpack"}) as packed,
        connect(simulator.data_stream_url) as text,
    ):
        for socket, pack in ((packed, msgpack.packb), (text, json.dumps)):
            socket.recv(timeout=30)
            for request in ({"action": "auth", "key": "k", "secret": "s"}, {"action": "subscribe", "bars": ["AAPL"]}):
                socket.send(pack(request))
                socket.recv(timeout=30)
        step(simulator, 1)
        [bar] = msgpack.unpackb(packed.recv(timeout=30))
        [written] = json.loads(text.recv(timeout=30))
    assert isinstance(bar["t"], msgpack.Timestamp)
    assert written["t"] == "2026-01-05T14:30:00Z"
    assert {name: value for name, value in bar.items() if name != "t"} == {
        name: value for name, value in written.items() if name != "t"
    }
    assert list(bar) == ["T", "S", "t", "o", "h", "l", "c", "v", "n", "vw"]


def test_a_cut_stream_refuses_until_its_time_is_over(simulator: RunningSimulator) -> None:
    with connect(simulator.trading_stream_url) as socket:
        ask(socket, action="auth", key="k", secret="s")
        ask(socket, action="listen", data={"streams": ["trade_updates"]})
        control(simulator, disconnect=[{"stream": "trading", "seconds": 90}])
        with pytest.raises(Exception, match="going away"):
            socket.recv(timeout=30)
    with pytest.raises(InvalidStatus):
        connect(simulator.trading_stream_url)
    step(simulator, 4)
    with connect(simulator.trading_stream_url) as socket:
        assert ask(socket, action="auth", key="k", secret="s")["data"]["status"] == "authorized"


def test_alpacas_client_comes_back_after_a_cut(simulator: RunningSimulator) -> None:
    heard: Queue[Any] = Queue()

    async def hear(update: Any) -> None:
        heard.put(update)

    stream = TradingStream("k", "s", raw_data=True, url_override=simulator.trading_stream_url)
    stream.subscribe_trade_updates(hear)
    with running(stream):
        await_listening(simulator, "trading")
        control(simulator, disconnect=[{"stream": "trading", "seconds": 1}])
        step(simulator, 1)
        await_listening(simulator, "trading")
        submit(simulator)
        assert heard.get(timeout=30)["data"]["event"] == "pending_new"


def test_two_equal_runs_in_lockstep_send_equal_frames(start_simulator: StartSimulator) -> None:
    def play() -> list[bytes]:
        simulator = start_simulator()
        frames: list[bytes] = []
        with connect(simulator.trading_stream_url) as trading, connect(simulator.data_stream_url) as data:
            data.recv(timeout=30)
            ask(data, action="auth", key="k", secret="s")
            ask(data, action="subscribe", bars=["*"], quotes=["*"])
            ask(trading, action="auth", key="k", secret="s")
            ask(trading, action="listen", data={"streams": ["trade_updates"]})
            control(simulator, latency_ms=500, jitter_ms=90_000, duplicate_events=0.5, reorder_events=0.5)
            control(simulator, late_bars=[{"symbol": "AAPL", "count": 2, "delay_ms": 90_000}])
            for index in range(6):
                step(simulator, 2)
                submit(simulator, client_order_id=f"order-{index}")
            step(simulator, 6)
            # What the last step caused was sent before its answer; a request of our own marks the end of it.
            trading.send(json.dumps({"action": "listen", "data": {"streams": []}}))
            data.send(json.dumps({"action": "unsubscribe", "bars": ["*"], "quotes": ["*"]}))
            for socket, mark in ((trading, b'"listening"'), (data, b'"subscription"')):
                while mark not in (frame := socket.recv(timeout=30, decode=False)):
                    frames.append(frame)
        return frames

    first = play()
    assert len(first) > 20
    assert first == play()
