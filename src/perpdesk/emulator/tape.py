"""What a market will do: minutes of last price, marks and funding, made or recorded.

A tape is data; a market plays it. Coarser candles are laid out in minutes along the path open,
nearer extreme, other extreme, close, so that they add up to what was recorded.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from perpdesk.domain.candles import MINUTE_MS, Candles, FundingRates, Timeframe, Values
from perpdesk.domain.instrument import Instrument

MINUTE: Final = Timeframe.parse("1m")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tape:
    """One symbol of one venue.

    candles: one-minute candles without gaps in what is played (a gap is a pause of the market).
    mark: candles of mark price, of any timeframe, or None: last price stands in.
    """

    instrument: Instrument
    candles: Candles
    mark: Candles | None
    funding: FundingRates | None

    @property
    def symbol(self) -> str:
        """Return the symbol."""
        return self.instrument.symbol

    @property
    def end_ms(self) -> int:
        """Return when the last candle is over."""
        return int(self.candles.ts_ms[-1]) + MINUTE_MS


def minutes_of(candles: Candles) -> Candles:
    """Return candles as minutes that add up to them: same extremes, same volume, same ends.

    Each candle must last whole minutes; with fewer than four in it, extremes share minutes.
    """
    count = candles.timeframe.duration_ms // MINUTE_MS
    if count == 1:
        return candles
    rows = len(candles)
    low_first = candles.close >= candles.open
    first = np.where(low_first, candles.low, candles.high)
    second = np.where(low_first, candles.high, candles.low)
    # Knots of the path, and the minute in which each is reached; the close ends the last minute.
    at = np.array([0.0, max(1, count // 4), max(1, count // 4 * 3), count]) / count
    knots = np.stack([candles.open, first, second, candles.close], axis=1)
    ends = np.arange(1, count + 1) / count
    path = np.empty((rows, count + 1))
    path[:, 0] = candles.open
    segment = np.clip(np.searchsorted(at, ends, side="left") - 1, 0, 2)
    for minute in range(count):
        low, high = segment[minute], segment[minute] + 1
        width = at[high] - at[low]
        part = (ends[minute] - at[low]) / width if width else 1.0
        path[:, minute + 1] = knots[:, low] + (knots[:, high] - knots[:, low]) * part
    path = _on_the_digits(path, candles)
    opens, closes = path[:, :-1], path[:, 1:]
    highs, lows = np.maximum(opens, closes), np.minimum(opens, closes)
    touched = [
        min(count - 1, round(at[1] * count) - 1),
        min(count - 1, round(at[2] * count) - 1),
    ]
    for minute, extreme in zip(touched, (first, second), strict=True):
        highs[:, minute] = np.maximum(highs[:, minute], extreme)
        lows[:, minute] = np.minimum(lows[:, minute], extreme)
    volume = np.repeat((candles.volume / count)[:, None], count, axis=1)
    volume[:, -1] = candles.volume - volume[:, :-1].sum(axis=1)
    offsets = np.arange(count, dtype=np.int64) * MINUTE_MS
    return replace(
        candles,
        timeframe=MINUTE,
        ts_ms=(candles.ts_ms[:, None] + offsets).ravel(),
        open=opens.ravel().copy(),
        high=highs.ravel(),
        low=lows.ravel(),
        close=closes.ravel().copy(),
        volume=volume.ravel(),
    )


def _on_the_digits(path: Values, candles: Candles) -> Values:
    """Round what lies between to as many digits as the recorded prices show."""
    sample = candles.close[: min(1000, len(candles))]
    digits = max(len(repr(float(price)).partition(".")[2]) for price in sample)
    inside = np.round(path, digits)
    inside[:, 0], inside[:, -1] = path[:, 0], path[:, -1]
    return np.clip(inside, candles.low[:, None], candles.high[:, None])
