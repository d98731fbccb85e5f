"""Holes in a series: found and listed, never filled."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import HOUR_MS, FundingRates, Timeframe, Times

LONGEST_FUNDING_INTERVAL_MS: Final = 8 * HOUR_MS
"""No venue of ours settles less often."""

SAME_SETTLEMENT_MS: Final = 60_000
"""Venues stamp a settlement some ms past the hour, and never settle twice within a minute."""

_NEIGHBORS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A hole: from the first missing row (start_ms) up to the next row present (end_ms)."""

    start_ms: int
    end_ms: int
    missing: int

    def __str__(self) -> str:
        return f"{utc_text(self.start_ms)} to {utc_text(self.end_ms)} ({self.missing:,} missing)"


def utc_text(ts_ms: int) -> str:
    """Return a time as people write it: 2023-03-24 12:40, with seconds only where it has some."""
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M}" if ts_ms % 60_000 == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"


def bar_numbers(ts_ms: Times, timeframe: Timeframe) -> Times:
    """Return the number of each bar on the timeframe's grid, so that neighbors differ by one."""
    if timeframe.is_month:
        return ts_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return timeframe.floor_all(ts_ms) // timeframe.duration_ms


def gaps(ts_ms: Times, timeframe: Timeframe) -> list[Gap]:
    """Return the holes between ascending open times that lie on the timeframe's grid."""
    missing = np.diff(bar_numbers(ts_ms, timeframe)) - 1
    return [
        Gap(
            start_ms=timeframe.close_ms(int(ts_ms[row])),
            end_ms=int(ts_ms[row + 1]),
            missing=int(missing[row]),
        )
        for row in np.flatnonzero(missing > 0)
    ]


def runs(times: Times, grid: Timeframe) -> list[Gap]:
    """Return ascending times of a grid as stretches of neighbors."""
    if len(times) == 0:
        return []
    breaks = np.flatnonzero(np.diff(bar_numbers(times, grid)) > 1) + 1
    return [
        Gap(start_ms=int(run[0]), end_ms=grid.close_ms(int(run[-1])), missing=len(run))
        for run in np.split(times, breaks)
    ]


def funding_gaps(funding: FundingRates) -> list[Gap]:
    """Return the holes between settlements; see `funding_gaps_of`."""
    return funding_gaps_of(funding.ts_ms)


def funding_gaps_of(ts_ms: Times) -> list[Gap]:
    """Return the holes between settlements at ascending times.

    The usual interval is read from the neighbors, because it differs between symbols and changes in
    time. A wait is a hole where it exceeds the usual one by half and does not repeat itself, or
    where it is longer than any venue's interval.
    """
    waits = np.diff(ts_ms)
    if len(waits) == 0:
        return []
    usual = usual_intervals(ts_ms)
    same = np.abs(np.diff(waits)) < HOUR_MS // 2
    repeats = np.zeros(len(waits), np.bool_)
    repeats[1:] |= same
    repeats[:-1] |= same
    holes = (waits > 1.5 * usual) & ~repeats
    holes |= waits > LONGEST_FUNDING_INTERVAL_MS + HOUR_MS // 2
    found: list[Gap] = []
    for row in np.flatnonzero(holes):
        interval = int(min(usual[row], LONGEST_FUNDING_INTERVAL_MS))
        found.append(
            Gap(
                start_ms=int(ts_ms[row]) + interval,
                end_ms=int(ts_ms[row + 1]),
                missing=round(int(waits[row]) / interval) - 1,
            )
        )
    return found


def usual_intervals(ts_ms: Times) -> npt.NDArray[np.float64]:
    """Return for each wait between settlements the median of its neighbors, in ms."""
    waits = np.round(np.diff(ts_ms) / HOUR_MS) * HOUR_MS
    padded = np.pad(np.maximum(waits, HOUR_MS), _NEIGHBORS, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBORS + 1)
    return np.asarray(np.median(windows, axis=1), np.float64)
