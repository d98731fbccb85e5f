"""Candle lines and account reports converge, whatever order the messages come in."""

from decimal import Decimal
from itertools import permutations

import numpy as np
import pytest

from perpdesk.domain.candles import MINUTE_MS, Candles, Timeframe, Venue
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderStatus,
    OrderType,
    Side,
)
from perpdesk.domain.streams import CandleUpdated
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.bybit.account_order import AccountOrder
from perpdesk.venues.bybit.candle_line import CandleLine

ONE = Timeframe.parse("1m")
D = Decimal


def update(minute: int, *, closed: bool = False) -> CandleUpdated:
    return CandleUpdated(
        symbol="BTCUSDT",
        timeframe=ONE,
        ts_ms=minute * MINUTE_MS,
        open=1,
        high=1,
        low=1,
        close=1,
        volume=1,
        is_closed=closed,
        ts_event_ms=0,
        ts_init_ms=0,
    )


def from_rest(*minutes: int) -> Candles:
    column = np.ones(len(minutes))
    return Candles(
        venue=Venue.BYBIT,
        symbol="BTCUSDT",
        timeframe=ONE,
        ts_ms=np.array([minute * MINUTE_MS for minute in minutes], np.int64),
        open=column,
        high=column,
        low=column,
        close=column,
        volume=column,
    )


def told(updates: list[CandleUpdated]) -> list[tuple[int, bool]]:
    return [(one.ts_ms // MINUTE_MS, one.is_closed) for one in updates]


@pytest.fixture
def line() -> CandleLine:
    return CandleLine("BTCUSDT", ONE, now_ms=10 * MINUTE_MS + 30_000)


def test_candle_is_closed_once(line: CandleLine) -> None:
    assert told(line.take(update(10))) == [(10, False)]
    assert told(line.take(update(10, closed=True))) == [(10, True)]
    assert told(line.take(update(10, closed=True))) == []
    assert told(line.take(update(10))) == []


def test_newer_candle_waits_for_a_late_closing_message(line: CandleLine) -> None:
    assert told(line.take(update(11))) == []
    assert told(line.take(update(10, closed=True))) == [(10, True), (11, False)]


def test_candle_before_the_feed_opened_is_not_delivered(line: CandleLine) -> None:
    assert told(line.take(update(9, closed=True))) == []


def test_gap_that_the_venue_has_stays_a_gap(line: CandleLine) -> None:
    line.take(update(14))
    delivered = line.fill(from_rest(11, 13), asked_until_ms=14 * MINUTE_MS, ts_init_ms=0)
    assert told(delivered) == [(11, True), (13, True), (14, False)]


def test_nothing_is_skipped_where_rest_has_nothing_yet(line: CandleLine) -> None:
    line.take(update(11))
    assert line.fill(from_rest(), asked_until_ms=11 * MINUTE_MS, ts_init_ms=0) == []
    assert told(line.take(update(10, closed=True))) == [(10, True), (11, False)]


def test_candle_is_overdue_after_its_end_and_the_grace(line: CandleLine) -> None:
    assert not line.overdue(11 * MINUTE_MS + 1_999, grace_ms=2_000)
    assert line.overdue(11 * MINUTE_MS + 2_000, grace_ms=2_000)


def fill(trade_id: str, quantity: str) -> FillReport:
    return FillReport(
        symbol="BTCUSDT",
        trade_id=trade_id,
        order_id=OrderId("o"),
        client_order_id=ClientOrderId("c"),
        side=Side.BUY,
        quantity=D(quantity),
        price=D(100),
        liquidity=Liquidity.TAKER,
        fee=D(0),
        fee_asset="USDT",
        realized_pnl=None,
        ts_event_ms=1,
    )


def order(status: OrderStatus, filled: str, ts_ms: int) -> OrderReport:
    return OrderReport(
        symbol="BTCUSDT",
        client_order_id=ClientOrderId("c"),
        order_id=OrderId("o"),
        status=status,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(1),
        filled_quantity=D(filled),
        ts_event_ms=ts_ms,
    )


MESSAGES = (
    fill("a", "0.4"),
    fill("b", "0.3"),
    order(OrderStatus.ACCEPTED, "0", 1),
    order(OrderStatus.PARTIALLY_FILLED, "0.4", 2),
    order(OrderStatus.CANCELED, "0.7", 4),
)


@pytest.mark.parametrize("messages", list(permutations(MESSAGES)))
def test_every_order_of_messages_ends_the_same_with_fills_first(
    messages: tuple[FillReport | OrderReport, ...],
) -> None:
    account = AccountOrder()
    delivered: list[FillReport | OrderReport] = []
    for message in (*messages, *messages):  # and everything twice
        if isinstance(message, FillReport):
            delivered += account.fill(message)
        else:
            delivered += account.order(message)
    fills = [one.trade_id for one in delivered if isinstance(one, FillReport)]
    assert sorted(fills) == ["a", "b"]
    orders = [one for one in delivered if isinstance(one, OrderReport)]
    assert orders[-1] == MESSAGES[4]
    assert [one.filled_quantity for one in orders] == sorted(one.filled_quantity for one in orders)
    for place, one in enumerate(delivered):
        if isinstance(one, OrderReport):
            before = [each for each in delivered[:place] if isinstance(each, FillReport)]
            assert sum((each.quantity for each in before), start=D(0)) >= one.filled_quantity
    assert account.waiting() == ()


def test_closed_order_stays_closed() -> None:
    account = AccountOrder()
    account.order(order(OrderStatus.CANCELED, "0", 1))
    assert account.order(order(OrderStatus.ACCEPTED, "0", 9)) == []


def test_what_a_snapshot_told_does_not_come_again() -> None:
    account = AccountOrder()
    account.synchronize([order(OrderStatus.PARTIALLY_FILLED, "0.4", 2)], [fill("a", "0.4")])
    assert account.fill(fill("a", "0.4")) == []
    assert account.order(order(OrderStatus.PARTIALLY_FILLED, "0.4", 2)) == []
    assert account.fill(fill("b", "0.3")) == [fill("b", "0.3")]


def test_order_whose_fills_nobody_has_is_told_as_it_is() -> None:
    account = AccountOrder()
    report = order(OrderStatus.FILLED, "1", 3)
    assert account.order(report) == []
    assert account.waiting() == (report,)
    assert account.give_up(OrderId("o")) == [report]
