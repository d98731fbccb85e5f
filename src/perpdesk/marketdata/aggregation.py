"""Longer candles out of shorter ones, by one rule.

A bar is made of the lower bars that exist in its period. A period without any gives no bar. The
last period is left out unless the data reaches its end, the first unless the data begins at its
open. A hole inside a period does not remove the bar; it is counted.
"""

from dataclasses import dataclass

import numpy as np

from perpdesk.domain.candles import DAY_MS, Candles, Timeframe
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.gaps import utc_text
from perpdesk.marketdata.series import canonical_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """Longer candles, and how many of them lack how many of their lower bars."""

    candles: Candles
    incomplete_bars: int
    missing_lower_bars: int


def aggregate(candles: Candles, timeframe: Timeframe) -> Candles:
    """Return the candles of a longer timeframe; see `aggregate_counted`."""
    return aggregate_counted(candles, timeframe).candles


def aggregate_counted(candles: Candles, timeframe: Timeframe) -> Aggregated:
    """Return the candles of a longer timeframe and what they lack.

    Raises UsageRefused where the timeframe is not made of whole lower bars, DataRefused where no
    period of the data is complete.
    """
    lower = candles.timeframe
    _require_divisible(lower, timeframe)
    if lower == timeframe or len(candles) == 0:
        return Aggregated(candles=candles, incomplete_bars=0, missing_lower_bars=0)
    periods = timeframe.floor_all(candles.ts_ms)
    starts = np.concatenate(([0], np.flatnonzero(periods[1:] != periods[:-1]) + 1))
    first = 0 if candles.ts_ms[0] == periods[0] else 1
    data_end_ms = lower.close_ms(int(candles.ts_ms[-1]))
    last = len(starts) if timeframe.close_ms(int(periods[-1])) <= data_end_ms else len(starts) - 1
    if first >= last:
        raise DataRefused(
            f"{candles.symbol} {lower} from {utc_text(int(candles.ts_ms[0]))} to "
            f"{utc_text(data_end_ms)} holds no whole {timeframe} candle",
            next_step="Import a longer range, or choose a shorter timeframe.",
        )
    stops = np.append(starts[1:], len(candles))[first:last]
    starts = starts[first:last]
    whole = candles[int(starts[0]) : int(stops[-1])]
    offsets = starts - starts[0]
    missing = _missing_per_period(whole, timeframe, periods[starts])
    return Aggregated(
        candles=Candles(
            venue=candles.venue,
            symbol=candles.symbol,
            timeframe=timeframe,
            ts_ms=periods[starts],
            open=candles.open[starts],
            high=np.maximum.reduceat(whole.high, offsets),
            low=np.minimum.reduceat(whole.low, offsets),
            close=candles.close[stops - 1],
            volume=np.add.reduceat(whole.volume, offsets),
        ),
        incomplete_bars=int(np.count_nonzero(missing)),
        missing_lower_bars=int(missing.sum()),
    )


def _missing_per_period(
    whole: Candles, timeframe: Timeframe, opens: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many lower bars each period lacks; periods without any are not counted."""
    if whole.timeframe.is_month:
        return np.zeros(len(opens), np.int64)
    expected = (timeframe.close_all(opens) - opens) // whole.timeframe.duration_ms
    counts = np.unique_counts(timeframe.floor_all(whole.ts_ms)).counts
    return np.asarray(expected - counts, np.int64)


def can_aggregate(lower: Timeframe, timeframe: Timeframe) -> bool:
    """Tell whether candles of a timeframe are made of whole candles of a shorter one."""
    if lower.is_month or timeframe < lower:
        return lower == timeframe
    if timeframe.is_month or timeframe.name.endswith("w"):
        return DAY_MS % lower.duration_ms == 0 or lower == timeframe
    return timeframe.duration_ms % lower.duration_ms == 0


def _require_divisible(lower: Timeframe, timeframe: Timeframe) -> None:
    if not can_aggregate(lower, timeframe):
        raise UsageRefused(
            f"{timeframe} candles cannot be made of {lower} candles",
            next_step=f"Choose a timeframe that {canonical_name(lower)} divides evenly.",
        )
