"""Strategies that cheat, each in one well-known way, around one honest idea."""

from typing import Any

import numpy as np

from perpdesk.domain.candles import Candles, Timeframe, Values
from perpdesk.domain.signal import PositionSide, Signal
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, SignalStrategy
from perpdesk.strategies.indicators import crossings, ema, ema_memory, sma


class Honest(ArrayStrategy):
    """Enter where the close crosses its mean of twenty; the honest idea of all that follow."""

    name = "honest"

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        return 25

    @classmethod
    def view(cls, candles: Candles) -> Values:
        return candles.close

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        view = cls.view(candles)
        return SignalArrays(side=crossings(view, sma(view, 20)), stop_loss=candles.close * 0.9)


def _next(values: Values) -> Values:
    return np.append(values[1:], values[-1:])


class FutureShift(Honest):
    """Reads the next bar's close."""

    name = "future_shift"

    @classmethod
    def view(cls, candles: Candles) -> Values:
        return _next(candles.close)


class FutureFilter(Honest):
    """Drops only those honest signals that the next bar proves wrong."""

    name = "future_filter"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        honest = super().signals(candles, params)
        right = np.sign(_next(candles.close) - candles.close) == honest.side
        return SignalArrays(side=np.where(right, honest.side, 0).astype(np.int8))


class FutureStop(Honest):
    """Signals honestly, and places its stop below the next bar's low."""

    name = "future_stop"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        honest = super().signals(candles, params)
        return SignalArrays(side=honest.side, stop_loss=_next(candles.low) * 0.9)


class UnclosedHigher(Honest):
    """Reads the close of the four-hour bar that is still open."""

    name = "unclosed_higher"

    @classmethod
    def view(cls, candles: Candles) -> Values:
        opens = Timeframe.parse("4h").floor_all(candles.ts_ms)
        last = np.searchsorted(opens, opens, side="right") - 1
        return candles.close[last]


class WholeSeriesNormalized(Honest):
    """Enters where the z-score over the whole series crosses one half."""

    name = "whole_series"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        change = np.diff(candles.close, prepend=candles.close[0])
        score = (change - change.mean()) / (change.std() or 1.0)
        return SignalArrays(side=crossings(score, 0.5))


class CentredWindow(Honest):
    """Smooths with as many bars after as before."""

    name = "centred_window"

    @classmethod
    def view(cls, candles: Candles) -> Values:
        return np.convolve(candles.close, np.ones(7) / 7, mode="same")


class NegativeIndex(Honest):
    """Means the bar of eight ago, and at the beginning gets the last ones instead."""

    name = "negative_index"

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        return 1

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        return SignalArrays(side=np.sign(candles.close - np.roll(candles.close, 8)).astype(np.int8))


class OneInAHundred(Honest):
    """Looks one bar ahead on every hundredth bar only."""

    name = "one_in_a_hundred"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        honest = super().signals(candles, params)
        rare = candles.ts_ms // candles.timeframe.duration_ms % 100 == 0
        ahead = np.sign(_next(candles.close) - candles.close)
        return SignalArrays(side=np.where(rare, ahead, honest.side).astype(np.int8))


class ShortMemory(Honest):
    """Declares twenty candles, though its average remembers hundreds."""

    name = "short_memory"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        return SignalArrays(side=crossings(candles.close, ema(candles.close, 100)))


class EnoughMemory(ShortMemory):
    """The same, with its memory declared."""

    name = "enough_memory"

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        return 101

    @classmethod
    def memory_candles(cls, params: Any) -> int:
        return ema_memory(100) + 1


class Fickle(Honest):
    """Gives another answer at every call."""

    name = "fickle"
    calls = 0

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        Fickle.calls += 1
        rows = np.arange(len(candles)) + Fickle.calls
        return SignalArrays(side=(rows % 101 == 0).astype(np.int8))


class Scribbler(Honest):
    """Writes into the candles it was given."""

    name = "scribbler"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        honest = super().signals(candles, params)
        candles.volume[-1] += 1.0
        return honest


class RaisesWithoutFuture(Honest):
    """Indexes one bar past each signal: it raises where a signal is the last bar."""

    name = "raises_without_future"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        honest = super().signals(candles, params)
        stop = np.full(len(candles), np.nan)
        for row in np.flatnonzero(honest.side):
            if row + 1 < len(candles) or candles.ts_ms[row] < END_MS:
                stop[row] = candles.low[row + 1] * 0.9
        return SignalArrays(side=honest.side, stop_loss=stop)


END_MS = 2**60


class BarByBar(SignalStrategy):
    """The honest idea, written for Backtrader."""

    name = "bar_by_bar"

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        return 21

    def __init__(self) -> None:
        import backtrader as bt

        self.cross = bt.ind.CrossOver(self.data.close, bt.ind.SMA(self.data.close, period=20))

    def generate_signal(self) -> Signal | None:
        if not self.cross[0]:
            return None
        side = PositionSide.LONG if self.cross[0] > 0 else PositionSide.SHORT
        return self.enter(side, stop_loss=self.data.close[0] * (1 - 0.1 * side.sign))


class PeeksAhead(BarByBar):
    """Asks Backtrader for the next bar, which batch mode has at hand."""

    name = "peeks_ahead"

    def generate_signal(self) -> Signal | None:
        signal = super().generate_signal()
        if signal is None or len(self.data) >= self.data.buflen():
            return signal
        ahead = self.data.close[1] - self.data.close[0]
        return signal if ahead * signal.side.sign > 0 else None


class PeeksAtColumns(BarByBar):
    """Reads beyond the current bar in the columns behind the feed."""

    name = "peeks_at_columns"

    def generate_signal(self) -> Signal | None:
        closes = self.data.candles.close
        ahead = closes[min(len(self.data), len(closes) - 1)]
        signal = super().generate_signal()
        return signal if ahead > self.data.close[0] else None
