"""Market streams over real websockets: whole candles, books in step, silence noticed."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.binance.hasty_time import SteeredTime
from tests.unit.venues.binance.messages import refusal
from tests.unit.venues.binance.scripted_binance import (
    CREDENTIALS,
    PATIENCE_S,
    ScriptedBinance,
)

from perpdesk.domain.candles import MINUTE_MS, Timeframe
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.ports import Feed
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
from perpdesk.venues.binance.stream import Silence, stream_name
from perpdesk.venues.binance.venue import BinanceVenue, connect

MINUTE = Timeframe.parse("1m")
KLINES, DEPTH = "GET fapi/v1/klines", "GET fapi/v1/depth"
CANDLES = Subscription(kind=StreamKind.CANDLES, symbol="BTCUSDT", timeframe=MINUTE)
MARK = Subscription(kind=StreamKind.MARK, symbol="BTCUSDT")
BOOK = Subscription(kind=StreamKind.DEPTH, symbol="BTCUSDT", levels=2)


def kline(open_ms: int, *, closed: bool, close: str = "100", now_ms: int | None = None) -> Any:
    bar = {
        "t": open_ms,
        "T": open_ms + MINUTE_MS - 1,
        "s": "BTCUSDT",
        "i": "1m",
        "o": "100",
        "c": close,
        "h": "101",
        "l": "99",
        "v": "5",
        "x": closed,
    }
    return {"e": "kline", "E": now_ms or open_ms + 1000, "s": "BTCUSDT", "k": bar}


def row(open_ms: int) -> list[Any]:
    return [
        open_ms,
        "100",
        "101",
        "99",
        "100.5",
        "7",
        open_ms + MINUTE_MS - 1,
        "0",
        1,
        "0",
        "0",
        "0",
    ]


def rows_asked(sent: dict[str, str]) -> list[Any]:
    """Answer klines for whatever is asked."""
    first, last = int(sent["startTime"]), int(sent["endTime"])
    begin = -(-first // MINUTE_MS) * MINUTE_MS
    return [row(open_ms) for open_ms in range(begin, last + 1, MINUTE_MS)]


def mark(ts_ms: int) -> Any:
    return {
        "e": "markPriceUpdate",
        "E": ts_ms,
        "s": "BTCUSDT",
        "p": "60000",
        "i": "60001",
        "r": "0.0001",
        "T": 1_790_006_400_000,
    }


def difference(first: int, last: int, previous: int, bid: str = "9") -> Any:
    return {
        "e": "depthUpdate",
        "E": last,
        "T": last,
        "s": "BTCUSDT",
        "U": first,
        "u": last,
        "pu": previous,
        "b": [[bid, "1"]],
        "a": [],
    }


SNAPSHOT = {"lastUpdateId": 100, "T": 1, "bids": [["10", "1"]], "asks": [["11", "2"]]}


async def until(feed: Feed, wanted: Callable[[StreamEvent], bool]) -> list[StreamEvent]:
    """Return events up to the first that is wanted."""
    found: list[StreamEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in feed:
            found.append(event)
            if wanted(event):
                break
    return found


def is_closed(event: StreamEvent) -> bool:
    return isinstance(event, CandleUpdated) and event.is_closed


@pytest.fixture
async def minute(binance: BinanceVenue) -> int:
    """The open time of the candle that is open now."""
    return MINUTE.floor(binance.clock.now_ms())


# Routes and names.


async def test_each_kind_of_stream_is_subscribed_on_its_own_route(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(DEPTH, SNAPSHOT)
    wanted = [
        Subscription(kind=kind, symbol="BTCUSDT", timeframe=MINUTE)
        for kind in (*StreamKind, StreamKind.MARK)
    ]
    async with binance.streams.market(wanted):
        await venue.connected("public")
        await venue.connected("market")
    assert sorted(venue.socket_urls) == [
        "/market/stream?streams=btcusdt@kline_1m/btcusdt@aggTrade/btcusdt@markPrice@1s",
        "/public/stream?streams=btcusdt@bookTicker/btcusdt@depth@100ms",
    ]


async def test_more_than_two_hundred_streams_take_a_second_socket(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    wanted = [Subscription(kind=StreamKind.MARK, symbol=f"C{i}USDT") for i in range(201)]
    async with binance.streams.market(wanted):
        await venue.connected("market", 2)
    assert sorted(url.count("@markPrice") for url in venue.socket_urls) == [1, 200]


def test_a_timeframe_that_binance_has_not_is_refused() -> None:
    odd = Subscription(kind=StreamKind.CANDLES, symbol="BTCUSDT", timeframe=Timeframe.parse("10m"))
    with pytest.raises(UsageRefused, match="10m"):
        stream_name(odd)


async def test_a_symbol_that_is_not_listed_is_refused_instead_of_staying_silent(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("GET fapi/v1/exchangeInfo", {"symbols": [{"symbol": "BTCUSDT"}]})
    await binance.reference.symbols()
    with pytest.raises(VenueRejected, match="BTCUSTD"):
        binance.streams.market([Subscription(kind=StreamKind.MARK, symbol="BTCUSTD")])


async def test_marks_quotes_and_trades_become_events_each_once(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    trade = {
        "e": "aggTrade",
        "E": 2,
        "a": 7,
        "s": "BTCUSDT",
        "p": "60000",
        "q": "0.5",
        "f": 1,
        "l": 1,
        "T": 1,
        "m": True,
    }
    quote = {
        "e": "bookTicker",
        "u": 5,
        "E": 2,
        "T": 1,
        "s": "BTCUSDT",
        "b": "1",
        "B": "2",
        "a": "3",
        "A": "4",
    }
    kinds = (StreamKind.TRADES, StreamKind.QUOTES, StreamKind.MARK)
    wanted = [Subscription(kind=kind, symbol="BTCUSDT") for kind in kinds]
    async with binance.streams.market(wanted) as feed:
        await venue.connected("market")
        await venue.connected("public")
        await venue.say("public", quote, "btcusdt@bookTicker")
        (found,) = await until(feed, lambda event: isinstance(event, QuoteChanged))
        assert isinstance(found, QuoteChanged)
        assert (found.bid_price, found.ask_quantity) == (Decimal(1), Decimal(4))
        await venue.say("market", trade, "btcusdt@aggTrade")
        await venue.say("market", trade, "btcusdt@aggTrade")
        await venue.say("market", mark(5), "btcusdt@markPrice@1s")
        seen = await until(feed, lambda event: isinstance(event, MarkChanged))
    assert [type(event) for event in seen] == [TradeOccurred, MarkChanged]


# Candles.


async def test_a_closed_candle_comes_once_however_often_it_is_said(
    venue: ScriptedBinance, binance: BinanceVenue, minute: int
) -> None:
    async with binance.streams.market([CANDLES, MARK]) as feed:
        await venue.connected("market")
        for _ in range(2):
            await venue.say("market", kline(minute, closed=True), "btcusdt@kline_1m")
        await venue.say("market", mark(minute), "btcusdt@markPrice@1s")
        seen = await until(feed, lambda event: isinstance(event, MarkChanged))
    assert [is_closed(event) for event in seen] == [True, False]


async def test_candles_that_were_missed_come_before_the_newer_one(
    venue: ScriptedBinance, binance: BinanceVenue, minute: int
) -> None:
    venue.lead_ms = 5 * MINUTE_MS
    venue.on(KLINES, rows_asked)
    async with binance.streams.market([CANDLES]) as feed:
        await venue.connected("market")
        later = minute + 3 * MINUTE_MS
        await venue.say("market", kline(later, closed=False), "btcusdt@kline_1m")
        seen = await until(feed, lambda event: not is_closed(event))
    opened = [event.ts_ms for event in seen if isinstance(event, CandleUpdated)]
    assert opened == [minute, minute + MINUTE_MS, minute + 2 * MINUTE_MS, later]
    assert isinstance(seen[0], CandleUpdated)
    assert (seen[0].close, seen[0].volume) == (100.5, 7.0)


async def test_candles_missed_while_disconnected_come_before_the_stream_is_restored(
    venue: ScriptedBinance,
) -> None:
    local = SteeredTime()
    local.ahead_ms = MINUTE_MS // 2 - local.now_ms() % MINUTE_MS
    venue.now_ms = local.now_ms
    venue.on(KLINES, rows_asked)
    adapter = await connect(venue.endpoints, CREDENTIALS, local=local)
    async with adapter.streams.market([CANDLES]) as feed:
        socket = await venue.connected("market")
        opened = MINUTE.floor(local.now_ms())
        await venue.say("market", kline(opened, closed=False), "btcusdt@kline_1m")
        await until(feed, lambda event: isinstance(event, CandleUpdated))
        local.ahead_ms += 3 * MINUTE_MS
        await socket.close()
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    await adapter.close()
    assert isinstance(seen[0], StreamLost)
    closed = [event.ts_ms for event in seen if isinstance(event, CandleUpdated)]
    assert closed[:3] == [opened, opened + MINUTE_MS, opened + 2 * MINUTE_MS]


async def test_a_candle_whose_closing_message_was_lost_is_closed_by_the_clock(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    venue.on(KLINES, rows_asked)
    async with hasty.streams.market([CANDLES]) as feed:
        await venue.connected("market")
        began = MINUTE.floor(hasty.clock.now_ms())
        closed = (await until(feed, is_closed))[-1]
    assert isinstance(closed, CandleUpdated)
    assert closed.ts_ms in (began, began - MINUTE_MS)
    assert hasty.clock.now_ms() >= closed.ts_ms + MINUTE_MS


# Books.


async def test_a_book_is_told_as_it_stands(venue: ScriptedBinance, binance: BinanceVenue) -> None:
    venue.on(DEPTH, SNAPSHOT)
    async with binance.streams.market([BOOK]) as feed:
        await venue.connected("public")
        await venue.say("public", difference(99, 101, 98), "btcusdt@depth@100ms")
        seen = await until(
            feed, lambda event: isinstance(event, DepthChanged) and event.update_id == 101
        )
    book = seen[-1]
    assert isinstance(book, DepthChanged)
    assert book.bids == ((Decimal(10), Decimal(1)), (Decimal(9), Decimal(1)))
    assert book.asks == ((Decimal(11), Decimal(2)),)


async def test_a_gap_in_the_book_is_told_and_mended_by_a_new_snapshot(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(DEPTH, SNAPSHOT, SNAPSHOT | {"lastUpdateId": 210})
    async with binance.streams.market([BOOK]) as feed:
        await venue.connected("public")
        await venue.say("public", difference(99, 101, 98), "btcusdt@depth@100ms")
        await venue.say("public", difference(205, 212, 204), "btcusdt@depth@100ms")
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    kinds = [type(event) for event in seen]
    assert kinds.index(StreamLost) < kinds.index(StreamRestored)
    told = [event.update_id for event in seen if isinstance(event, DepthChanged)]
    assert told[-1] == 212


# The pipe.


async def test_a_stream_that_falls_silent_is_built_anew(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    async with hasty.streams.market([MARK]) as feed:
        await venue.connected("market")
        await venue.say("market", mark(1), "btcusdt@markPrice@1s")
        seen = await until(feed, lambda event: isinstance(event, StreamLost))
        lost = seen[-1]
        assert isinstance(lost, StreamLost)
        assert "silent" in lost.reason
        await venue.connected("market", 2)
        await until(feed, lambda event: isinstance(event, StreamRestored))


async def test_a_cut_connection_is_made_again_without_the_sdks_own_reconnect(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    async with binance.streams.market([MARK]) as feed:
        socket = await venue.connected("market")
        await socket.close()
        await until(feed, lambda event: isinstance(event, StreamRestored))
        await venue.say("market", mark(2), "btcusdt@markPrice@1s")
        await until(feed, lambda event: isinstance(event, MarkChanged))
    assert len(venue.sockets["market"]) == 2


async def test_a_burst_of_messages_does_not_end_the_stream(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    async with binance.streams.market([MARK]) as feed:
        await venue.connected("market")
        for number in range(1, 1001):
            await venue.say("market", mark(number), "btcusdt@markPrice@1s")
        await until(
            feed, lambda event: isinstance(event, MarkChanged) and event.ts_event_ms == 1000
        )
    assert len(venue.sockets["market"]) == 1


def test_a_quiet_stream_is_given_thrice_its_usual_gap_and_a_busy_one_loses_it() -> None:
    silence = Silence(0.0, least_s=15.0, steady=False)
    silence.heard(20_000.0)
    assert silence.limit_s == 60.0
    for beat in range(300):
        silence.heard(20_000.0 + 100.0 * beat)
    assert silence.limit_s == 15.0


def test_a_steady_stream_gets_no_more_than_the_least() -> None:
    silence = Silence(0.0, least_s=15.0, steady=True)
    silence.heard(100_000.0)
    assert silence.limit_s == 15.0


def test_a_stream_that_new_connections_do_not_wake_is_left_alone_for_longer_each_time() -> None:
    silence = Silence(0.0, least_s=15.0, steady=True)
    limits = []
    for _ in range(4):
        silence.gave_up(0.0)
        limits.append(silence.limit_s)
    assert limits == [45.0, 135.0, 300.0, 300.0]
    silence.heard(1_000.0)
    assert silence.limit_s == 15.0


async def test_a_symbol_that_is_not_traded_any_more_does_not_end_the_others(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(DEPTH, refusal(-4141, "Symbol is closed."))
    async with binance.streams.market([BOOK, MARK]) as feed:
        (lost,) = await until(feed, lambda event: isinstance(event, StreamLost))
        await venue.connected("market")
        await venue.say("market", mark(5), "btcusdt@markPrice@1s")
        await until(feed, lambda event: isinstance(event, MarkChanged))
    assert isinstance(lost, StreamLost)
    assert "closed" in lost.reason
