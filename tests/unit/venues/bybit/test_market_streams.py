"""Market feeds over real sockets: nothing lost or twice, odd connections thrown away."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.bybit.reading import read, read_until
from tests.unit.venues.bybit.scripted_venue import (
    ScriptedVenue,
    connected,
    listing,
)

from perpdesk.domain.candles import MINUTE_MS, Timeframe
from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import Side
from perpdesk.domain.ports import Feed, Streams
from perpdesk.domain.streams import (
    CandleUpdated,
    DepthChanged,
    MarkChanged,
    QuoteChanged,
    StreamEvent,
    StreamKind,
    StreamLost,
    StreamRestored,
    Subscription,
    TradeOccurred,
)
from perpdesk.venues.bybit import market_stream
from perpdesk.venues.bybit.connect import BybitVenue
from perpdesk.venues.clock import SystemTime
from perpdesk.venues.pipe import PipeSettings

ONE = Timeframe.parse("1m")
CANDLES = Subscription(kind=StreamKind.CANDLES, symbol="BTCUSDT", timeframe=ONE)
TRADES = Subscription(kind=StreamKind.TRADES, symbol="BTCUSDT")
QUOTES = Subscription(kind=StreamKind.QUOTES, symbol="BTCUSDT")
DEPTH = Subscription(kind=StreamKind.DEPTH, symbol="BTCUSDT", levels=50)
MARK = Subscription(kind=StreamKind.MARK, symbol="BTCUSDT")


def kline(start_ms: int, *, close: str = "100", confirm: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {
        "start": start_ms,
        "end": start_ms + MINUTE_MS - 1,
        "interval": "1",
        "open": "100",
    }
    row |= {"close": close, "high": "110", "low": "90", "volume": "5", "turnover": "500"}
    row |= {"confirm": confirm, "timestamp": start_ms + 1_000}
    return {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": start_ms, "data": [row]}


def trade(trade_id: str, ts_ms: int = 1_000) -> dict[str, Any]:
    row = {"T": ts_ms, "s": "BTCUSDT", "S": "Sell", "v": "0.5", "p": "100.5", "i": trade_id}
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": ts_ms, "data": [row]}


def book(
    topic: str, kind: str, update: int, bids: list[list[str]], asks: list[list[str]]
) -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": update, "seq": update * 10}
    return {"topic": topic, "type": kind, "ts": 1, "cts": 7, "data": data}


@asynccontextmanager
async def market(
    venue: ScriptedVenue, bybit: BybitVenue, *subscriptions: Subscription
) -> AsyncIterator[Feed]:
    venue.topics.clear()
    async with bybit.streams.market(subscriptions) as feed:
        async with asyncio.timeout(5):
            while len(venue.topics) < len(subscriptions):
                await asyncio.sleep(0.005)
        yield feed


async def test_trades_come_once_each_and_in_order(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    async with market(venue, bybit, TRADES) as feed:
        await venue.push(trade("a"), trade("b"), trade("b"), trade("c"))
        events = await read(feed, 3)
    assert [event.trade_id for event in events if isinstance(event, TradeOccurred)] == list("abc")
    assert isinstance(events[0], TradeOccurred)
    assert events[0].taker_side is Side.SELL


async def test_message_that_overtakes_its_acknowledgement_is_not_lost(
    venue: ScriptedVenue,
) -> None:
    venue.on_subscribe = lambda topic: [trade("first")]
    for _ in range(15):
        async with connected(venue) as bybit, bybit.streams.market([TRADES]) as feed:
            (event,) = await read(feed)
            assert isinstance(event, TradeOccurred)


async def test_mark_keeps_what_a_delta_leaves_out(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    data = {"symbol": "BTCUSDT", "markPrice": "100.5", "indexPrice": "100.4"}
    data |= {"fundingRate": "0.0001", "nextFundingTime": "1790000000000"}
    snapshot = {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": 1, "data": data}
    delta = {
        "topic": "tickers.BTCUSDT",
        "type": "delta",
        "ts": 2,
        "data": {"symbol": "BTCUSDT", "markPrice": "101"},
    }
    async with market(venue, bybit, MARK) as feed:
        await venue.push(snapshot)
        await read(feed)
        await venue.push(delta)
        (event,) = await read(feed)
    assert isinstance(event, MarkChanged)
    assert (event.mark_price, event.index_price) == (Decimal(101), Decimal("100.4"))
    assert (event.funding_rate, event.next_funding_ms) == (Decimal("0.0001"), 1790000000000)


async def test_quote_and_depth_follow_the_raw_messages(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    async with market(venue, bybit, QUOTES, DEPTH) as feed:
        await venue.push(book("orderbook.1.BTCUSDT", "snapshot", 5, [["99", "1"]], [["101", "2"]]))
        (quote,) = await read(feed)
        topic = "orderbook.50.BTCUSDT"
        bids = [["99", "1"], ["98", "3"]]
        await venue.push(book(topic, "snapshot", 7, bids, [["101", "2"]]))
        await read(feed)
        await venue.push(book(topic, "delta", 8, [["99", "0"]], [["100.5", "4"]]))
        (depth,) = await read(feed)
    assert isinstance(quote, QuoteChanged)
    assert (quote.bid_price, quote.ask_quantity) == (Decimal(99), Decimal(2))
    assert isinstance(depth, DepthChanged)
    assert depth.bids == ((Decimal(98), Decimal(3)),)
    assert depth.asks == ((Decimal("100.5"), Decimal(4)), (Decimal(101), Decimal(2)))
    assert (depth.update_id, depth.ts_event_ms) == (8, 7)


async def test_delta_that_comes_twice_changes_nothing(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    topic = "orderbook.50.BTCUSDT"
    delta = book(topic, "delta", 8, [["99", "0"]], [])
    async with market(venue, bybit, DEPTH) as feed:
        await venue.push(book(topic, "snapshot", 7, [["99", "1"], ["98", "1"]], [["101", "2"]]))
        await read(feed)
        await venue.push(delta, delta, book(topic, "delta", 9, [["97", "5"]], []))
        last = (await read_until_update(feed, 9))[-1]
    assert isinstance(last, DepthChanged)
    assert [float(price) for price, _ in last.bids] == [98, 97]
    assert venue.connections == 1


async def read_until_update(feed: Feed, update_id: int) -> list[StreamEvent]:
    """Read on until a book's update; those in between may give way to it."""
    events = await read(feed)
    while getattr(events[-1], "update_id", update_id) != update_id:
        events += await read(feed)
    return events


async def test_gap_in_a_book_starts_the_connection_anew(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    topic = "orderbook.50.BTCUSDT"
    snapshot = book(topic, "snapshot", 7, [["99", "1"]], [["101", "2"]])
    venue.on_subscribe = lambda _: [snapshot]
    async with market(venue, bybit, DEPTH) as feed:
        await read(feed)
        await venue.push(book(topic, "delta", 9, [["99", "0"]], []))
        events = await read(feed, 3)
        assert venue.connections == 2
    assert isinstance(events[0], StreamLost)
    assert "BookGap" in events[0].reason
    assert {type(event) for event in events[1:]} == {StreamRestored, DepthChanged}


async def test_abrupt_end_is_healed_and_missed_candles_come_first(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    now_ms = SystemTime().now_ms()
    bybit.clock.offset_ms = ONE.floor(now_ms) + 30_000 - now_ms  # half a minute into a candle
    open_ms = ONE.floor(now_ms)
    async with market(venue, bybit, CANDLES) as feed:
        await venue.push(kline(open_ms))
        await read(feed)
        # Two candles end while the socket is down.
        bybit.clock.offset_ms += 2 * MINUTE_MS
        rows = [
            [str(open_ms + step * MINUTE_MS), "1", "4", "1", str(step + 2), "9", "1"]
            for step in (2, 1, 0)
        ]
        answer = {**listing(*rows), "time": open_ms + 2 * MINUTE_MS + 30_000}
        venue.answer("/v5/market/kline", answer)
        venue.on_subscribe = lambda _: [kline(open_ms + 2 * MINUTE_MS, close="7")]
        await venue.cut()
        events = await read_until(feed, StreamRestored)
        events += await read(feed) if not isinstance(events[-2], CandleUpdated) else []
    candles = [event for event in events if isinstance(event, CandleUpdated)]
    assert [(one.ts_ms, one.close, one.is_closed) for one in candles] == [
        (open_ms, 2.0, True),
        (open_ms + MINUTE_MS, 3.0, True),
        (open_ms + 2 * MINUTE_MS, 7.0, False),
    ]
    assert isinstance(events[0], StreamLost)


async def test_lost_closing_message_is_replaced_by_clock_and_rest(
    venue: ScriptedVenue, bybit: BybitVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_stream, "LOOK_S", 0.01)
    now_ms = SystemTime().now_ms()
    open_ms = ONE.floor(now_ms)
    bybit.clock.offset_ms = open_ms + 30_000 - now_ms
    row = [str(open_ms), "1", "4", "1", "2", "9", "1"]
    venue.answer("/v5/market/kline", {**listing(row), "time": open_ms + MINUTE_MS + 3_000})
    async with market(venue, bybit, CANDLES) as feed:
        await venue.push(kline(open_ms))
        await read(feed)
        await venue.push(kline(open_ms + MINUTE_MS, close="8"))  # newer: it waits
        bybit.clock.offset_ms += 33_500  # the candle ended 3.5 s ago
        events = await read(feed, 2)
        await venue.push(kline(open_ms, confirm=True))  # late: it was delivered already
        await venue.push(kline(open_ms + MINUTE_MS, close="9"))
        events += await read(feed)
    told = [(e.ts_ms, e.close, e.is_closed) for e in events if isinstance(e, CandleUpdated)]
    assert told == [
        (open_ms, 2.0, True),
        (open_ms + MINUTE_MS, 8.0, False),
        (open_ms + MINUTE_MS, 9.0, False),
    ]


async def test_silent_socket_is_thrown_away(venue: ScriptedVenue) -> None:
    settings = PipeSettings(silence_s=0.2, resync_s=0.4, backoff_s=0.02)
    async with connected(venue, pipes=settings) as bybit, market(venue, bybit, TRADES) as feed:
        await venue.push(trade("a"))
        await read(feed)
        (event,) = await read(feed)
    assert isinstance(event, StreamLost)
    assert "silent" in event.reason


async def test_topic_that_falls_silent_among_others_is_noticed(
    venue: ScriptedVenue, bybit: BybitVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_stream, "LOOK_S", 0.01)
    monkeypatch.setattr(market_stream, "STALE_S", {StreamKind.QUOTES: 0.1})
    async with market(venue, bybit, TRADES, QUOTES) as feed:
        await venue.push(book("orderbook.1.BTCUSDT", "snapshot", 5, [["99", "1"]], [["101", "2"]]))
        await read(feed)
        await venue.push(trade("a"))
        events = await read(feed, 2)
    assert isinstance(events[1], StreamLost)
    assert "orderbook.1.BTCUSDT has been silent" in events[1].reason


async def test_aged_connection_is_replaced_without_a_break_and_nothing_comes_twice(
    venue: ScriptedVenue,
) -> None:
    settings = PipeSettings(lifetime_s=0.1, backoff_s=0.02)
    venue.answer("/v5/market/recent-trade", listing())
    venue.on_subscribe = lambda topic: [trade("a")]
    async with connected(venue, pipes=settings) as bybit, market(venue, bybit, TRADES) as feed:
        async with asyncio.timeout(5):
            while venue.connections < 3:
                await asyncio.sleep(0.01)
        await venue.push(trade("b"))
        events = await read(feed, 2)
    assert [getattr(event, "trade_id", event) for event in events] == ["a", "b"]


def test_they_are_the_port(bybit: BybitVenue) -> None:
    port: Streams = bybit.streams
    assert callable(port.market)


async def test_refused_topic_ends_the_feed_with_the_refusal(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.subscribe_error = "error:handler not found,topic:publicTrade.BTCUSDT"
    async with bybit.streams.market([TRADES]) as feed:
        with pytest.raises(VenueRejected, match="handler not found"):
            await read(feed, 9)


async def test_unreachable_stream_is_tried_again(venue: ScriptedVenue) -> None:
    port, venue.port = venue.port, 1
    async with connected(venue) as bybit, bybit.streams.market([TRADES]) as feed:
        (event,) = await read(feed)
    venue.port = port
    assert isinstance(event, StreamLost)
    assert "refused" in event.reason


async def test_nothing_is_left_behind_when_a_feed_is_closed(venue: ScriptedVenue) -> None:
    async with connected(venue) as bybit:
        for _ in range(3):
            async with market(venue, bybit, TRADES) as feed:
                await venue.push(trade("a"))
                await read(feed)

    def left() -> list[str]:
        names = [thread.name for thread in threading.enumerate()]
        return [name for name in names if not name.startswith(("MainThread", "asyncio_"))]

    async with asyncio.timeout(10):  # the SDK's threads end on their own, soon
        while left():
            await asyncio.sleep(0.01)
