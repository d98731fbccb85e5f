"""Drawdowns: how far wealth fell below its best, for how long, and how much that hurt on average.

Wealth starts at what was paid in, so a loss in the very first period is a drawdown already. Depths
are positive fractions of the peak: 0.25 means a quarter was lost.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Wealth = npt.NDArray[Any]
"""(n,) int64 or float64, whatever the unit: only ratios count."""

_BLOCK: Final = 65_536
"""Rows at a time: small enough for the cache, so that a million bars cost no million-row copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The deepest fall of a series, and its longest time under water, by row.

    depth: fraction of the peak. peak_row: -1 where the start was the peak. recovery_row: the first
    row back at the peak, None if it never came back. longest_*: the longest stretch from one peak
    until it was reached again (or the end, row n - 1), whatever its depth.
    """

    depth: float
    peak_row: int
    trough_row: int
    recovery_row: int | None
    longest_from_row: int
    longest_to_row: int


def max_drawdown(wealth: Wealth, *, start: float) -> Drawdown | None:
    """Return the deepest drawdown of wealth that began at `start` > 0; None if it never fell."""
    depth, trough, peak_at_trough = 0.0, -1, start
    peak, last_high = start, -1
    longest = (0, -1, -1)
    for offset in range(0, len(wealth), _BLOCK):
        block = wealth[offset : offset + _BLOCK]
        peaks = np.maximum(np.maximum.accumulate(block), peak)
        ratio = block / peaks
        lowest = int(np.argmin(ratio))
        if 1.0 - ratio[lowest] > depth:
            depth = 1.0 - float(ratio[lowest])
            trough, peak_at_trough = offset + lowest, peaks[lowest].item()
        highs = np.flatnonzero(block >= peaks) + offset
        if len(highs):
            edges = np.concatenate(([last_high], highs))
            widths = np.diff(edges)
            widest = int(np.argmax(widths))
            width = int(widths[widest])
            if width > 1 and width > longest[0]:
                longest = (width, int(edges[widest]), int(edges[widest + 1]))
            last_high = int(highs[-1])
        peak = peaks[-1].item()
    if trough < 0:
        return None
    end = len(wealth) - 1
    if end - last_high > longest[0]:
        longest = (end - last_high, last_high, end)
    before = np.flatnonzero(wealth[:trough] >= peak_at_trough)
    after = np.flatnonzero(wealth[trough:] >= peak_at_trough)
    return Drawdown(
        depth=depth,
        peak_row=int(before[-1]) if len(before) else -1,
        trough_row=trough,
        recovery_row=trough + int(after[0]) if len(after) else None,
        longest_from_row=longest[1],
        longest_to_row=longest[2],
    )


def intrabar_drawdown(blocks: Iterable[tuple[Wealth, Wealth]], *, start: float) -> float:
    """Return the deepest fall from a best close to the low of a later bar; 0 if there was none.

    blocks: wealth at the close and at the worst of every bar, both (n,), in order of time. A bar's
    own close is no peak for its low, because nobody knows which of the two came first.
    """
    depth, peak = 0.0, start
    for closes, lows in blocks:
        peaks = np.maximum(np.maximum.accumulate(np.append(peak, closes)), peak)
        depth = max(depth, float(np.max(1.0 - lows / peaks[:-1])))
        peak = peaks[-1].item()
    return depth


def drawdown_depths(wealth: Wealth, *, start: float) -> Floats:
    """Return the depth below the best so far at every row, (n,) float64 >= 0."""
    peaks = np.maximum(np.maximum.accumulate(wealth), start)
    return np.asarray(1.0 - wealth / peaks, dtype=np.float64)


def wealth_of(returns: Floats) -> Floats:
    """Return wealth after every period, starting from 1 before the first."""
    return np.asarray(np.cumprod(1 + returns), dtype=np.float64)


def ulcer_index(depths: Floats) -> float | None:
    """Return sqrt(mean(depth^2)), divisor n: deep and long drawdowns weigh most."""
    return math.sqrt(float(np.mean(depths**2))) if len(depths) else None


def pain_index(depths: Floats) -> float | None:
    """Return the mean depth, time at the peak included as zeros."""
    return float(np.mean(depths)) if len(depths) else None
