"""What a chart may leave out, and what it must keep."""

import numpy as np
import pytest
from tests.unit.reports.builders import candles_of

from perpdesk.reports.downsampling import coarse_candles, extreme_rows


def test_a_short_series_stays_whole() -> None:
    assert extreme_rows(np.arange(10), limit=10).tolist() == list(range(10))


def test_every_slot_keeps_its_extremes_in_time_order() -> None:
    values = np.array([5, 9, 1, 5, 5, 2, 8, 5])
    assert extreme_rows(values, limit=4).tolist() == [1, 2, 5, 7]  # the end stands for the 8


def test_the_extremes_of_the_whole_are_never_lost() -> None:
    values = np.cumsum(np.random.default_rng(2).normal(size=50_000))
    rows = extreme_rows(values, limit=500)
    assert len(rows) == 500
    assert np.all(np.diff(rows) >= 0)
    assert {int(values.argmin()), int(values.argmax()), 49_999} <= set(rows.tolist())


def test_a_row_to_keep_stands_for_its_slot() -> None:
    values = np.array([5, 9, 1, 5, 5, 2, 8, 5])
    assert 3 in extreme_rows(values, limit=4, keep=[3]).tolist()


def test_few_candles_are_shown_as_they_are() -> None:
    candles = candles_of([(1, 2, 0, 1)] * 5)
    assert coarse_candles(candles, limit=5) is candles


def test_candles_are_joined_to_the_finest_timeframe_that_fits() -> None:
    candles = candles_of([(i, i + 5, i - 5, i + 1) for i in range(96)])
    coarse = coarse_candles(candles, limit=30)
    assert str(coarse.timeframe) == "4h"
    assert len(coarse) == 24
    assert (coarse.open[1], coarse.high[1], coarse.low[1], coarse.close[1]) == (4, 12, -1, 8)
    assert coarse.volume.sum() == 96


def test_joined_candles_leave_gaps_where_the_data_has_them() -> None:
    whole = candles_of([(1.0, 2.0, 0.5, 1.0)] * 96)
    rows = np.r_[0:24, 48:96]
    gapped = type(whole)(
        venue=whole.venue,
        symbol=whole.symbol,
        timeframe=whole.timeframe,
        ts_ms=whole.ts_ms[rows],
        **{name: column[rows] for name, column in whole.columns()},
    )
    coarse = coarse_candles(gapped, limit=30)
    assert np.diff(coarse.ts_ms).max() == 28 * 3_600_000
    assert len(coarse) == 18


@pytest.mark.parametrize(("count", "limit", "name"), [(800, 40, "1M"), (9_000, 20, "1M")])
def test_years_of_days_become_months(count: int, limit: int, name: str) -> None:
    coarse = coarse_candles(candles_of([(1, 2, 0, 1)] * count, timeframe="1d"), limit=limit)
    assert str(coarse.timeframe) == name
    assert coarse.volume.sum() == count
