"""Coarse candles laid out in minutes add up to what was recorded."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.emulator.builders import tapes_of

from perpdesk.domain.candles import Candles, DataKind, Timeframe, Trades, Venue
from perpdesk.domain.numbers import decimal_of
from perpdesk.emulator.market import Market
from perpdesk.emulator.tape import minutes_of, playable, with_trades

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


def recorded(*rows: tuple[int, float, float]) -> Trades:
    times, prices, quantities = zip(*rows, strict=True)
    return Trades(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        ts_ms=np.array(times, np.int64),
        trade_id=np.arange(len(rows), dtype=np.int64),
        price=np.array(prices),
        quantity=np.array(quantities),
        is_buyer_maker=np.arange(len(rows)) % 2 == 0,
    )


def test_a_minute_with_recorded_trades_is_what_they_make_it() -> None:
    (tape,) = tapes_of(Venue.BINANCE, ["BTCUSDT"])
    start = int(tape.candles.ts_ms[5])
    trades = recorded(
        (start + 10, 40_000.1, 0.5),
        (start + 900, 40_002.5, 0.25),
        (start + 59_999, 39_990.0, 1.0),
        (start + 60_000, 39_991.0, 2.0),
        (start + 10**9 * 60_000, 1.0, 1.0),
    )
    tape = replace(tape, candles=with_trades(tape.candles, trades), trades=trades)
    market = Market(tape, start + 10 * 60_000)
    first, second, third = market.rows(
        Timeframe.parse("1m"), DataKind.CANDLES, start, start + 120_000
    )
    shown = [str(price) for price in (first.open, first.high, first.low, first.close)]
    assert shown == ["40000.1", "40002.5", "39990.0", "39990.0"]
    assert (str(first.volume), first.trades) == ("1.75", 3)
    assert (str(second.close), second.trades) == ("39991.0", 1)
    assert third.trades == 12
    told = list(market.trades_between(start, start + 120_000))
    assert [trade.taker_side.value for trade in told] == ["SELL", "BUY", "SELL", "BUY"]
    ids = [trade.trade_id for trade in market.trades_between(start - 60_000, start + 180_000)]
    assert ids == list(range(ids[0], ids[0] + 12 + 4 + 12))
    assert market.trade_ids(start, start + 60_000) == (ids[12], ids[14])
    assert [trade.trade_id for trade in market.trades_from(ids[13], 3)] == ids[13:16]


def test_what_cannot_be_traded_in_whole_steps_is_made_so_that_it_can() -> None:
    (tape,) = tapes_of(Venue.BINANCE, ["BTCUSDT"])
    volume = tape.candles.volume.copy()
    volume[:4] = (0.0, 0.001, 0.005, 0.0115)
    tape = replace(tape, candles=playable(replace(tape.candles, volume=volume), 0.001))
    market = Market(tape, int(tape.candles.ts_ms[10]))
    for row in range(4):
        start = int(tape.candles.ts_ms[row])
        trades = list(market.trades_between(start, start + 60_000))
        assert sum(trade.quantity for trade in trades) == decimal_of(tape.candles.volume[row])
        assert all(trade.quantity > 0 for trade in trades)
        assert max(trade.price for trade in trades) == decimal_of(tape.candles.high[row])
        assert min(trade.price for trade in trades) == decimal_of(tape.candles.low[row])
        assert trades[-1].price == decimal_of(tape.candles.close[row])
