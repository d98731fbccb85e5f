from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.simulation.market import instrument_of
from tests.unit.simulation.trial import BTC, BUY, SELL, request_of

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import MINUTE_MS, Timeframe, Venue
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.events import AmendOrder, BarClosed, FundingSettlement, Ohlc
from perpdesk.domain.order import ClientOrderId, Liquidity, OrderStatus, OrderType
from perpdesk.domain.ports import NeverArrived, Streams, TradingVenue
from perpdesk.domain.streams import (
    AccountSynchronized,
    CandleUpdated,
    FundingPaid,
    MarkChanged,
    StreamEvent,
    StreamKind,
    Subscription,
)
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillCause,
    FillReport,
    IncomeKind,
    OrderReport,
    PositionMode,
    PositionReport,
)
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.venues.feed import BoundedFeed
from perpdesk.venues.simulated import SimulatedVenue

D = Decimal
LIMIT, STOP = OrderType.LIMIT, OrderType.STOP_MARKET


class Market:
    """A simulated venue with ten thousand and 10x, and a way to move its price."""

    def __init__(self, venue: Venue = Venue.BINANCE, **settings: Any) -> None:
        instruments = {name: instrument_of(venue, name) for name in (BTC, "ETHUSDT")}
        self.venue = SimulatedVenue(
            Exchange(
                instruments,
                ExchangeSettings(initial_capital=D(10_000), leverage=D(10), **settings),
            )
        )
        self.next_ms = 0

    def flat(self, price: int, symbol: str = BTC, **more: Any) -> None:
        self.bar((price, price, price, price), symbol, **more)

    def bar(self, prices: Sequence[int], symbol: str = BTC, **more: Any) -> None:
        first, high, low, last = (D(price) for price in prices)
        ohlc = Ohlc(open=first, high=high, low=low, close=last)
        self.venue.advance(
            BarClosed(
                symbol=symbol,
                ts_ms=self.next_ms,
                close_ms=self.next_ms + MINUTE_MS,
                last=ohlc,
                mark=ohlc,
                volume=D(more.pop("volume", 1000)),
                **more,
            )
        )
        self.next_ms += MINUTE_MS


def waiting(feed: Any) -> list[StreamEvent]:
    """Return what the feed holds now."""
    assert isinstance(feed, BoundedFeed)
    events = []
    while (event := feed._pop()) is not None:
        events.append(event)
    return events


def id_of(text: str) -> ClientOrderId:
    return ClientOrderId(text)


def test_it_is_a_trading_venue_and_streams() -> None:
    venue = Market().venue
    trading: TradingVenue = venue
    streams: Streams = venue
    assert trading.venue is Venue.BINANCE
    assert streams is not None


async def test_a_market_order_is_accepted_and_fills_on_the_next_bar() -> None:
    market = Market()
    market.flat(100)
    report = await market.venue.place(request_of("entry", BUY, "2"))
    assert (report.status, report.client_order_id) == (OrderStatus.ACCEPTED, "entry")
    assert await market.venue.open_orders() == (report,)
    market.flat(101)
    found = await market.venue.find(BTC, id_of("entry"))
    assert found is not None
    assert (found.status, found.filled_quantity, found.average_price) == (
        OrderStatus.FILLED, D(2), D(101),
    )  # fmt: skip
    assert await market.venue.open_orders() == ()
    (fill,) = await market.venue.fills(BTC, since_ms=0)
    # 2 x 101 at the taker rate of 0.0005.
    assert (fill.client_order_id, fill.price, fill.fee) == ("entry", D(101), D("0.101"))
    assert fill.liquidity is Liquidity.TAKER
    assert fill.ts_event_ms == MINUTE_MS
    assert await market.venue.fills(BTC, since_ms=MINUTE_MS + 1) == ()
    (position,) = await market.venue.positions()
    assert (position.signed_quantity, position.entry_price) == (D(2), D(101))
    # 202 / 10 are set aside.
    assert (position.isolated_margin, position.leverage) == (D("20.2"), D(10))


async def test_a_refusal_carries_the_venues_own_code_and_leaves_no_order() -> None:
    market = Market()
    market.flat(100)
    with pytest.raises(VenueRejected) as refused:
        await market.venue.place(request_of("x", BUY, "0.0005"))
    assert refused.value.code == "-4023"
    assert await market.venue.find(BTC, id_of("x")) is None
    assert await market.venue.resolve(BTC, id_of("x"), sent_ms=0) == NeverArrived(
        client_order_id=id_of("x")
    )


async def test_a_used_client_id_is_refused_and_the_first_order_stays_as_it_is() -> None:
    market = Market()
    market.flat(100)
    first = await market.venue.place(request_of("a", BUY, kind=LIMIT, price="90"))
    with pytest.raises(VenueRejected) as refused:
        await market.venue.place(request_of("a", BUY, kind=LIMIT, price="80"))
    assert refused.value.code == "-4116"
    assert await market.venue.find(BTC, id_of("a")) == first


async def test_bybit_refusals_are_in_bybits_words() -> None:
    market = Market(Venue.BYBIT)
    market.flat(100)
    with pytest.raises(VenueRejected) as refused:
        await market.venue.cancel(BTC, id_of("nothing"))
    assert refused.value.code == "110001"


async def test_orders_of_a_batch_have_each_their_own_fate() -> None:
    market = Market()
    market.flat(100)
    good, bad, late = await market.venue.place_batch(
        [
            request_of("a", BUY, kind=LIMIT, price="90"),
            request_of("b", BUY, "0"),
            request_of("c", BUY, kind=LIMIT, price="80"),
        ]
    )
    assert isinstance(good, OrderReport)
    assert isinstance(bad, VenueRejected)
    assert isinstance(late, OrderReport)


async def test_a_resting_order_is_amended_and_canceled() -> None:
    market = Market()
    market.flat(100)
    await market.venue.place(request_of("a", BUY, kind=LIMIT, price="90"))
    changed = await market.venue.amend(
        BTC, AmendOrder(client_order_id=id_of("a"), quantity=D(2), price=D(91))
    )
    assert (changed.quantity, changed.price, changed.status) == (D(2), D(91), OrderStatus.ACCEPTED)
    gone = await market.venue.cancel(BTC, id_of("a"))
    assert gone.status is OrderStatus.CANCELED
    with pytest.raises(VenueRejected) as refused:
        await market.venue.cancel(BTC, id_of("a"))
    assert refused.value.code == "-2011"


async def test_an_order_is_not_found_nor_canceled_under_another_symbol() -> None:
    market = Market()
    market.flat(100)
    await market.venue.place(request_of("a", BUY, kind=LIMIT, price="90"))
    assert await market.venue.find("ETHUSDT", id_of("a")) is None
    with pytest.raises(VenueRejected):
        await market.venue.cancel("ETHUSDT", id_of("a"))
    with pytest.raises(VenueRejected) as refused:
        await market.venue.cancel_all("NOPE")
    assert refused.value.code == "-1121"


async def test_cancel_all_is_of_one_symbol_and_takes_conditional_orders_too() -> None:
    market = Market()
    market.flat(100)
    market.flat(100, "ETHUSDT")
    await market.venue.place(request_of("a", BUY, kind=LIMIT, price="90"))
    await market.venue.place(request_of("b", BUY, kind=STOP, trigger="110"))
    await market.venue.place(request_of("c", BUY, kind=LIMIT, price="90", symbol="ETHUSDT"))
    await market.venue.cancel_all(BTC)
    assert [each.client_order_id for each in await market.venue.open_orders()] == ["c"]
    assert await market.venue.open_orders(BTC) == ()


async def test_the_accounts_feed_begins_with_all_that_is_known_and_goes_on_with_what_happens() -> (
    None
):
    market = Market()
    market.flat(100)
    resting = await market.venue.place(request_of("rest", BUY, kind=LIMIT, price="50"))
    async with market.venue.account() as feed:
        await market.venue.place(request_of("entry", BUY, "1"))
        market.flat(100)
        events = waiting(feed)
    first = events[0]
    assert isinstance(first, AccountSynchronized)
    assert first.orders == (resting,)
    assert first.balances[0].wallet == D(10_000)
    told = [type(event) for event in events[1:]]
    assert told == [OrderReport, OrderReport, FillReport, PositionReport, BalanceReport]
    accepted, filled, _, position, balance = events[1:]
    assert isinstance(accepted, OrderReport)
    assert accepted.status is OrderStatus.ACCEPTED
    assert isinstance(filled, OrderReport)
    assert filled.status is OrderStatus.FILLED
    assert isinstance(position, PositionReport)
    assert position.signed_quantity == 1
    assert isinstance(balance, BalanceReport)
    assert balance.wallet == D("9999.95")
    market.flat(100)
    assert waiting(feed) == []


async def test_a_partial_fill_is_told_as_such() -> None:
    market = Market(max_volume_share=D("0.5"))
    market.flat(100)
    await market.venue.place(request_of("entry", BUY, "2"))
    market.flat(100, volume=2)
    report = await market.venue.find(BTC, id_of("entry"))
    assert report is not None
    assert (report.status, report.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, D(1))
    market.flat(103, volume=2)
    report = await market.venue.find(BTC, id_of("entry"))
    assert report is not None
    assert (report.status, report.average_price) == (OrderStatus.FILLED, D("101.5"))


async def test_a_stop_triggers_and_fills_and_the_flat_position_is_told() -> None:
    market = Market()
    market.flat(100)
    await market.venue.place(request_of("entry", BUY, "1"))
    market.flat(100)
    await market.venue.place(
        request_of("stop", SELL, "1", kind=STOP, trigger="95", reduce_only=True)
    )
    async with market.venue.account() as feed:
        market.bar((100, 100, 94, 94))
        events = waiting(feed)[1:]
    statuses = [event.status for event in events if isinstance(event, OrderReport)]
    assert statuses == [OrderStatus.TRIGGERED, OrderStatus.FILLED]
    (position,) = (event for event in events if isinstance(event, PositionReport))
    assert position.signed_quantity == 0
    assert position.entry_price is None
    assert await market.venue.positions() == ()


async def test_funding_and_fees_are_in_the_income_and_add_up_to_the_balance() -> None:
    market = Market()
    market.flat(100)
    await market.venue.place(request_of("entry", BUY, "1"))
    market.flat(100)
    async with market.venue.account() as feed:
        settlement = FundingSettlement(ts_ms=market.next_ms, rate=D("0.001"), mark_price=D(100))
        market.flat(100, funding=(settlement,))
        paid = [event for event in waiting(feed) if isinstance(event, FundingPaid)]
    assert [(each.amount, each.asset) for each in paid] == [(D("-0.1"), "USDT")]
    await market.venue.place(request_of("exit", SELL, "1", reduce_only=True))
    market.flat(110)
    rows = await market.venue.income(since_ms=0)
    assert [(row.kind, row.amount) for row in rows] == [
        (IncomeKind.TRANSFER, D(10_000)),
        (IncomeKind.FEE, D("-0.05")),
        (IncomeKind.FUNDING, D("-0.1")),
        (IncomeKind.REALIZED_PNL, D(10)),
        (IncomeKind.FEE, D("-0.055")),
    ]
    assert len({row.income_id for row in rows}) == len(rows)
    (balance,) = await market.venue.balances()
    assert balance.wallet == sum(row.amount for row in rows) == D("10009.795")
    assert balance.available == balance.wallet
    assert [row.kind for row in await market.venue.income(since_ms=rows[3].ts_ms)] == [
        IncomeKind.REALIZED_PNL, IncomeKind.FEE,
    ]  # fmt: skip


async def test_a_liquidation_is_a_fill_of_the_venues_own() -> None:
    market = Market()
    market.flat(100)
    await market.venue.place(request_of("entry", BUY, "200"))
    market.flat(100)
    market.bar((100, 100, 50, 50))
    fills = await market.venue.fills(BTC, since_ms=0)
    forced = [fill for fill in fills if fill.cause is FillCause.LIQUIDATION]
    assert forced
    assert {fill.client_order_id for fill in forced} == {""}
    assert sum(fill.quantity for fill in forced) == 200


async def test_settings_are_read_and_changed_and_unchanged_is_success() -> None:
    market = Market()
    market.flat(100)
    venue = market.venue
    await venue.set_leverage(BTC, D(20))
    await venue.set_leverage(BTC, D(20))
    await venue.set_margin_mode(BTC, MarginMode.CROSS)
    await venue.set_margin_mode(BTC, MarginMode.CROSS)
    await venue.set_position_mode(PositionMode.ONE_WAY)
    found = await venue.settings(BTC)
    assert (found.leverage, found.margin_mode) == (D(20), MarginMode.CROSS)
    assert (await venue.settings("ETHUSDT")).leverage == D(10)
    with pytest.raises(VenueRejected) as refused:
        await venue.set_leverage(BTC, D(500))
    assert refused.value.code == "-2027"
    with pytest.raises(VenueRejected):
        await venue.set_position_mode(PositionMode.HEDGE)
    assert (await venue.permissions()).can_withdraw is False


async def test_bars_are_the_candles_and_marks_of_its_market() -> None:
    market = Market()
    minute, hour = Timeframe.parse("1m"), Timeframe.parse("1h")
    subscriptions = [
        Subscription(kind=StreamKind.CANDLES, symbol=BTC, timeframe=minute),
        Subscription(kind=StreamKind.CANDLES, symbol=BTC, timeframe=hour),
        Subscription(kind=StreamKind.MARK, symbol=BTC),
    ]
    async with market.venue.market(subscriptions) as feed:
        market.bar((100, 105, 99, 101))
        market.flat(7, "ETHUSDT")
        candle, mark = waiting(feed)
    assert isinstance(candle, CandleUpdated)
    assert (candle.ts_ms, candle.high, candle.is_closed) == (0, 105.0, True)
    assert isinstance(mark, MarkChanged)
    assert mark.mark_price == 101


async def test_what_bars_do_not_have_cannot_be_subscribed_to() -> None:
    market = Market()
    with pytest.raises(UsageRefused, match="no trades"):
        async with market.venue.market([Subscription(kind=StreamKind.TRADES, symbol=BTC)]):
            pass
