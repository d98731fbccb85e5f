"""What a market will do: minutes of last price, marks and funding, made or recorded.

A tape is data; a market plays it. Coarser candles are laid out in minutes along the path open,
nearer extreme, other extreme, close, so that they add up to what was recorded.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from perpdesk.domain.candles import (
    MINUTE_MS,
    Candles,
    FundingRates,
    Timeframe,
    Times,
    Trades,
    Values,
)
from perpdesk.domain.instrument import Instrument

MINUTE: Final = Timeframe.parse("1m")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tape:
    """One symbol of one venue.

    candles: one-minute candles without gaps in what is played (a gap is a pause of the market).
    mark: candles of mark price, of any timeframe, or None: last price stands in. trades: recorded
    ones, or None; a minute that has some is what they make it.
    """

    instrument: Instrument
    candles: Candles
    mark: Candles | None
    funding: FundingRates | None
    trades: Trades | None = None

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
    rising = candles.close >= candles.open
    first = np.where(rising, candles.low, candles.high)
    second = np.where(rising, candles.high, candles.low)
    # After how many minutes the path has reached each extreme.
    at_first = max(1, count // 4)
    at_second = max(at_first, min(count - 1, 3 * count // 4))
    path = np.empty((len(candles), count + 1))
    for minute in range(count + 1):
        if minute <= at_first:
            start, end, part = candles.open, first, minute / at_first
        elif minute <= at_second:
            start, end = first, second
            part = (minute - at_first) / (at_second - at_first)
        else:
            start, end = second, candles.close
            part = (minute - at_second) / (count - at_second)
        path[:, minute] = end if part == 1 else start + (end - start) * part
    path = _on_the_digits(path, candles)
    opens, closes = path[:, :-1], path[:, 1:]
    highs, lows = np.maximum(opens, closes), np.minimum(opens, closes)
    if at_second == at_first:
        # Too few minutes for a path: the last one holds the other extreme within.
        highs[:, -1] = np.maximum(highs[:, -1], second)
        lows[:, -1] = np.minimum(lows[:, -1], second)
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
    return np.clip(np.round(path, digits), candles.low[:, None], candles.high[:, None])


def with_trades(minutes: Candles, trades: Trades) -> Candles:
    """Return the minutes with those that have recorded trades made of them."""
    opened: Times = trades.ts_ms // MINUTE_MS * MINUTE_MS
    first = np.append(0, np.flatnonzero(np.diff(opened)) + 1) if len(opened) else np.empty(0, int)
    place = np.searchsorted(minutes.ts_ms, opened[first])
    known = place < len(minutes)
    known[known] &= minutes.ts_ms[place[known]] == opened[first][known]
    if not known.any():
        return minutes
    last = np.append(first[1:], len(opened)) - 1
    rows = place[known]

    def made(before: Values, values: Values) -> Values:
        after = before.copy()
        after[rows] = values[known]
        return after

    return replace(
        minutes,
        open=made(minutes.open, trades.price[first]),
        high=made(minutes.high, np.maximum.reduceat(trades.price, first)),
        low=made(minutes.low, np.minimum.reduceat(trades.price, first)),
        close=made(minutes.close, trades.price[last]),
        volume=made(minutes.volume, np.add.reduceat(trades.quantity, first)),
    )


def playable(minutes: Candles, step_size: float) -> Candles:
    """Return minutes that trades of whole steps can make: where the price moves, at least four."""
    moves = (minutes.high > minutes.low) & (minutes.volume < 4 * step_size)
    return replace(minutes, volume=np.where(moves, 4 * step_size, minutes.volume))
