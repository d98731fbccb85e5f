"""Round trips, folded from events."""

from dataclasses import fields
from decimal import Decimal

import pytest
from tests.unit.reports.builders import MIDNIGHT_MS, EventLog

from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.order import OrderPurpose, Side
from perpdesk.domain.signal import PositionSide
from perpdesk.reports.trades import TRADE_COLUMNS, RoundTrip, round_trips

BUY, SELL = Side.BUY, Side.SELL
LATER_MS = MIDNIGHT_MS + 60_000


def bracketed_long() -> EventLog:
    log = EventLog()
    log.accept("entry", BUY, OrderPurpose.ENTRY)
    log.accept("stop", SELL, OrderPurpose.STOP_LOSS, trigger="95", parent="entry")
    log.accept("target", SELL, OrderPurpose.TAKE_PROFIT, price="115", parent="entry")
    return log


def test_a_bracketed_trade_becomes_one_round_trip() -> None:
    log = bracketed_long()
    log.fill(BUY, "2", "100", fee="0.1", slippage="0.02")
    log.fund("-0.3")
    log.fill(
        SELL, "2", "115", purpose=OrderPurpose.TAKE_PROFIT, fee="0.2", pnl="30", ts_ms=LATER_MS
    )
    (trip,) = round_trips(log.events)
    assert trip == RoundTrip(
        trade_id=1,
        symbol="BTCUSDT",
        side=PositionSide.LONG,
        entry_ts_ms=MIDNIGHT_MS,
        exit_ts_ms=LATER_MS,
        quantity=Decimal(2),
        entry_price=Decimal(100),
        exit_price=Decimal(115),
        stop_loss=Decimal(95),
        take_profit=Decimal(115),
        exit_reason=OrderPurpose.TAKE_PROFIT,
        gross_pnl=Decimal(30),
        fees=Decimal("0.3"),
        funding=Decimal("-0.3"),
        slippage_cost=Decimal("0.02"),
        net_pnl=Decimal("29.4"),
        r_multiple=2.94,  # 29.4 over a risk of 5 x 2
        traded_notional=Decimal(430),
    )


def test_adds_and_partial_exits_stay_inside_one_trip() -> None:
    log = EventLog()
    log.fill(SELL, "1", "100")
    log.fill(SELL, "3", "104")
    log.fill(BUY, "1", "90", purpose=OrderPurpose.TAKE_PROFIT, pnl="13")
    log.fill(BUY, "3", "106", purpose=OrderPurpose.STOP_LOSS, pnl="-9", ts_ms=LATER_MS)
    (trip,) = round_trips(log.events)
    assert trip.side is PositionSide.SHORT
    assert [trip.quantity, trip.entry_price, trip.exit_price] == [4, 103, 102]
    assert trip.gross_pnl == 4
    assert trip.exit_reason is OrderPurpose.STOP_LOSS


def test_a_fill_across_zero_ends_one_trip_and_begins_the_next() -> None:
    log = EventLog()
    log.fill(BUY, "1", "100", fee="0.05")
    log.fill(SELL, "4", "103", fee="0.00000010", slippage="0.00000007", pnl="3", order="flip")
    log.fill(BUY, "3", "101", purpose=OrderPurpose.EXIT, pnl="6", ts_ms=LATER_MS)
    closed, opened = round_trips(log.events)
    assert (closed.side, opened.side) == (PositionSide.LONG, PositionSide.SHORT)
    assert closed.exit_reason is OrderPurpose.ENTRY
    assert [trip.quantity for trip in (closed, opened)] == [1, 3]
    assert [trip.gross_pnl for trip in (closed, opened)] == [3, 6]
    # Three quarters of ten atoms is 7.5, of seven 5.25: cut, the closing part takes what remains.
    assert opened.fees == Decimal("0.00000007")
    assert closed.fees == Decimal("0.05000003")
    assert (opened.slippage_cost, closed.slippage_cost) == (Decimal("5e-8"), Decimal("2e-8"))


def test_net_pnl_is_gross_less_fees_plus_funding_to_the_last_digit() -> None:
    log = EventLog()
    log.fill(BUY, "0.003", "63123.4", fee="0.09468510")
    log.fund("-0.01893702")
    log.fund("0.00000001")
    log.fill(SELL, "0.003", "63200.1", fee="0.09480015", pnl="0.2301")
    (trip,) = round_trips(log.events)
    # 0.2301 - (0.09468510 + 0.09480015) - 0.01893702 + 0.00000001
    assert trip.net_pnl == Decimal("0.02167774")
    assert trip.net_pnl == trip.gross_pnl - trip.fees + trip.funding


def test_the_fee_of_a_forced_close_is_a_cost_of_liquidation_and_counted_once() -> None:
    log = EventLog()
    log.fill(BUY, "2", "100", fee="0.05")
    log.fill(SELL, "1", "80", purpose=OrderPurpose.LIQUIDATION, fee="1.5", pnl="-20")
    log.liquidate(fee="1.5", insurance="-0.4")
    log.fill(SELL, "1", "79", purpose=OrderPurpose.LIQUIDATION, fee="1", pnl="-21")
    log.liquidate(fee="1", insurance="0")
    (trip,) = round_trips(log.events)
    assert trip.exit_reason is OrderPurpose.LIQUIDATION
    assert trip.liquidation_cost == Decimal("2.5")
    assert trip.fees == Decimal("2.55")
    assert trip.net_pnl == Decimal("-43.55")


def test_a_stop_moved_before_the_entry_filled_is_the_initial_stop() -> None:
    log = bracketed_long()
    log.amend("stop", trigger="98")
    log.fill(BUY, "1", "100")
    log.amend("stop", trigger="99.5")
    log.fill(SELL, "1", "104", purpose=OrderPurpose.EXIT, pnl="4")
    (trip,) = round_trips(log.events)
    assert trip.stop_loss == 98
    assert trip.r_multiple == 2.0


def test_of_several_legs_the_first_of_each_kind_counts() -> None:
    log = bracketed_long()
    log.accept("target2", SELL, OrderPurpose.TAKE_PROFIT, price="130", parent="entry")
    log.accept("stop2", SELL, OrderPurpose.STOP_LOSS, trigger="90", parent="entry")
    log.amend("target", trigger="116")
    log.amend("target2", trigger="131")
    log.fill(BUY, "1", "100")
    (trip,) = round_trips(log.events)
    assert [trip.stop_loss, trip.take_profit] == [95, 116]


def test_a_stop_placed_after_the_fill_counts_as_the_initial_stop() -> None:
    log = EventLog()
    log.fill(SELL, "1", "100", order="short")
    log.accept("stop", BUY, OrderPurpose.STOP_LOSS, trigger="102", parent="short")
    log.accept("later", BUY, OrderPurpose.STOP_LOSS, trigger="101")
    log.accept("target", BUY, OrderPurpose.TAKE_PROFIT, trigger="90")
    log.fill(BUY, "1", "102", purpose=OrderPurpose.STOP_LOSS, pnl="-2")
    (trip,) = round_trips(log.events)
    assert [trip.stop_loss, trip.take_profit] == [102, 90]
    assert trip.r_multiple == -1.0


def test_the_bracket_of_a_reversal_belongs_to_the_new_trip() -> None:
    log = EventLog()
    log.fill(BUY, "1", "100")
    log.accept("stop", BUY, OrderPurpose.STOP_LOSS, trigger="110", parent="flip")
    log.fill(SELL, "2", "105", order="flip", pnl="5")
    log.fill(BUY, "1", "104", purpose=OrderPurpose.EXIT, pnl="1")
    closed, opened = round_trips(log.events)
    assert (closed.stop_loss, closed.r_multiple) == (None, None)
    assert opened.stop_loss == 110
    assert opened.r_multiple == 0.2


def test_a_trip_that_is_still_open_has_no_exit() -> None:
    log = EventLog()
    log.fill(BUY, "1", "100", fee="0.05")
    (trip,) = round_trips(log.events)
    assert not trip.is_closed
    assert (trip.exit_ts_ms, trip.exit_price, trip.exit_reason) == (None, None, None)
    assert trip.net_pnl == Decimal("-0.05")


def test_trades_of_two_symbols_are_numbered_by_entry_time() -> None:
    btc, eth = EventLog("BTCUSDT"), EventLog("ETHUSDT")
    btc.fill(BUY, "1", "100", ts_ms=LATER_MS)
    eth.fill(BUY, "1", "10", ts_ms=MIDNIGHT_MS)
    trips = round_trips([*btc.events, *eth.events])
    assert [(trip.trade_id, trip.symbol) for trip in trips] == [(1, "ETHUSDT"), (2, "BTCUSDT")]


def test_a_fill_that_contradicts_the_position_stops_the_fold() -> None:
    log = EventLog()
    log.position = Decimal(5)
    log.fill(BUY, "1", "100")
    with pytest.raises(InvariantBroken, match="reports 5 before it"):
        round_trips(log.events)


def test_funding_without_a_position_stops_the_fold() -> None:
    log = EventLog()
    log.fund("1")
    with pytest.raises(InvariantBroken, match="funding 1 of BTCUSDT without a position"):
        round_trips(log.events)


def test_every_column_of_the_trade_file_is_a_field() -> None:
    assert {field.name for field in fields(RoundTrip)} >= set(TRADE_COLUMNS)
    assert len(TRADE_COLUMNS) == 19
