"""Coarse candles laid out in minutes add up to what was recorded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpdesk.domain.candles import Candles, Timeframe, Venue
from perpdesk.emulator.tape import minutes_of

prices = st.integers(1, 10_000).map(lambda ticks: ticks / 10)


def one_candle(timeframe: str, prices: list[float], volume: float) -> Candles:
    low, *between, high = sorted(prices)
    return Candles(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        timeframe=Timeframe.parse(timeframe),
        ts_ms=np.array([1_704_067_200_000], np.int64),
        open=np.array([between[0]]),
        high=np.array([high]),
        low=np.array([low]),
        close=np.array([between[-1]]),
        volume=np.array([volume]),
    )


@pytest.mark.parametrize("timeframe", ["3m", "5m", "15m", "1h", "1d"])
@given(found=st.lists(prices, min_size=4, max_size=4), volume=st.integers(0, 10**6))
def test_minutes_have_the_ends_extremes_and_volume_of_their_candle(
    timeframe: str, found: list[float], volume: int
) -> None:
    candle = one_candle(timeframe, found, volume / 8)
    minutes = minutes_of(candle)
    assert len(minutes) == candle.timeframe.duration_ms // 60_000
    assert np.all(np.diff(minutes.ts_ms) == 60_000)
    assert minutes.ts_ms[0] == candle.ts_ms[0]
    assert minutes.open[0] == candle.open[0]
    assert minutes.close[-1] == candle.close[0]
    assert minutes.high.max() == candle.high[0]
    assert minutes.low.min() == candle.low[0]
    assert minutes.volume.sum() == pytest.approx(candle.volume[0])
    assert np.all(minutes.open[1:] == minutes.close[:-1])
    assert np.all(minutes.low <= np.minimum(minutes.open, minutes.close))
    assert np.all(minutes.high >= np.maximum(minutes.open, minutes.close))


def test_minutes_stay_as_they_are() -> None:
    candle = one_candle("1m", [1.0, 2.0, 3.0, 4.0], 5.0)
    assert minutes_of(candle) is candle
