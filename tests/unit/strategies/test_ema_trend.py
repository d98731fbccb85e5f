from decimal import Decimal
from pathlib import Path

import backtrader as bt
import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.strategies.drawing import closes, recorded, wandering
from tests.unit.strategies.test_indicators import by_backtrader

from perpdesk.domain.candles import Candles, Timeframe, Venue
from perpdesk.domain.signal import Signal
from perpdesk.strategies.base import StrategyContext, signal_of_row
from perpdesk.strategies.builtin.ema_trend import EmaTrend

CONTEXT = StrategyContext(
    venue=Venue.BINANCE,
    symbol="BTCUSDT",
    timeframe=Timeframe.parse("1h"),
    tick_size=Decimal("0.1"),
)


def signal_at(candles: Candles, params: EmaTrend.Params, row: int) -> Signal | None:
    arrays = EmaTrend.signals(candles, params)
    return signal_of_row(arrays, row, candles, CONTEXT, EmaTrend.key(), "")


def test_a_turn_of_the_market_gives_one_entry_each_way() -> None:
    # Averages of 1 and 3 candles: the fast one is the close itself.
    candles = closes([10, 10, 10, 9, 8, 12, 13, 14, 6, 5])
    arrays = EmaTrend.signals(candles, EmaTrend.Params(fast=1, slow=3, stop_atr=0))
    # slow: -, -, 10, 9.5, 8.75, 10.375, 11.6875, 12.84, 9.42: crossings at 12 and at 6
    assert list(arrays.side) == [0, 0, 0, 0, 0, 1, 0, 0, -1, 0]
    assert arrays.stop_loss is None
    assert arrays.take_profits == ()


def test_stop_and_target_are_measured_from_the_close() -> None:
    candles = closes([100, 100, 100, 90, 80, 120], spread=1)
    params = EmaTrend.Params(fast=1, slow=3, stop_atr=0.5, atr_period=2, reward_risk=3)
    # true ranges: 2, 2, 12, 12, 42; ATR of 2: 2, then 7, 9.5, 25.75; stop 12.875 below 120
    signal = signal_at(candles, params, 5)
    assert signal is not None
    assert signal.stop_loss == Decimal("107.2")  # 107.125, towards the entry
    assert signal.take_profits[0].price == Decimal("158.7")  # 158.625, away from it
    assert signal.risk_reward is not None
    assert signal.risk_reward >= 3
    assert signal.reason == "the fast average crossed above the slow one"


def test_a_short_is_the_mirror_of_a_long() -> None:
    candles = closes([100, 100, 100, 110, 120, 80], spread=1)
    params = EmaTrend.Params(fast=1, slow=3, stop_atr=0.5, atr_period=2, reward_risk=3)
    signal = signal_at(candles, params, 5)
    assert signal is not None
    assert signal.side == "SHORT"
    assert signal.stop_loss == Decimal("92.8")  # 80 + 12.875, towards the entry
    assert signal.take_profits[0].price == Decimal("41.3")  # 80 - 38.625, away from it


def test_a_flat_market_gives_no_signal() -> None:
    arrays = EmaTrend.signals(closes([10.1] * 300), EmaTrend.Params())
    assert not arrays.active().any()


def test_an_entry_whose_target_would_lie_below_zero_is_left_out() -> None:
    candles = closes([100, 100, 100, 110, 120, 20], spread=1)
    params = EmaTrend.Params(fast=1, slow=3, stop_atr=2, atr_period=2)
    arrays = EmaTrend.signals(candles, params)
    assert arrays.side[5] == 0


@pytest.mark.parametrize(("fast", "slow", "tick"), [(9, 21, 0), (2, 5, 100), (1, 2, 50)])
def test_crossings_equal_backtraders_bar_for_bar(fast: int, slow: int, tick: float) -> None:
    _compare_with_backtrader(wandering(5000, tick=tick), fast, slow)


@pytest.mark.recorded
def test_crossings_equal_backtraders_on_recorded_minutes(shared_dir: Path) -> None:
    minutes = recorded(shared_dir, "binance-spot", "BTCUSDT", "1m")
    _compare_with_backtrader(minutes[400_000:440_000], 9, 21)


def _compare_with_backtrader(candles: Candles, fast: int, slow: int) -> None:
    params = EmaTrend.Params(fast=fast, slow=slow, stop_atr=0)
    ours = EmaTrend.signals(candles, params).side
    theirs = by_backtrader(
        candles,
        lambda data: bt.ind.CrossOver(bt.ind.EMA(data, period=fast), bt.ind.EMA(data, period=slow)),
    )
    first = int(np.flatnonzero(~np.isnan(theirs))[0])
    assert first == EmaTrend.warmup_candles(params) - 1
    assert np.count_nonzero(theirs[first:]) > len(candles) / 30
    np.testing.assert_array_equal(ours[first:], theirs[first:])
    assert not ours[:first].any()


@pytest.mark.recorded
def test_a_million_minutes_turn_at_every_crossing_of_the_plain_recursion(shared_dir: Path) -> None:
    minutes = recorded(shared_dir, "binance-spot", "BTCUSDT", "1m")
    params = EmaTrend.Params(fast=9, slow=21, stop_atr=0)
    ours = EmaTrend.signals(minutes, params).side
    fast, slow = (_plain_ema(minutes.close.tolist(), period) for period in (9, 21))
    expected, held = np.zeros(len(minutes), np.int8), 0
    for row, (left, right) in enumerate(zip(fast[12:], slow, strict=True), start=20):
        side = (left > right) - (left < right)
        if side and held and side != held:
            expected[row] = side
        held = side or held
    np.testing.assert_array_equal(ours, expected)
    assert 45_000 < np.count_nonzero(ours) < 52_000


def _plain_ema(values: list[float], period: int) -> list[float]:
    alpha, average = 2.0 / (1.0 + period), sum(values[:period]) / period
    result = [average]
    for value in values[period:]:
        average = average * (1.0 - alpha) + value * alpha
        result.append(average)
    return result


def test_a_fast_average_that_is_not_faster_is_refused() -> None:
    with pytest.raises(ValidationError, match="fast=21 must be below slow=21"):
        EmaTrend.Params(fast=21, slow=21)
