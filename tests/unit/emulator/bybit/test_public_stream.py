"""The public stream: candles that REST agrees with, a book that can be rebuilt, answers."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from tests.unit.emulator.builders import NOON_MS
from tests.unit.emulator.bybit.client import Socket, opened

from perpdesk.domain.candles import MINUTE_MS
from perpdesk.emulator.faults import Fault, FaultKind


class RebuiltBook:
    """A book from snapshot and deltas, by the letter of the documentation; raises on a gap."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
        self.update_id = 0

    def take(self, message: Mapping[str, Any]) -> None:
        data = message["data"]
        if message["type"] == "snapshot":
            self.sides = {side: dict(data[side]) for side in "ba"}
        else:
            assert data["u"] == self.update_id + 1, "a message is missing"
            for side in "ba":
                for price, size in data[side]:
                    if size == "0":
                        # Fails for a level that is not there: the venue deletes what it has told.
                        del self.sides[side][price]
                    else:
                        self.sides[side][price] = size
        self.update_id = data["u"]

    def best(self, side: str, count: int) -> list[list[str]]:
        rows = sorted(self.sides[side].items(), key=lambda row: float(row[0]), reverse=side == "b")
        return [list(row) for row in rows[:count]]


async def messages(socket: Socket, topic: str, count: int) -> list[dict[str, Any]]:
    return [await socket.hear_until(lambda each: each.get("topic") == topic) for _ in range(count)]


@pytest.mark.parametrize("req_id", ["seven", 7, None])
async def test_req_id_comes_back_with_its_type(req_id: object) -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        asked = {"op": "subscribe", "args": ["publicTrade.BTCUSDT"], "callerMethodName": "x"}
        await socket.say(asked if req_id is None else asked | {"req_id": req_id})
        answer = await socket.hear()
        assert answer.get("req_id") == req_id
        assert type(answer.get("req_id")) is type(req_id)
        assert (answer["success"], answer["op"], answer["ret_msg"]) == (True, "subscribe", "")


async def test_a_ping_is_answered_as_public_sockets_do() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.say({"req_id": "1", "op": "ping"})
        answer = await socket.hear()
        assert {name: answer[name] for name in ("success", "ret_msg", "op", "req_id")} == {
            "success": True,
            "ret_msg": "pong",
            "op": "ping",
            "req_id": "1",
        }


@pytest.mark.parametrize(
    "topic", ["kline.7.BTCUSDT", "kline.1.NOPE", "orderbook.3.BTCUSDT", "nothing", "order"]
)
async def test_an_unknown_topic_is_refused(topic: str) -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        answer = await socket.subscribe(topic)
        assert answer["success"] is False
        assert topic in answer["ret_msg"]


async def test_what_is_no_request_is_refused_and_the_socket_lives_on() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.ws.send_str("hello")
        assert (await socket.hear())["success"] is False
        await socket.say({"op": "dance"})
        assert (await socket.hear())["success"] is False
        assert (await socket.subscribe("tickers.BTCUSDT"))["success"] is True


async def test_candles_of_the_stream_are_those_of_rest() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("kline.1.BTCUSDT", "kline.5.BTCUSDT")
        told: dict[tuple[str, int], dict[str, Any]] = {}
        client.world.advance(10 * MINUTE_MS)
        while len(told) < 12:
            message = await socket.hear()
            row = message["data"][0]
            if row["confirm"]:
                assert message["type"] == "snapshot"
                told[message["topic"], row["start"]] = row
        for word, count in (("1", 10), ("5", 2)):
            rows = await client.rows(
                "market/kline", symbol="BTCUSDT", interval=word, start=NOON_MS, limit=count
            )
            assert len(rows) == count
            for row in rows:
                candle = told[f"kline.{word}.BTCUSDT", int(row[0])]
                names = ("open", "high", "low", "close", "volume", "turnover")
                assert [candle[name] for name in names] == row[1:]
                assert candle["end"] == int(row[0]) + int(word) * MINUTE_MS - 1


async def test_an_open_candle_is_what_its_trades_so_far_make() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("kline.1.BTCUSDT", "publicTrade.BTCUSDT")
        client.world.advance(32_000)
        prices: list[float] = []
        for _ in range(14):
            message = await socket.hear()
            if message["topic"].startswith("publicTrade"):
                prices += [float(row["p"]) for row in message["data"]]
        candle = (await client.rows("market/kline", symbol="BTCUSDT", interval="1", limit=1))[0]
        assert float(candle[2]) == max(prices)
        assert float(candle[3]) == min(prices)
        assert float(candle[4]) == prices[-1]


async def test_the_message_that_closes_a_candle_can_be_lost_on_purpose() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        client.world.faults.arm(Fault(kind=FaultKind.LATE_CANDLE, left=1, path="kline.*"))
        await socket.subscribe("kline.1.BTCUSDT")
        client.world.advance(2 * MINUTE_MS)
        closed = await socket.hear_until(lambda each: "data" in each and each["data"][0]["confirm"])
        assert closed["data"][0]["start"] == NOON_MS + MINUTE_MS


@pytest.mark.parametrize("depth", [50, 200, 1000])
async def test_a_book_can_be_rebuilt_from_snapshot_and_deltas(depth: int) -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        topic = f"orderbook.{depth}.BTCUSDT"
        await socket.subscribe(topic)
        book = RebuiltBook()
        book.take((await messages(socket, topic, 1))[0])
        client.world.advance(3 * MINUTE_MS)
        for message in await messages(socket, topic, 30):
            assert message["type"] == "delta"
            book.take(message)
            assert float(book.best("b", 1)[0][0]) < float(book.best("a", 1)[0][0])
        client.world.advance(0)
        told = (await client.get("market/orderbook", symbol="BTCUSDT", limit=50))["result"]
        while socket.heard[-1]["data"]["seq"] < told["seq"]:
            book.take((await messages(socket, topic, 1))[0])
        assert book.best("b", 50) == told["b"]
        assert book.best("a", 50) == told["a"]


async def test_the_best_level_is_always_a_snapshot_and_told_again() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("orderbook.1.BTCUSDT")
        client.world.advance(20_000)
        found = await messages(socket, "orderbook.1.BTCUSDT", 5)
        assert {message["type"] for message in found} == {"snapshot"}
        assert {len(message["data"]["b"]) for message in found} == {1}


async def test_a_newcomer_begins_where_the_others_stand() -> None:
    path = "public/linear"
    async with opened() as client, client.socket(path) as old, client.socket(path) as new:
        topic = "orderbook.50.BTCUSDT"
        await old.subscribe(topic)
        client.world.advance(MINUTE_MS)
        await new.subscribe(topic)
        first = (await messages(new, topic, 1))[0]
        assert first["type"] == "snapshot"
        client.world.advance(MINUTE_MS)
        book = RebuiltBook()
        book.take(first)
        for message in await messages(new, topic, 5):
            book.take(message)


async def test_a_lost_delta_shows_as_a_gap_in_the_update_id() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        topic = "orderbook.50.BTCUSDT"
        await socket.subscribe(topic)
        client.world.advance(10_000)
        client.world.faults.arm(Fault(kind=FaultKind.SEQUENCE_GAP, left=1, path="orderbook.*"))
        client.world.advance(MINUTE_MS)
        found = [message["data"]["u"] for message in await messages(socket, topic, 8)]
        steps = [after - before for before, after in pairwise(found)]
        assert sorted(set(steps)) == [1, 2]


async def test_a_ticker_is_a_snapshot_and_then_what_changed() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("tickers.BTCUSDT")
        topic = "tickers.BTCUSDT"
        first = (await messages(socket, topic, 1))[0]
        ticker = dict(first["data"])
        assert first["type"] == "snapshot"
        client.world.advance(30_000)
        deltas = await messages(socket, topic, 30)
        assert {message["type"] for message in deltas} == {"delta"}
        assert all(len(message["data"]) < len(ticker) for message in deltas)
        for message in deltas:
            ticker |= message["data"]
        (rest,) = await client.rows("market/tickers", symbol="BTCUSDT")
        assert {name: ticker[name] for name in rest if name in ticker} == {
            name: value for name, value in rest.items() if name in ticker
        }


async def test_an_unsubscribed_topic_falls_silent() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("publicTrade.BTCUSDT", "tickers.BTCUSDT")
        await socket.say({"op": "unsubscribe", "req_id": "u", "args": ["tickers.BTCUSDT"]})
        await socket.hear_until(lambda each: each.get("op") == "unsubscribe")
        client.world.advance(20_000)
        for _ in range(3):
            assert (await socket.hear())["topic"] == "publicTrade.BTCUSDT"


async def test_price_limits_are_told() -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe("priceLimit.BTCUSDT")
        client.world.advance(10_000)
        message = (await messages(socket, "priceLimit.BTCUSDT", 1))[0]
        assert float(message["data"]["sellLmt"]) < float(message["data"]["buyLmt"])


async def kinds_until_the_end(socket: Socket) -> set[aiohttp.WSMsgType]:
    return {message.type async for message in socket.ws}


async def test_maintenance_cuts_sockets_and_refuses_new_ones() -> None:
    async with opened() as client:
        async with client.socket("public/linear") as socket:
            await socket.subscribe("tickers.BTCUSDT")
            client.world.faults.arm(Fault(kind=FaultKind.MAINTENANCE))
            client.world.advance(1_000)
            assert await kinds_until_the_end(socket) <= {aiohttp.WSMsgType.TEXT}
        url = f"http://{client.address}/v5/public/linear"
        async with client.session.get(url) as response:
            assert response.status == 503


async def test_other_streams_accept_and_stay_silent() -> None:
    async with opened() as client:
        for path in ("public/spot", "public/misc/status"):
            async with client.socket(path) as socket:
                assert (await socket.subscribe("system.status"))["success"]
