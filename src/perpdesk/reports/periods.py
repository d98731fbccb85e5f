"""Equity at the turns of days and months, UTC, read from columns of any length."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import DAY_MS, Times
from perpdesk.reports.drawdown import Wealth

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Wealth over time. ts_ms, values: one row per bar; a row is known at ts_ms + lag_ms.

    start_ms, start_value: the moment and the wealth before the first row. end_ms: when the last row
    is known.
    """

    ts_ms: Times
    values: Wealth
    lag_ms: int
    start_ms: int
    start_value: float

    @property
    def end_ms(self) -> int:
        """Return the end of the last bar."""
        return int(self.ts_ms[-1]) + self.lag_ms

    @property
    def days(self) -> float:
        """Return how long the series lasts."""
        return (self.end_ms - self.start_ms) / DAY_MS

    def at(self, moments_ms: Times) -> Floats:
        """Return the wealth known at each moment; before the first row, the start."""
        rows = np.searchsorted(self.ts_ms, moments_ms - self.lag_ms, side="right") - 1
        known = self.values[np.maximum(rows, 0)].astype(np.float64)
        return np.where(rows >= 0, known, self.start_value)


def daily_returns(series: Series) -> Floats:
    """Return the returns between 00:00 UTC and 00:00 UTC.

    A day that the run only touches, at its start or its end, is a period too: so the returns
    compound to exactly the whole result. After ruin (wealth at or below zero) returns are zero.
    """
    first = series.start_ms // DAY_MS + 1
    midnights = np.arange(first * DAY_MS, series.end_ms, DAY_MS, dtype=np.int64)
    return _returns(series, np.append(midnights, series.end_ms))


def monthly_returns(series: Series) -> list[tuple[int, int, float]]:
    """Return (year, month, return) of every calendar month that the run touches."""
    # The last moment lies inside the last month, not on the edge of the next one.
    moments = np.array([series.start_ms, series.end_ms - 1], dtype="datetime64[ms]")
    first, last = moments.astype("datetime64[M]").astype(np.int64)
    months = np.arange(first, last + 1)
    turns = months[1:].astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    returns = _returns(series, np.append(turns, series.end_ms))
    return [
        (1970 + int(month) // 12, int(month) % 12 + 1, float(value))
        for month, value in zip(months, returns, strict=True)
    ]


def _returns(series: Series, moments_ms: Times) -> Floats:
    wealth = np.concatenate(([series.start_value], series.at(moments_ms)))
    alive = wealth[:-1] > 0
    return np.where(alive, wealth[1:] / np.where(alive, wealth[:-1], 1.0) - 1.0, 0.0)
