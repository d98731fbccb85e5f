import math
from dataclasses import replace

import backtrader as bt
import numpy as np
import pytest
from tests.unit.strategies.drawing import FIRST_MS, closes, drawn, wandering

from perpdesk.domain.candles import Candles, Timeframe, Values
from perpdesk.strategies import indicators as ind

NAN = math.nan


class _Feed(bt.feed.DataBase):
    params = (("candles", None),)

    def start(self) -> None:
        super().start()
        self._rows = iter(range(len(self.p.candles)))

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        self.lines.datetime[0] = 738_000.0 + row
        for name, column in self.p.candles.columns():
            getattr(self.lines, name)[0] = column[row]
        return True


def by_backtrader(candles: Candles, build: object) -> Values:
    """Return the line that Backtrader's own indicator draws, NaN before its first value."""
    values = np.full(len(candles), NAN)

    class Watch(bt.Strategy):
        def __init__(self) -> None:
            self.line = build(self.data)  # type: ignore[operator]

        def next(self) -> None:
            values[len(self) - 1] = self.line[0]

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(_Feed(candles=candles))
    cerebro.addstrategy(Watch)
    cerebro.run()
    return values


def test_ema_starts_with_the_mean_and_then_moves_by_alpha() -> None:
    # alpha = 2 / (3 + 1) = 0.5; seed (1 + 2 + 3) / 3 = 2; 2 + 0.5 (6 - 2) = 4; 4 + 0.5 (0 - 4)
    result = ind.ema(np.array([1.0, 2.0, 3.0, 6.0, 0.0]), 3)
    np.testing.assert_array_equal(result, [NAN, NAN, 2.0, 4.0, 2.0])


def test_ema_of_an_indicator_starts_after_its_leading_nans() -> None:
    result = ind.ema(np.array([NAN, 1.0, 3.0, 6.0]), 2)
    np.testing.assert_allclose(result, [NAN, NAN, 2.0, 2.0 + 2 / 3 * 4.0], rtol=1e-15)


def test_ema_of_a_flat_market_is_exactly_the_price() -> None:
    assert set(ind.ema(np.full(500, 0.1), 21)[20:]) == {0.1}


@pytest.mark.parametrize("period", [1, 2, 3, 5, 8, 13, 20])
def test_windows_equal_numpy_on_each_window(period: int) -> None:
    values = wandering(200).close
    for name, oracle in (
        ("sma", np.mean),
        ("rolling_std", np.std),
        ("rolling_max", np.max),
        ("rolling_min", np.min),
    ):
        expected = [NAN] * (period - 1) + [
            float(oracle(values[i - period + 1 : i + 1])) for i in range(period - 1, 200)
        ]
        np.testing.assert_allclose(
            getattr(ind, name)(values, period), expected, rtol=1e-12, atol=1e-9, err_msg=name
        )


def test_standard_deviation_of_a_flat_market_is_zero_however_large_the_price() -> None:
    assert set(ind.rolling_std(np.full(50, 1e15 / 3), 20)[19:]) == {0.0}


@pytest.mark.parametrize("period", [1, 5, 14])
def test_rsi_atr_and_ema_equal_backtraders(period: int) -> None:
    candles = wandering(400)
    pairs = (
        (ind.ema(candles.close, period), lambda data: bt.ind.EMA(data, period=period)),
        (ind.sma(candles.close, period), lambda data: bt.ind.SMA(data, period=period)),
        (ind.atr(candles, period), lambda data: bt.ind.ATR(data, period=period)),
        (
            ind.rsi(candles.close, period),
            lambda data: bt.ind.RSI(data, period=period, safediv=True),
        ),
        (ind.rolling_std(candles.close, period), lambda d: bt.ind.StdDev(d, period=period)),
    )
    for ours, build in pairs:
        # Backtrader's variance is a difference of squares and loses half the digits.
        np.testing.assert_allclose(ours, by_backtrader(candles, build), rtol=1e-6, atol=0.05)


def test_rsi_by_hand() -> None:
    # changes +2, -1: mean gain 1, mean loss 0.5: 100 x 1 / 1.5; then +1: (1 + 1) / 2 and 0.25
    result = ind.rsi(np.array([10.0, 12.0, 11.0, 12.0]), 2)
    np.testing.assert_allclose(result, [NAN, NAN, 100 / 1.5, 80.0])


def test_rsi_of_a_flat_market_is_fifty_and_of_a_rising_one_a_hundred() -> None:
    assert ind.rsi(np.full(20, 5.0), 14)[-1] == 50.0
    assert ind.rsi(np.arange(1.0, 21.0), 14)[-1] == 100.0


def test_atr_by_hand() -> None:
    candles = drawn([(10, 11, 9, 10), (12, 14, 12, 13), (13, 13, 12, 12), (12, 16, 12, 16)])
    # true ranges: -, 14 - 10 = 4, 13 - 12 = 1, 16 - 12 = 4; mean 2.5; then 2.5 / 2 + 4 / 2
    np.testing.assert_allclose(ind.atr(candles, 2), [NAN, NAN, 2.5, 3.25])


def test_crossing_remembers_the_side_while_both_are_equal() -> None:
    left = np.array([1.0, 2.0, 2.0, 3.0, 2.0, 3.0, 1.0])
    expected = [0, 0, 0, 1, 0, 0, -1]  # touching 2 and turning back up is none
    np.testing.assert_array_equal(ind.crossings(left, 2.0), expected)


def test_nothing_crosses_while_one_side_is_unknown() -> None:
    left = np.array([NAN, NAN, 3.0, 1.0])
    np.testing.assert_array_equal(ind.crossings(left, 2.0), [0, 0, 0, -1])
    np.testing.assert_array_equal(ind.crossed_below(left, 2.0), [False, False, False, True])
    assert not ind.crossed_above(left, 2.0).any()


@pytest.mark.parametrize("tick", [0.0, 50.0])
def test_crossings_equal_backtraders_crossover_bar_for_bar(tick: float) -> None:
    # The coarse tick makes the averages equal at times, where CrossOver remembers the side.
    candles = wandering(3000, tick=tick)
    ours = ind.crossings(ind.sma(candles.close, 2), ind.sma(candles.close, 4))
    theirs = by_backtrader(
        candles,
        lambda data: bt.ind.CrossOver(bt.ind.SMA(data, period=2), bt.ind.SMA(data, period=4)),
    )
    assert np.count_nonzero(ours) > 500
    np.testing.assert_array_equal(ours[4:], theirs[4:])


def test_swing_high_is_known_only_after_its_confirmation() -> None:
    high = np.array([1.0, 2.0, 5.0, 4.0, 3.0, 6.0])
    np.testing.assert_array_equal(
        ind.confirmed_swing_highs(high, 2), [NAN, NAN, NAN, NAN, 5.0, NAN]
    )


def test_swing_low_mirrors_the_swing_high() -> None:
    low = np.array([5.0, 4.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(ind.confirmed_swing_lows(low, 2), [NAN, NAN, NAN, NAN, 1.0])


def test_of_equal_highs_the_first_is_the_swing() -> None:
    high = np.array([1.0, 2.0, 5.0, 5.0, 3.0, 2.0])
    np.testing.assert_array_equal(
        ind.confirmed_swing_highs(high, 2), [NAN, NAN, NAN, NAN, 5.0, NAN]
    )


def test_a_higher_candle_is_visible_only_once_closed() -> None:
    candles = closes([10, 11, 12, 13, 14, 15], timeframe="30m")
    hour = Timeframe.parse("1h")
    np.testing.assert_array_equal(
        ind.completed_higher(candles, hour, "close"), [NAN, 11, 11, 13, 13, 15]
    )
    np.testing.assert_array_equal(
        ind.completed_higher(candles, hour, "volume"), [NAN, 2, 2, 2, 2, 2]
    )


def test_a_higher_candle_whose_opening_is_missing_is_left_out() -> None:
    candles = drawn(
        [(10, 10, 10, 10), (11, 11, 11, 11), (12, 12, 12, 12)],
        timeframe="30m",
        first_ms=FIRST_MS + 1_800_000,
    )
    higher = ind.completed_higher(candles, Timeframe.parse("1h"), "close")
    np.testing.assert_array_equal(higher, [NAN, NAN, 12])


def test_a_higher_candle_with_a_hole_at_its_end_becomes_visible_with_the_next_row() -> None:
    candles = closes([10, 12, 13], timeframe="30m")
    holed = candles.ts_ms.copy()
    holed[1:] += 1_800_000  # the second half hour is missing
    higher = ind.completed_higher(replace(candles, ts_ms=holed), Timeframe.parse("1h"), "close")
    np.testing.assert_array_equal(higher, [NAN, 10, 13])


@pytest.mark.parametrize("cut", [1, 2, 30, 61, 299])
def test_no_indicator_changes_the_past_by_a_bit_when_rows_are_added(cut: int) -> None:
    candles = wandering(300, timeframe="30m")
    whole, part = candles, candles[:cut]
    hours = Timeframe.parse("4h")
    for build in (
        lambda c: ind.ema(c.close, 9),
        lambda c: ind.sma(c.close, 9),
        lambda c: ind.rsi(c.close, 9),
        lambda c: ind.atr(c, 9),
        lambda c: ind.rolling_std(c.close, 9),
        lambda c: ind.rolling_max(c.high, 9),
        lambda c: ind.crossings(c.close, ind.sma(c.close, 9)),
        lambda c: ind.confirmed_swing_highs(c.high, 3),
        lambda c: ind.confirmed_swing_lows(c.low, 3),
        lambda c: ind.completed_higher(c, hours, "high"),
        lambda c: ind.completed_higher(c, hours, "volume"),
    ):
        np.testing.assert_array_equal(build(part), build(whole)[:cut])


@pytest.mark.parametrize("period", [2, 14, 200])
def test_declared_memory_forgets_all_but_a_billionth(period: int) -> None:
    rows = ind.ema_memory(period)
    jump = np.ones(rows + period)
    jump[:period] = 1e6  # what came before the window
    late = ind.ema(jump[period:], period)[-1]
    assert abs(ind.ema(jump, period)[-1] - late) < 1e6 * 1.1e-9
    rows = ind.wilder_memory(period)
    assert (1 - 1 / period) ** (rows - period) < 1e-9


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(AssertionError, match="look ahead"):
        ind.shifted(np.ones(3), -1)
