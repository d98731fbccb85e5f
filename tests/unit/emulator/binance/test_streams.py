import itertools
from typing import Any

import aiohttp
import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback, door_open, modern_world
from tests.unit.emulator.builders import NOON_MS

from perpdesk.domain.candles import MINUTE_MS
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.binance.streams import Pace
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.emulator.server import serving


def klines(messages: list[Any]) -> list[dict[str, Any]]:
    return [each["k"] for each in messages]


def rest_row(k: dict[str, Any]) -> list[Any]:
    """A candle of the stream in the order of REST."""
    return [k[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")]


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
async def test_a_candle_of_the_stream_is_that_of_rest(interval: str) -> None:
    path = f"/market/ws/btcusdt@kline_{interval}"
    start_ms = NOON_MS + 17 * MINUTE_MS + 3_000
    async with door_open(start_ms=start_ms) as door, door.socket(path) as heard:
        for _ in range(9):
            door.world.advance(10_000)
            k = klines(await heard.all())[-1]
            rows = await door.public(
                "/fapi/v1/klines", symbol=SYMBOL, interval=interval, startTime=k["t"], limit=1
            )
            assert rest_row(k) == rows[0][:11]


async def test_a_candle_closes_once_with_the_numbers_that_stay(door: Loopback) -> None:
    async with door.socket("/market/stream?streams=btcusdt@kline_1m") as heard:
        door.world.advance(3 * MINUTE_MS)
        messages = await heard.all()
    assert {each["stream"] for each in messages} == {"btcusdt@kline_1m"}
    closed = [k for k in klines([each["data"] for each in messages]) if k["x"]]
    assert [k["t"] for k in closed] == [NOON_MS + minute * MINUTE_MS for minute in range(3)]
    rows = await door.public("/fapi/v1/klines", symbol=SYMBOL, interval="1m", limit=3)
    assert [rest_row(k) for k in closed] == [row[:11] for row in rows]


async def test_the_open_candle_comes_four_times_a_second_however_small_the_steps() -> None:
    path = "/market/ws/btcusdt@kline_1m"
    async with door_open(step_ms=10) as door, door.socket(path) as heard:
        door.world.advance(5_000)
        found = await heard.all()
    assert [each["E"] for each in found] == [NOON_MS + 250 * step for step in range(1, 21)]


async def test_the_trades_of_a_minute_add_up_to_its_candle(door: Loopback) -> None:
    async with door.socket("/market/ws/btcusdt@aggTrade") as heard:
        door.world.advance(MINUTE_MS)
        trades = await heard.all()
    row = (await door.public("/fapi/v1/klines", symbol=SYMBOL, interval="1m", limit=1))[0]
    prices = [float(each["p"]) for each in trades]
    assert [prices[0], max(prices), min(prices), prices[-1]] == [float(each) for each in row[1:5]]
    assert sum(float(each["q"]) for each in trades) == pytest.approx(float(row[5]))
    listed = await door.public("/fapi/v1/aggTrades", symbol=SYMBOL, limit=len(trades))
    assert [each["a"] for each in listed] == [each["a"] for each in trades]


async def test_a_lost_close_never_comes(door: Loopback) -> None:
    door.world.faults.arm(Fault(kind=FaultKind.LATE_CANDLE, left=1))
    async with door.socket("/market/ws/btcusdt@kline_1m") as heard:
        door.world.advance(2 * MINUTE_MS)
        found = klines(await heard.all())
    assert [k["t"] for k in found if k["x"]] == [NOON_MS + MINUTE_MS]


class SmallBook:
    """A book by the venue's rule: exchanges.md 4.1."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last = snapshot["lastUpdateId"]
        self.sides = {side: dict(snapshot[name]) for side, name in (("b", "bids"), ("a", "asks"))}
        self.started = False

    def apply(self, diff: dict[str, Any]) -> None:
        if diff["u"] < self.last:
            return
        if not self.started:
            assert diff["U"] <= self.last <= diff["u"] or diff["pu"] == self.last
            self.started = True
        else:
            assert diff["pu"] == self.last, "a gap"
        for side, levels in self.sides.items():
            for price, quantity in diff[side]:
                levels[price] = quantity
                if float(quantity) == 0:
                    del levels[price]
        self.last = diff["u"]

    def top(self, side: str, levels: int) -> list[list[str]]:
        found = sorted(self.sides[side].items(), key=lambda each: float(each[0]))
        found = found[::-1] if side == "b" else found
        return [list(each) for each in found[:levels]]


@pytest.mark.parametrize("stream", ["depth", "depth@100ms", "depth@500ms"])
async def test_the_book_rebuilt_from_differences_is_the_book(stream: str) -> None:
    async with door_open(step_ms=100) as door:
        async with door.socket(f"/public/ws/btcusdt@{stream}") as heard:
            door.world.advance(7_000)
            snapshot = await door.public("/fapi/v1/depth", symbol=SYMBOL, limit=1000)
            door.world.advance(120_000)
            diffs = await heard.all()
        book = SmallBook(snapshot)
        for diff in diffs:
            book.apply(diff)
        assert book.started
        now = await door.public("/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        assert now["lastUpdateId"] == book.last
        for side, name in (("b", "bids"), ("a", "asks")):
            assert book.top(side, 200) == now[name]


async def test_a_lost_difference_shows_in_pu(door: Loopback) -> None:
    async with door.socket("/public/ws/btcusdt@depth@100ms") as heard:
        door.world.advance(30_000)
        door.world.faults.arm(Fault(kind=FaultKind.SEQUENCE_GAP, left=1))
        door.world.advance(30_000)
        diffs = await heard.all()
    breaks = [after["pu"] != before["u"] for before, after in itertools.pairwise(diffs)]
    assert breaks.count(True) == 1


async def test_partial_depth_is_whole(door: Loopback) -> None:
    async with door.socket("/public/ws/btcusdt@depth5@100ms") as heard:
        door.world.advance(20_000)
        last = (await heard.all())[-1]
    book = await door.public("/fapi/v1/depth", symbol=SYMBOL, limit=5)
    assert (last["b"], last["a"]) == (book["bids"], book["asks"])


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/public/ws", "btcusdt@kline_1m"),
        ("/public/ws", "btcusdt@markPrice@1s"),
        ("/market/ws", "btcusdt@depth"),
        ("/market/ws", "btcusdt@bookTicker"),
        ("/ws", "btcusdt@aggTrade"),
        ("/market/ws", "btcusdt@nothing"),
        ("/market/ws", "BTCUSDT@kline_1m"),
        ("/market/ws", "nousdt@kline_1m"),
    ],
)
async def test_a_misrouted_or_unknown_stream_is_acknowledged_and_silent(
    door: Loopback, path: str, stream: str
) -> None:
    async with door.socket(path) as heard:
        assert await heard.ask("SUBSCRIBE", stream) == {"result": None, "id": 1}
        door.world.advance(MINUTE_MS)
        assert await heard.all() == []
        assert (await heard.ask("LIST_SUBSCRIPTIONS"))["result"] == [stream]


async def test_old_paths_carry_the_public_streams(door: Loopback) -> None:
    both = "/stream?streams=btcusdt@trade/btcusdt@bookTicker"
    async with door.socket("/ws/btcusdt@bookTicker") as raw, door.socket(both) as combined:
        door.world.advance(10_000)
        plain, wrapped = await raw.all(), await combined.all()
    assert {each["e"] for each in plain} == {"bookTicker"}
    assert {each["stream"] for each in wrapped} == {"btcusdt@trade", "btcusdt@bookTicker"}
    assert [m["data"] for m in wrapped if m["stream"].endswith("bookTicker")] == plain


async def test_streams_come_and_go_on_one_socket(door: Loopback) -> None:
    async with door.socket("/market/ws/0") as heard:
        await heard.ask("SUBSCRIBE", "btcusdt@aggTrade", "ethusdt@aggTrade")
        door.world.advance(10_000)
        assert {each["s"] for each in await heard.all()} == {"BTCUSDT", "ETHUSDT"}
        await heard.ask("UNSUBSCRIBE", "btcusdt@aggTrade")
        door.world.advance(10_000)
        assert {each["s"] for each in await heard.all()} == {"ETHUSDT"}
        assert (await heard.ask("GET_PROPERTY", "combined"))["result"] is False


async def test_mark_price_comes_each_second_or_each_three(door: Loopback) -> None:
    async with (
        door.socket("/market/ws/btcusdt@markPrice@1s") as fast,
        door.socket("/market/ws/btcusdt@markPrice") as slow,
        door.socket("/market/ws/!markPrice@arr") as everything,
    ):
        door.world.advance(9_000)
        fast_ones, slow_ones = await fast.all(), await slow.all()
        lists = await everything.all()
    assert (len(fast_ones), len(slow_ones), len(lists)) == (9, 3, 3)
    assert [row["s"] for row in lists[0]] == ["BTCUSDT", "ETHUSDT"]
    index = await door.public("/fapi/v1/premiumIndex", symbol=SYMBOL)
    last = fast_ones[-1]
    assert (last["p"], last["r"], last["T"]) == (
        index["markPrice"],
        index["lastFundingRate"],
        index["nextFundingTime"],
    )


async def test_tickers_of_the_stream_are_those_of_rest(door: Loopback) -> None:
    async with door.socket("/market/stream?streams=btcusdt@ticker/btcusdt@miniTicker") as heard:
        door.world.advance(2_000)
        messages = {each["stream"]: each["data"] for each in await heard.all()}
    day = await door.public("/fapi/v1/ticker/24hr", symbol=SYMBOL)
    full, mini = messages["btcusdt@ticker"], messages["btcusdt@miniTicker"]
    assert (full["c"], full["p"], full["P"]) == (
        day["lastPrice"],
        day["priceChange"],
        day["priceChangePercent"],
    )
    assert (mini["o"], mini["h"], mini["l"], mini["v"]) == (
        day["openPrice"],
        day["highPrice"],
        day["lowPrice"],
        day["volume"],
    )


async def test_continuous_candles_name_the_pair(door: Loopback) -> None:
    async with door.socket("/market/ws/btcusdt_perpetual@continuousKline_1m") as heard:
        door.world.advance(MINUTE_MS)
        last = (await heard.all())[-1]
    assert (last["e"], last["ps"], last["ct"]) == ("continuous_kline", SYMBOL, "PERPETUAL")
    assert last["k"]["x"] is True
    assert "s" not in last["k"]


async def test_nothing_is_made_that_nobody_hears(door: Loopback) -> None:
    market = next(iter(door.world.venues.values())).markets[SYMBOL]
    async with door.socket("/public/ws/btcusdt@depth"):
        door.world.advance(1_000)
        assert len(market.book.listeners) == 1
    async with door.socket("/public/ws") as heard:
        await heard.all()
    assert market.book.listeners == []


@pytest.mark.parametrize(
    ("text", "code"), [("{", 3), ("[]", 2), ('{"method":"DANCE"}', 2), ('{"id":1}', 2)]
)
async def test_nonsense_is_answered_with_an_error(door: Loopback, text: str, code: int) -> None:
    async with door.socket("/market/ws") as heard:
        await heard.ws.send_str(text)
        assert (await heard.ws.receive_json(timeout=5))["error"]["code"] == code


async def test_maintenance_cuts_sockets_and_keeps_them_out(door: Loopback) -> None:
    async with door.socket("/market/ws/btcusdt@aggTrade") as heard:
        door.world.faults.arm(Fault(kind=FaultKind.MAINTENANCE))
        door.world.advance(1_000)
        assert (await heard.ws.receive(timeout=5)).data is None
    answer = await door.send("GET", "/fapi/v1/ping")
    assert (answer.status, answer.body["msg"]) == (503, "Service Unavailable.")


async def test_the_venue_pings() -> None:
    world = modern_world(start_ms=NOON_MS, step_ms=1_000, speed=0)
    async with (
        serving(world, [BinanceDoor(world, ping_s=0.02)], port=0) as address,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://{address}/market/ws", autoping=False) as ws,
    ):
        assert (await ws.receive(timeout=5)).type is aiohttp.WSMsgType.PING


def test_ten_control_messages_a_second_are_allowed() -> None:
    pace = Pace(10)
    assert all(pace.allows(step / 100) for step in range(10))
    assert not pace.allows(0.99)
    assert pace.allows(2.0)


async def test_a_socket_that_talks_too_fast_is_cut() -> None:
    world = modern_world(start_ms=NOON_MS, step_ms=1_000, speed=0)
    async with (
        serving(world, [BinanceDoor(world)], port=0) as address,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://{address}/market/ws") as ws,
    ):
        for _ in range(11):
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        answers = [await ws.receive(timeout=5) for _ in range(11)]
    assert answers[-1].type is not aiohttp.WSMsgType.TEXT
