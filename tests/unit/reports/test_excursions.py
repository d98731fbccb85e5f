"""MAE and MFE: what was seen while the trade was open, and nothing else."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.reports.builders import HOUR_MS, MIDNIGHT_MS, EventLog, candles_of

from perpdesk.domain.order import OrderPurpose, Side
from perpdesk.reports.trades import RoundTrip, round_trips, with_excursions

BARS = candles_of(
    [
        (100, 101, 99, 100),
        (100, 108, 97, 104),
        (104, 112, 90, 95),
        (95, 200, 1, 150),
    ]
)


def trip_of(
    *,
    entry_ms: int,
    exit_ms: int,
    exit_price: str,
    reason: OrderPurpose,
    side: Side = Side.BUY,
    entry_price: str = "100",
) -> RoundTrip:
    log = EventLog()
    log.fill(side, "2", entry_price, ts_ms=entry_ms)
    log.fill(side.opposite, "2", exit_price, purpose=reason, ts_ms=exit_ms)
    return round_trips(log.events)[0]


def at(bar: int, *, close: bool = False) -> int:
    """Return the open of a bar, or the millisecond at which fills within it are booked."""
    return MIDNIGHT_MS + HOUR_MS * (bar + close) - close


@pytest.mark.parametrize(
    ("side", "exit_bar", "exit_price", "reason", "mae", "mfe"),
    [
        # Left at the open of bar 2: that bar's 112 and 90 came later.
        (Side.BUY, at(2), "104", OrderPurpose.EXIT, -6, 16),
        # Stopped within bar 2: nothing worse than the stop was seen, nothing better is known.
        (Side.BUY, at(2, close=True), "95", OrderPurpose.STOP_LOSS, -10, 16),
        # The target within bar 2: its low came first, its high not beyond the target.
        (Side.BUY, at(2, close=True), "110", OrderPurpose.TAKE_PROFIT, -20, 20),
        (Side.SELL, at(2, close=True), "92", OrderPurpose.TAKE_PROFIT, -24, 16),
        # The bar opened beyond the target: the trade was over at once.
        (Side.BUY, at(2), "104", OrderPurpose.TAKE_PROFIT, -6, 16),
        # Closed out with the last bar: all of it was lived through.
        (Side.BUY, at(4), "150", OrderPurpose.CLOSE_OUT, -198, 200),
        # The same, booked at the last millisecond of that bar.
        (Side.BUY, at(3, close=True), "150", OrderPurpose.CLOSE_OUT, -198, 200),
        (Side.SELL, at(3, close=True), "150", OrderPurpose.CLOSE_OUT, -200, 198),
    ],
)
def test_excursions_count_what_was_seen_while_open(
    side: Side, exit_bar: int, exit_price: str, reason: OrderPurpose, mae: float, mfe: float
) -> None:
    trip = trip_of(
        entry_ms=at(0), exit_ms=exit_bar, exit_price=exit_price, reason=reason, side=side
    )
    (measured,) = with_excursions([trip], {"BTCUSDT": BARS})
    assert (measured.mae, measured.mfe) == (mae, mfe)
    assert replace(measured, mae=None, mfe=None) == trip


@pytest.mark.parametrize(("stop", "mae"), [(None, -20), (Decimal(95), -10)])
def test_an_entry_within_a_bar_counts_its_close_and_its_adverse_side(
    stop: Decimal | None, mae: float
) -> None:
    trip = trip_of(
        entry_ms=at(2, close=True), exit_ms=at(3), exit_price="96", reason=OrderPurpose.EXIT
    )
    (measured,) = with_excursions([replace(trip, stop_loss=stop)], {"BTCUSDT": BARS})
    assert (measured.mae, measured.mfe) == (mae, 0)


def test_an_entry_and_exit_within_one_bar_know_only_their_prices() -> None:
    trip = trip_of(
        entry_ms=at(3),
        exit_ms=at(3, close=True),
        entry_price="95",
        exit_price="90",
        reason=OrderPurpose.STOP_LOSS,
    )
    (measured,) = with_excursions([trip], {"BTCUSDT": BARS})
    assert (measured.mae, measured.mfe) == (-10, 0)


def test_a_trip_entered_within_the_bar_of_its_close_out_does_not_know_all_of_that_bar() -> None:
    trip = trip_of(
        entry_ms=at(3, close=True),
        exit_ms=at(3, close=True),
        entry_price="140",
        exit_price="150",
        reason=OrderPurpose.CLOSE_OUT,
    )
    (measured,) = with_excursions([trip], {"BTCUSDT": BARS})
    assert (measured.mae, measured.mfe) == (-278, 20)


def test_an_open_trip_counts_every_bar_to_the_end() -> None:
    log = EventLog()
    log.fill(Side.SELL, "1", "100", ts_ms=at(1))
    (measured,) = with_excursions(round_trips(log.events), {"BTCUSDT": BARS})
    assert (measured.mae, measured.mfe) == (-100, 99)


def test_trips_without_candles_stay_unmeasured() -> None:
    trip = trip_of(entry_ms=at(0), exit_ms=at(1), exit_price="100", reason=OrderPurpose.EXIT)
    empty = candles_of([], symbol="BTCUSDT")
    assert with_excursions([trip], {}) == [trip]
    assert with_excursions([trip], {"BTCUSDT": empty}) == [trip]
    assert with_excursions([], {"BTCUSDT": BARS}) == []
