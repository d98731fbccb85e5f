import asyncio
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.venues.virtual_time import settle, stop

from perpdesk.domain.candles import MINUTE_MS, Timeframe
from perpdesk.domain.order import Side
from perpdesk.domain.streams import (
    CandleUpdated,
    FundingPaid,
    QuoteChanged,
    StreamEvent,
    StreamLost,
    StreamRestored,
    TradeOccurred,
)
from perpdesk.venues.feed import BoundedFeed

ONE = Decimal(1)
MINUTE = Timeframe.parse("1m")


def quote(number: int, symbol: str = "BTCUSDT") -> QuoteChanged:
    return QuoteChanged(
        symbol=symbol,
        bid_price=ONE,
        bid_quantity=ONE,
        ask_price=ONE,
        ask_quantity=ONE,
        update_id=number,
        ts_event_ms=number,
        ts_init_ms=number,
    )


def trade(number: int) -> TradeOccurred:
    return TradeOccurred(
        symbol="BTCUSDT",
        trade_id=str(number),
        price=ONE,
        quantity=ONE,
        taker_side=Side.BUY,
        ts_event_ms=number,
        ts_init_ms=number,
    )


def candle(number: int, *, is_closed: bool = False, ts_ms: int = 0) -> CandleUpdated:
    return CandleUpdated(
        symbol="BTCUSDT",
        timeframe=MINUTE,
        ts_ms=ts_ms,
        open=1.0,
        high=1.0,
        low=1.0,
        close=float(number),
        volume=1.0,
        is_closed=is_closed,
        ts_event_ms=number,
        ts_init_ms=number,
    )


def paid(number: int) -> FundingPaid:
    return FundingPaid(symbol="BTCUSDT", amount=ONE, asset="USDT", ts_event_ms=number)


async def everything(feed: BoundedFeed) -> list[StreamEvent]:
    feed.close()
    return [event async for event in feed]


async def test_what_is_superseded_gives_way_in_the_place_of_the_older() -> None:
    feed = BoundedFeed()
    for event in (quote(1), trade(2), quote(3, "ETHUSDT"), quote(4)):
        feed.put(event)
    assert await everything(feed) == [quote(4), trade(2), quote(3, "ETHUSDT")]
    assert feed.coalesced == 1


async def test_what_was_read_already_is_not_replaced() -> None:
    feed = BoundedFeed()
    feed.put(quote(1))
    assert await anext(aiter(feed)) == quote(1)
    feed.put(quote(2))
    assert await everything(feed) == [quote(2)]
    assert feed.coalesced == 0


async def test_a_closed_candle_stays_and_the_next_one_does_not_overtake_it() -> None:
    feed = BoundedFeed()
    first, closed = candle(1), candle(2, is_closed=True)
    later = [candle(3, ts_ms=MINUTE_MS), candle(4, ts_ms=MINUTE_MS)]
    for event in (first, closed, *later):
        feed.put(event)
    assert await everything(feed) == [first, closed, later[1]]


async def test_news_of_a_break_comes_before_what_came_after_it() -> None:
    feed = BoundedFeed()
    lost = StreamLost(stream="market", reason="silent", ts_init_ms=2)
    restored = StreamRestored(stream="market", ts_init_ms=3)
    for event in (quote(1), lost, restored, quote(4)):
        feed.put(event)
    assert await everything(feed) == [quote(1), lost, restored, quote(4)]


async def test_when_too_many_wait_the_oldest_trades_go_and_the_hole_is_told() -> None:
    feed = BoundedFeed(limit=4)
    for number in range(1, 9):
        feed.put(trade(number))
    feed.put(paid(9))
    events = await everything(feed)
    assert isinstance(events[0], StreamLost)
    assert events[0].stream == "trades"
    assert events[0].ts_init_ms == 1
    facts = [event for event in events if isinstance(event, TradeOccurred | FundingPaid)]
    assert facts == [trade(6), trade(7), trade(8), paid(9)]
    assert feed.dropped == 5
    restored = [event for event in events if isinstance(event, StreamRestored)]
    assert len(restored) == 1


async def test_account_facts_and_closed_candles_never_go() -> None:
    feed = BoundedFeed(limit=3)
    facts: list[StreamEvent] = []
    for number in range(20):
        facts += [paid(number), candle(number, is_closed=True, ts_ms=number * MINUTE_MS)]
        feed.put(trade(number))
        for fact in facts[-2:]:
            feed.put(fact)
    kept = [event for event in await everything(feed) if event in facts]
    assert kept == facts


async def test_a_feed_that_nobody_reads_does_not_grow() -> None:
    feed = BoundedFeed(limit=100)
    for number in range(10_000):
        feed.put(trade(number))
        feed.put(quote(number))
    assert len(feed) <= 102
    assert len(feed._queue) <= 210


async def test_the_reader_waits_for_the_next_event() -> None:
    feed = BoundedFeed()
    reader = asyncio.ensure_future(anext(aiter(feed)))
    await settle()
    assert not reader.done()
    feed.put(quote(1))
    assert await reader == quote(1)


async def test_a_reader_that_gives_up_waiting_loses_nothing() -> None:
    feed = BoundedFeed()
    reader = asyncio.ensure_future(anext(aiter(feed)))
    await settle()
    feed.put(trade(1))
    await stop(reader)
    feed.put(trade(2))
    assert await everything(feed) == [trade(1), trade(2)]


async def test_a_closed_feed_gives_what_is_left_and_then_the_error() -> None:
    feed = BoundedFeed()
    feed.put(trade(1))
    feed.close(ConnectionError("the key was refused"))
    feed.put(trade(2))
    reader = aiter(feed)
    assert await anext(reader) == trade(1)
    with pytest.raises(ConnectionError, match="the key was refused"):
        await anext(reader)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_closing_ends_a_reader_that_waits() -> None:
    feed = BoundedFeed()
    reader = asyncio.ensure_future(everything_left(feed))
    await settle()
    feed.close()
    assert await reader == []


async def everything_left(feed: BoundedFeed) -> list[StreamEvent]:
    return [event async for event in feed]


async def test_it_sustains_far_more_than_two_thousand_events_a_second() -> None:
    feed = BoundedFeed()
    rounds = 20_000
    began = time.perf_counter()
    for number in range(rounds):
        feed.put(quote(number, f"S{number % 40}"))
        feed.put(trade(number))
        if number % 100 == 99:
            for _ in range(140):
                feed._pop()
    rate = 2 * rounds / (time.perf_counter() - began)
    assert rate > 20_000


KINDS = st.sampled_from(
    ["quote", "other quote", "trade", "candle", "closed", "paid", "break", "read"]
)


@given(script=st.lists(KINDS, max_size=80), limit=st.integers(2, 12))
def test_facts_are_never_lost_or_reordered(script: list[str], limit: int) -> None:
    feed = BoundedFeed(limit=limit)
    facts: list[StreamEvent] = []
    latest: dict[str, StreamEvent] = {}
    seen: list[StreamEvent] = []
    for number, kind in enumerate(script):
        if kind == "read":
            event = feed._pop()
            if event is not None:
                seen.append(event)
            continue
        choices: dict[str, StreamEvent] = {
            "quote": quote(number),
            "other quote": quote(number, "ETHUSDT"),
            "trade": trade(number),
            "candle": candle(number),
            "closed": candle(number, is_closed=True),
            "paid": paid(number),
            "break": StreamLost(stream="pipe", reason="", ts_init_ms=number),
        }
        made = choices[kind]
        if kind in ("trade", "closed", "paid", "break"):
            facts.append(made)
        else:
            latest[kind] = made
        feed.put(made)
    while (event := feed._pop()) is not None:
        seen.append(event)
    own = [event for event in seen if getattr(event, "stream", "") != "trades"]
    kept = [event for event in own if event in facts]
    assert kept == [fact for fact in facts if fact in kept], "facts keep their order"
    gone = [fact for fact in facts if fact not in kept]
    assert all(isinstance(fact, TradeOccurred) for fact in gone)
    assert len(gone) == feed.dropped
    assert bool(gone) == any(
        isinstance(event, StreamLost) and event.stream == "trades" for event in seen
    )
    updates = [event for event in own if event not in facts]
    assert all(event in updates for event in latest.values()), "the newest update always arrives"
    for symbol in ("BTCUSDT", "ETHUSDT"):
        ids = [e.update_id for e in updates if isinstance(e, QuoteChanged) and e.symbol == symbol]
        assert ids == sorted(ids)
