"""Smart Money Concepts on a market drawn by hand.

The swing high of row 1 (13) is broken by row 5; the leg's origin is row 3 (low 8), itself the last
falling candle before the rise, so the order block is 8 .. 11. Row 5 leaves a gap above row 3. Row 7
touches the block but falls; row 8 touches it and rises.
"""

import numpy as np
import pytest
from tests.unit.strategies.drawing import drawn

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import SignalArrays
from perpdesk.strategies.builtin.smart_money.fair_value_gaps import bullish_gaps
from perpdesk.strategies.builtin.smart_money.liquidity import bullish_sweeps
from perpdesk.strategies.builtin.smart_money.order_blocks import bullish_block
from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.builtin.smart_money.structure import Break, breaks_of
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts

Bar = tuple[float, float, float, float]

MARKET: list[Bar] = [
    (10, 11, 9.5, 10),
    (10, 13, 10, 12),
    (12, 12, 10, 10.5),
    (10.5, 11, 8, 9),
    (9, 12, 9, 12),
    (12, 15, 12, 14),
    (14, 14.5, 12, 12.5),
    (12.5, 12.5, 10, 10.5),
    (10.5, 12, 10.2, 11.5),
    (11.5, 13, 10.5, 12.5),
]
SWEPT: list[Bar] = [(10, 10.5, 9.2, 10), (10, 10.2, 8.5, 9.5), (9.5, 10.6, 9.3, 10)]
"""Three bars before the market: a swing low at 8.5, which row 3 takes and gives back."""

PARAMS = SmartMoneyConcepts.Params(swing_length=1, lookback=10, atr_period=1, stop_atr=0)


def changed(row: int, bar: Bar) -> list[Bar]:
    return [*MARKET[:row], bar, *MARKET[row + 1 :]]


def upside_down(rows: list[Bar], around: float = 15) -> list[Bar]:
    return [
        (2 * around - o, 2 * around - low, 2 * around - high, 2 * around - c)
        for o, high, low, c in rows
    ]


def prices_of(candles: Candles) -> Prices:
    return Prices(
        open=candles.open,
        high=candles.high,
        low=candles.low,
        close=candles.close,
        atr=np.ones(len(candles)),
    )


def signals(rows: list[Bar], **update: object) -> SignalArrays:
    return SmartMoneyConcepts.signals(drawn(rows), PARAMS.model_copy(update=update))


def entries(rows: list[Bar], **update: object) -> dict[int, int]:
    arrays = signals(rows, **update)
    return {int(row): int(arrays.side[row]) for row in np.flatnonzero(arrays.side)}


def test_a_return_to_the_order_block_is_an_entry_once() -> None:
    arrays = signals(MARKET)
    assert list(np.flatnonzero(arrays.side)) == [8]
    assert arrays.side[8] == 1
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[8] == 8.0
    assert arrays.take_profits[0][8] == 22.0  # 11.5 + 3 x 3.5
    assert arrays.reason_code is not None
    assert arrays.reasons[arrays.reason_code[8]] == (
        "price returned to a bullish order block after a break of structure"
    )


def test_a_short_is_the_mirror_of_a_long() -> None:
    arrays = signals(upside_down(MARKET))
    assert list(np.flatnonzero(arrays.side)) == [8]
    assert arrays.side[8] == -1
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[8] == 22.0
    assert arrays.take_profits[0][8] == 8.0


def test_the_stop_lies_beyond_the_block_by_its_buffer() -> None:
    arrays = signals(MARKET, stop_atr=1.0)
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[8] == pytest.approx(6.2)  # the true range of row 8 is 1.8


def test_without_a_break_there_is_no_entry() -> None:
    assert entries(changed(5, (12, 15, 12, 12.9))) == {}  # row 5 closes below the swing high


def test_without_a_gap_there_is_no_entry_unless_gaps_are_not_required() -> None:
    overlapping = changed(5, (12, 15, 10.9, 14))
    assert entries(overlapping) == {}
    assert entries(overlapping, require_gap=False) == {8: 1}


def test_a_gap_that_is_too_small_does_not_count() -> None:
    # The gap of row 5 is 12 - 11 = 1, and its true range 3.
    assert entries(MARKET, gap_atr=0.34) == {}
    assert entries(MARKET, gap_atr=0.33) == {8: 1}


def test_a_required_sweep_needs_a_swing_low_that_was_taken_and_given_back() -> None:
    assert entries(MARKET, require_sweep=True) == {}
    assert entries(SWEPT + MARKET, require_sweep=True) == {11: 1}


def test_a_required_turn_needs_a_trend_to_turn() -> None:
    assert entries(MARKET, require_turn=True) == {}


def test_confirmations_raise_the_confidence() -> None:
    plain, swept = signals(MARKET), signals(SWEPT + MARKET)
    assert plain.confidence is not None
    assert swept.confidence is not None
    assert plain.confidence[8] == pytest.approx(0.70)  # a gap
    assert swept.confidence[11] == pytest.approx(0.85)  # a gap and a sweep


def test_a_block_expires() -> None:
    assert entries(MARKET, block_bars=2) == {}
    assert entries(MARKET, block_bars=3) == {8: 1}


def test_a_close_below_the_block_ends_it_and_turns_the_structure() -> None:
    rows = changed(7, (12.5, 12.5, 7, 7.5))
    arrays = signals(rows)
    assert not arrays.side.any()
    assert arrays.exit_side is not None
    assert list(np.flatnonzero(arrays.exit_side)) == [7]
    assert arrays.exit_side[7] == 1  # longs are closed
    assert arrays.reason_code is not None
    assert arrays.reasons[arrays.reason_code[7]] == "the structure changed its character downwards"


def test_the_structure_tells_a_break_along_the_trend_from_a_turn() -> None:
    rows = changed(7, (12.5, 12.5, 7, 7.5))
    found = breaks_of(prices_of(drawn(rows)), reach=1, lookback=10)
    assert found == [
        Break(row=5, swing_row=1, side=1, is_turn=False),
        Break(row=7, swing_row=3, side=-1, is_turn=True),
    ]


def test_a_swing_is_forgotten_after_the_lookback() -> None:
    prices = prices_of(drawn(MARKET))
    assert breaks_of(prices, reach=1, lookback=3) == []
    assert [found.row for found in breaks_of(prices, reach=1, lookback=4)] == [5]


def test_a_level_is_broken_once() -> None:
    rows = [*MARKET[:6], (14, 14.5, 13.5, 14.2), (14.2, 14.8, 14, 14.5)]
    assert [found.row for found in breaks_of(prices_of(drawn(rows)), reach=1, lookback=10)] == [5]


def test_the_order_block_reaches_from_the_origin_to_the_last_falling_candle() -> None:
    # Now the origin rises itself: the last falling candle before it is row 2, with its high of 12.
    rows = changed(3, (8.5, 11, 8, 9))
    block = bullish_block(prices_of(drawn(rows)), Break(row=5, swing_row=1, side=1, is_turn=False))
    assert block is not None
    assert (block.origin_row, block.bottom, block.top) == (3, 8.0, 12.0)


def test_a_leg_without_a_falling_candle_has_no_order_block() -> None:
    rising = [(o, max(h, o + 1), low, o + 0.5) for o, h, low, _ in MARKET]
    block = bullish_block(
        prices_of(drawn(rising)), Break(row=5, swing_row=1, side=1, is_turn=False)
    )
    assert block is None


def test_a_gap_is_complete_with_its_third_bar() -> None:
    found = bullish_gaps(prices_of(drawn(MARKET)), minimum_atr=0.1)
    assert list(np.flatnonzero(found)) == [5]


def test_a_sweep_closes_back_above_and_uses_the_level_up() -> None:
    rows = [*SWEPT, (10, 10.5, 8.4, 9), (9, 10, 8.2, 9.5)]
    found = bullish_sweeps(prices_of(drawn(rows)), reach=1, lookback=10)
    assert list(np.flatnonzero(found)) == [3]


def test_a_close_below_the_level_is_no_sweep() -> None:
    rows = [*SWEPT, (10, 10.5, 8.0, 8.2), (8.2, 10, 8.1, 9.5)]
    found = bullish_sweeps(prices_of(drawn(rows)), reach=1, lookback=10)
    assert not found.any()


def test_the_concepts_of_a_mirrored_market_are_those_of_the_market_upside_down() -> None:
    prices = prices_of(drawn(MARKET))
    twice = prices.mirrored().mirrored()
    assert (twice.low == prices.low).all()
    assert (prices.mirrored().high == -prices.low).all()
