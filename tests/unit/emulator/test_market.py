"""What a market plays adds up: trades to candles, REST to streams, funding to the tape."""

from decimal import Decimal

import pytest
from tests.unit.emulator.builders import NOON_MS, tapes_of

from perpdesk.domain.candles import DAY_MS, HOUR_MS, MINUTE_MS, DataKind, Timeframe, Venue
from perpdesk.domain.events import FundingSettlement
from perpdesk.domain.numbers import decimal_of
from perpdesk.emulator.book import BookChange
from perpdesk.emulator.market import Market
from perpdesk.emulator.trade_tape import MarketTrade

MINUTE, HOUR = Timeframe.parse("1m"), Timeframe.parse("1h")


@pytest.fixture
def market() -> Market:
    return Market(tapes_of(Venue.BINANCE, ["BTCUSDT"])[0], NOON_MS)


def test_the_trades_of_a_minute_make_its_candle_exactly(market: Market) -> None:
    candles = market.tape.candles.between(NOON_MS, NOON_MS + 200 * MINUTE_MS)
    for row in range(len(candles)):
        start = int(candles.ts_ms[row])
        trades = list(market.trades_between(start, start + MINUTE_MS))
        prices = [trade.price for trade in trades]
        assert prices[0] == decimal_of(candles.open[row])
        assert prices[-1] == decimal_of(candles.close[row])
        assert max(prices) == decimal_of(candles.high[row])
        assert min(prices) == decimal_of(candles.low[row])
        assert sum(trade.quantity for trade in trades) == decimal_of(candles.volume[row])
        assert all(trade.quantity > 0 for trade in trades)
        assert all(trade.price % market.instrument.tick_size == 0 for trade in trades)


def test_steps_bring_every_trade_once_and_in_order(market: Market) -> None:
    told: list[MarketTrade] = []
    while market.now_ms < NOON_MS + 10 * MINUTE_MS:
        told += market.advance(market.now_ms + 250).trades
    assert told == list(market.trades_between(NOON_MS, NOON_MS + 10 * MINUTE_MS))
    ids = [trade.trade_id for trade in told]
    assert ids == sorted(set(ids))


def test_a_candle_that_is_open_is_what_its_trades_so_far_make(market: Market) -> None:
    market.advance(NOON_MS + 31_000)
    (row,) = market.rows(MINUTE, DataKind.CANDLES, NOON_MS, NOON_MS)
    trades = list(market.trades_between(NOON_MS, NOON_MS + 31_000))
    assert not row.is_closed
    assert row.open == trades[0].price
    assert row.close == trades[-1].price == market.last_price
    assert row.volume == sum(trade.quantity for trade in trades)


def test_an_hour_in_the_making_continues_what_the_tape_has_of_it(market: Market) -> None:
    for _ in range(90):
        market.advance(market.now_ms + 30_000)
    (row,) = market.rows(HOUR, DataKind.CANDLES, NOON_MS, NOON_MS)
    trades = list(market.trades_between(NOON_MS, market.now_ms))
    assert row.open == trades[0].price
    assert row.high == max(trade.price for trade in trades)
    assert row.low == min(trade.price for trade in trades)
    assert row.volume == sum(trade.quantity for trade in trades)
    assert row.trades == len(trades)


def test_nothing_of_the_future_is_told(market: Market) -> None:
    rows = market.rows(MINUTE, DataKind.CANDLES, NOON_MS - HOUR_MS, NOON_MS + DAY_MS)
    assert [row.ts_ms for row in rows] == list(range(NOON_MS - HOUR_MS, NOON_MS, MINUTE_MS))
    assert all(row.is_closed for row in rows)
    assert market.recent_trades(1000)[-1].ts_ms < NOON_MS
    assert market.trades_from(market.recent_trades(1)[0].trade_id + 1, 10) == []


def test_mark_stays_within_the_mark_candle(market: Market) -> None:
    mark = market.tape.mark
    assert mark is not None
    while market.now_ms < NOON_MS + 3 * HOUR_MS:
        step = market.advance(market.now_ms + 15_000)
        row = (step.start_ms - int(mark.ts_ms[0])) // HOUR_MS
        assert mark.low[row] <= float(step.mark.close) <= mark.high[row]


def test_funding_settles_once_at_its_time_with_its_rate(market: Market) -> None:
    funding = market.tape.funding
    assert funding is not None
    told: list[FundingSettlement] = []
    while market.now_ms < NOON_MS + 5 * HOUR_MS:
        expected = market.next_funding_ms, market.funding_rate
        rows = market.advance(market.now_ms + 60_000).funding
        told += rows
        for row in rows:
            assert (row.ts_ms, row.rate) == expected
    due = funding.between(NOON_MS, NOON_MS + 5 * HOUR_MS)
    assert [row.ts_ms for row in told] == list(due.ts_ms)
    assert [row.rate for row in told] == [decimal_of(rate) for rate in due.rate]


def test_changes_of_the_book_lead_from_one_version_to_the_next(market: Market) -> None:
    book = market.book
    bids, asks = dict(book.bids), dict(book.asks)
    changes: list[BookChange] = []
    book.listeners.append(changes.append)
    before = book.update_id
    for _ in range(240):
        market.advance(market.now_ms + 250)
    assert len(changes) > 5
    for change in changes:
        assert change.previous_id == before
        assert change.first_id == before + 1
        before = change.last_id
        for side, levels in ((bids, change.bids), (asks, change.asks)):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                else:
                    del side[price]
    assert (bids, asks) == (book.bids, book.asks)
    assert max(bids) < min(asks)
    assert book.best_bid[0] == max(bids)
    assert book.best_ask[0] == min(asks)
    assert Decimal(0) < min(bids)
