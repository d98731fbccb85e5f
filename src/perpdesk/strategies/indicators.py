"""Causal building blocks over float64 columns.

Every function returns (n,) columns of which row i depends on rows up to i alone: appending rows
leaves earlier results bit for bit the same. NaN stands where there is not enough history yet.
Windowed indicators depend on exactly their window; recursive ones (`ema`, `rsi`, `atr`) forget
older rows geometrically, and `ema_memory` / `wilder_memory` say when, to one part in 10^9.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Candles, Timeframe, Values

FORGOTTEN: Final = 1e-9
"""The weight below which history no longer counts."""

Signs = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]
_Pairwise = Callable[[Values, Values], Values]


def ema(values: Values, period: int) -> Values:
    """Return the exponential average with alpha = 2 / (period + 1).

    It begins with the simple mean of the first `period` values, as Backtrader's does.
    """
    return _smoothed(values, period, 2.0 / (period + 1.0))


def ema_memory(period: int) -> int:
    """Return how many rows fix an `ema` to one part in 10^9."""
    return _memory(period, 2.0 / (period + 1.0))


def wilder_memory(period: int) -> int:
    """Return how many rows fix an `rsi` or `atr` to one part in 10^9."""
    return 1 + _memory(period, 1.0 / period)


def sma(values: Values, period: int) -> Values:
    """Return the simple mean of the last `period` values."""
    return _windowed(values, period, np.add) / period


def rolling_std(values: Values, period: int) -> Values:
    """Return the population standard deviation of the last `period` values.

    Squares are summed around each window's own mean, so that large prices lose no digits.
    """
    mean = sma(values, period)
    squares = np.zeros(len(values))
    for lag in range(min(period, len(values))):
        squares[lag:] += np.square(values[: len(values) - lag] - mean[lag:])
    result: Values = np.sqrt(squares / period)
    return result


def rolling_max(values: Values, period: int) -> Values:
    """Return the highest of the last `period` values, the current one included."""
    return _windowed(values, period, np.maximum)


def rolling_min(values: Values, period: int) -> Values:
    """Return the lowest of the last `period` values, the current one included."""
    return _windowed(values, period, np.minimum)


def shifted(values: Values, rows: int) -> Values:
    """Return the values of `rows` bars ago. `rows` is positive: the future cannot be asked for."""
    assert rows >= 0, "a negative shift would look ahead"
    result = np.full(len(values), np.nan)
    result[rows:] = values[: max(0, len(values) - rows)]
    return result


def true_range(high: Values, low: Values, close: Values) -> Values:
    """Return the bar's range, stretched to the previous close; the first row has none."""
    result = np.full(len(close), np.nan)
    result[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    return result


def atr(candles: Candles, period: int) -> Values:
    """Return Wilder's average true range, seeded with the simple mean; first at row `period`."""
    return _smoothed(true_range(candles.high, candles.low, candles.close), period, 1.0 / period)


def rsi(values: Values, period: int) -> Values:
    """Return Wilder's relative strength index, 0..100; first at row `period`.

    A window without any change is 50, one without losses 100.
    """
    change = np.full(len(values), np.nan)
    change[1:] = np.diff(values)
    gain = _smoothed(np.maximum(change, 0.0), period, 1.0 / period)
    loss = _smoothed(np.maximum(-change, 0.0), period, 1.0 / period)
    total = gain + loss
    with np.errstate(invalid="ignore"):
        return np.where(total > 0.0, 100.0 * gain / total, np.where(total == 0.0, 50.0, np.nan))


def crossings(left: Values, right: Values | float) -> Signs:
    """Return +1 where `left` crosses above `right`, -1 where below, else 0. Shape (n,) int8.

    Rows where both are equal (or unknown) keep the side held before, so touching and turning back
    is no crossing. This is Backtrader's `CrossOver`, bar for bar.
    """
    # Comparing costs a tenth of subtracting and taking signs, and NaN compares false both ways.
    side = (left > right).view(np.int8) - (left < right).view(np.int8)
    known = side != 0
    held = side
    if not known.all():
        last = np.maximum.accumulate(np.where(known, np.arange(len(side)), 0))
        held = side[last]
    crossed = np.zeros(len(side), np.int8)
    crossed[1:] = np.where(held[:-1] * side[1:] < 0, side[1:], 0)
    return crossed


def crossed_above(left: Values, right: Values | float) -> npt.NDArray[np.bool_]:
    """Return where `left` crosses above `right`."""
    return crossings(left, right) > 0


def crossed_below(left: Values, right: Values | float) -> npt.NDArray[np.bool_]:
    """Return where `left` crosses below `right`."""
    return crossings(left, right) < 0


def confirmed_swing_highs(high: Values, reach: int) -> Values:
    """Return at row i the swing high of row i - reach, if bar i has just confirmed one, else NaN.

    A swing high stands above the `reach` highs before it and is not exceeded by the `reach` after;
    of equal highs the first counts. It is a fact of row i, not of the row where it lies.
    """
    before = shifted(rolling_max(high, reach), reach + 1)
    candidate = shifted(high, reach)
    swing = (candidate > before) & (candidate >= rolling_max(high, reach))
    return np.where(swing, candidate, np.nan)


def confirmed_swing_lows(low: Values, reach: int) -> Values:
    """Return at row i the swing low of row i - reach, if bar i has just confirmed one, else NaN."""
    return -confirmed_swing_highs(-low, reach)


def higher_candles(candles: Candles, timeframe: Timeframe) -> tuple[Candles, Rows]:
    """Return the candles of a longer timeframe, and for each row the last one closed by then.

    The second part is (n,) int64, -1 where none is closed yet: index the higher columns with it
    where it is not negative. A higher candle of which the opening is missing is left out.
    """
    opens = timeframe.floor_all(candles.ts_ms)
    starts = np.flatnonzero(np.diff(opens, prepend=opens[:1] - 1))
    if len(starts) and opens[0] != candles.ts_ms[0]:
        starts = starts[1:]
    if not len(starts):
        return replace(candles[:0], timeframe=timeframe), np.full(len(candles), -1)
    ends = np.append(starts[1:], len(candles)) - 1
    higher = replace(
        candles,
        timeframe=timeframe,
        ts_ms=opens[starts],
        open=candles.open[starts],
        high=np.maximum.reduceat(candles.high, starts),
        low=np.minimum.reduceat(candles.low, starts),
        close=candles.close[ends],
        volume=np.add.reduceat(candles.volume, starts),
    )
    row_closes = candles.timeframe.close_all(candles.ts_ms)
    closed = np.searchsorted(timeframe.close_all(higher.ts_ms), row_closes, side="right") - 1
    return higher, closed.astype(np.int64)


def completed_higher(candles: Candles, timeframe: Timeframe, column: str) -> Values:
    """Return `column` (open, high, low, close, volume) of the last closed higher candle per row."""
    higher, closed = higher_candles(candles, timeframe)
    values: Values = getattr(higher, column)
    return at_higher(values, closed)


def at_higher(values: Values, closed: Rows) -> Values:
    """Spread a column of higher candles over the rows that know them; NaN where none is closed."""
    result = np.full(len(closed), np.nan)
    known = closed >= 0
    result[known] = values[closed[known]]
    return result


def _memory(period: int, alpha: float) -> int:
    if alpha >= 1.0:
        return period
    return period + math.ceil(math.log(FORGOTTEN) / math.log1p(-alpha))


def _smoothed(values: Values, period: int, alpha: float) -> Values:
    """Average recursively: y = (1 - alpha) y' + alpha x, from the mean of the first `period`."""
    import pandas as pd  # slow to import, and many commands never smooth anything

    result = np.full(len(values), np.nan)
    # Only a leading run of NaN is skipped: an indicator of an indicator starts later.
    first = int(np.argmin(np.isnan(values))) if len(values) and math.isnan(values[0]) else 0
    seeded = first + period - 1
    if seeded >= len(values):
        return result
    tail = values[seeded:].copy()
    tail[0] = math.fsum(values[first : seeded + 1]) / period
    result[seeded:] = pd.Series(tail, copy=False).ewm(alpha=alpha, adjust=False).mean().to_numpy()
    return result


def _windowed(values: Values, period: int, combine: _Pairwise) -> Values:
    """Combine each window of `period` rows in a fixed order, by doubling: log2(period) passes."""
    result = np.full(len(values), np.nan)
    if period > len(values):
        return result
    block, size = values, 1
    total, covered = values, 0
    while True:
        if period & size:
            rows = len(values) - covered - size + 1
            total = block if not covered else combine(total[:rows], block[covered:][:rows])
            covered += size
        if covered == period:
            break
        block = combine(block[:-size], block[size:])
        size *= 2
    result[period - 1 :] = total[: len(values) - period + 1]
    return result
