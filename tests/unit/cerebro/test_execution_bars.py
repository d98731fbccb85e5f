"""Execution bars: which mark, which funding, where."""

import numpy as np
import pytest
from tests.unit.cerebro.builders import H1, M5, T0, D, candles_of, flat, funding_of

from perpdesk.cerebro.execution import execution_bars, price_atoms
from perpdesk.domain.candles import HOUR_MS, MINUTE_MS
from perpdesk.domain.numbers import amount_of

WAVE = [(100, 110, 90, 105), (105, 120, 104, 118), (118, 119, 80, 85)]


def column(values: object) -> list[float]:
    return [float(amount_of(int(each))) for each in np.asarray(values)]


def test_prices_become_whole_atoms_exactly() -> None:
    prices = np.array([0.1, 0.30000001, 61234.56789, 0.00000001, 89_999_999.5])
    expected = [10_000_000, 30_000_001, 6_123_456_789_000, 1, 8_999_999_950_000_000]
    assert price_atoms(prices).tolist() == expected


def test_without_mark_last_price_stands_in_and_coverage_says_so() -> None:
    bars = execution_bars(candles_of(WAVE), mark=None, funding=None)
    assert bars.mark is bars.last
    assert bars.mark_coverage == 0.0
    assert bars.bar(1).mark == bars.bar(1).last


def test_marks_of_the_same_timeframe_are_taken_as_they_are() -> None:
    mark = candles_of([(99, 101, 98, 100), (104, 106, 103, 105), (110, 112, 90, 91)])
    bars = execution_bars(candles_of(WAVE), mark=mark, funding=None)
    assert column(bars.mark.open) == [99, 104, 110]
    assert column(bars.mark.high) == [101, 106, 112]
    assert column(bars.mark.low) == [98, 103, 90]
    assert column(bars.mark.close) == [100, 105, 91]
    assert bars.mark_coverage == 1.0


def test_where_a_mark_is_missing_last_price_stands_in_for_that_bar_alone() -> None:
    mark = candles_of([(99, 101, 98, 100), (110, 112, 90, 91)], skip=[1])
    bars = execution_bars(candles_of(WAVE), mark=mark, funding=None)
    assert column(bars.mark.close) == [100, 118, 91]
    assert bars.mark_coverage == pytest.approx(2 / 3)


def test_coarser_marks_hold_last_price_to_their_range() -> None:
    mark = candles_of([(100, 115, 88, 100)], timeframe=H1)
    bars = execution_bars(candles_of(WAVE), mark=mark, funding=None)
    assert column(bars.mark.high) == [110, 115, 115]
    assert column(bars.mark.low) == [90, 104, 88]
    assert column(bars.mark.close) == [105, 115, 88]
    assert bars.mark_coverage == 1.0


def test_a_coarse_mark_bounds_only_its_own_hour() -> None:
    candles = flat(24, 100.0)
    mark = candles_of([(100, 100, 100, 100), (90, 95, 85, 90)], timeframe=H1)
    bars = execution_bars(candles, mark=mark, funding=None)
    assert column(bars.mark.close) == [100] * 12 + [95] * 12


def test_bars_after_the_last_coarse_mark_are_not_covered() -> None:
    mark = candles_of([(90, 95, 85, 90)], timeframe=H1)
    bars = execution_bars(flat(18, 100.0), mark=mark, funding=None)
    assert column(bars.mark.close) == [95] * 12 + [100] * 6
    assert bars.mark_coverage == pytest.approx(12 / 18)


# Funding.


def test_a_settlement_lies_in_the_bar_that_holds_its_time_ms_past_the_hour_too() -> None:
    settled = funding_of((T0, 0.1), (T0 + 10 * MINUTE_MS + 7, 0.2), (T0 + 15 * MINUTE_MS - 1, 0.3))
    bars = execution_bars(flat(6), mark=None, funding=settled)
    assert bars.funding_bars == [0, 2]
    assert [each.ts_ms - T0 for each in bars.bar(2).funding] == [600_007, 899_999]
    assert [str(each.rate) for each in bars.bar(2).funding] == ["0.2", "0.3"]
    assert bars.bar(1).funding == ()
    assert [bars.next_funding(index) for index in (0, 1, 2, 3)] == [0, 2, 2, None]


def test_settlements_before_the_first_bar_and_after_the_last_belong_to_no_run() -> None:
    settled = funding_of((T0 - 1, 0.1), (T0 + 10 * MINUTE_MS, 0.1))
    bars = execution_bars(flat(2), mark=None, funding=settled)
    assert bars.funding == {}


def test_the_recorded_mark_of_a_settlement_wins() -> None:
    mark = candles_of([(99, 99, 99, 99)] * 6)
    settled = funding_of((T0 + 5 * MINUTE_MS, 0.1), mark=123.456)
    bars = execution_bars(flat(6), mark=mark, funding=settled)
    assert bars.bar(1).funding[0].mark_price == D("123.456")


def test_else_the_open_of_the_mark_candle_that_begins_then_whatever_its_length() -> None:
    mark = candles_of([(97, 99, 95, 96), (93, 94, 92, 93)], timeframe=H1)
    settled = funding_of((T0 + HOUR_MS + 59_999, 0.1))
    bars = execution_bars(flat(24), mark=mark, funding=settled)
    assert bars.bar(12).funding[0].mark_price == D(93)


def test_else_the_mark_at_the_open_of_its_bar() -> None:
    # A minute into the hour the open of the hour no longer tells.
    mark = candles_of([(97, 99, 95, 96), (93, 94, 92, 93)], timeframe=H1)
    settled = funding_of((T0 + HOUR_MS + 60_000, 0.1), (T0 + HOUR_MS + 30 * MINUTE_MS, 0.1))
    bars = execution_bars(flat(24), mark=mark, funding=settled)
    assert bars.bar(12).funding[0].mark_price == D(94)
    assert execution_bars(flat(24), mark=None, funding=settled).bar(18).funding[0].mark_price == D(
        100
    )


def test_a_settlement_in_a_hole_settles_on_the_first_bar_after_it() -> None:
    candles = candles_of([(100, 100, 100, 100)] * 2 + [(80, 80, 80, 80)] * 2, skip=[2, 3])
    mark = candles_of([(70 + n, 70 + n, 70 + n, 70 + n) for n in range(6)])
    settled = funding_of((T0 + 10 * MINUTE_MS, 0.1), (T0 + 17 * MINUTE_MS, 0.2))
    bars = execution_bars(candles, mark=mark, funding=settled)
    assert bars.funding_bars == [2]
    first, second = bars.bar(2).funding
    assert (first.ts_ms, second.ts_ms) == (T0 + 20 * MINUTE_MS, T0 + 20 * MINUTE_MS)
    # 00:10 has a mark candle of its own; 00:17 has none that begins then.
    assert (first.mark_price, second.mark_price) == (D(72), D(74))


def test_a_bar_carries_its_times_and_volume() -> None:
    bar = execution_bars(candles_of(WAVE, volume=12.5), mark=None, funding=None).bar(2)
    assert (bar.ts_ms, bar.close_ms) == (T0 + 2 * M5.duration_ms, T0 + 3 * M5.duration_ms)
    assert (bar.volume, bar.last.high, bar.last.close) == (D("12.5"), D(119), D(85))
