"""Holes are found wherever they are, and counted in rows."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.unit.marketdata.rows import H1, M5, START_MS, make_funding

from perpdesk.domain.candles import FundingRates, Timeframe, Venue
from perpdesk.marketdata.gaps import Gap, funding_gaps, gaps, usual_intervals

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def hours(*spans: tuple[int, int, int]) -> list[float]:
    return [float(hour) for start, stop, step in spans for hour in range(start, stop, step)]


def test_bars_without_a_hole_have_no_gap() -> None:
    assert gaps(START_MS + np.arange(100) * 300_000, M5) == []
    assert gaps(np.array([START_MS]), M5) == []
    assert gaps(np.empty(0, np.int64), M5) == []


def test_a_gap_runs_from_the_first_missing_bar_to_the_next_present_one() -> None:
    times = START_MS + np.array([0, 1, 5, 6, 8]) * HOUR_MS
    assert gaps(times, H1) == [
        Gap(start_ms=START_MS + 2 * HOUR_MS, end_ms=START_MS + 5 * HOUR_MS, missing=3),
        Gap(start_ms=START_MS + 7 * HOUR_MS, end_ms=START_MS + 8 * HOUR_MS, missing=1),
    ]


def test_a_gap_reads_as_people_write_it() -> None:
    gap = Gap(start_ms=1_679_661_600_000, end_ms=1_679_666_400_000, missing=1080)
    assert str(gap) == "2023-03-24 12:40 to 2023-03-24 14:00 (1,080 missing)"


def test_months_of_different_length_are_neighbors() -> None:
    opens = np.array(["2024-01", "2024-02", "2024-03", "2024-06"], "datetime64[M]")
    times = opens.astype("datetime64[ms]").astype(np.int64)
    (gap,) = gaps(times, Timeframe.parse("1M"))
    assert gap.missing == 2
    assert gap.start_ms == int(np.datetime64("2024-04-01", "ms").astype(np.int64))


def test_weeks_are_counted_from_monday_to_monday() -> None:
    monday = int(np.datetime64("2024-01-01", "ms").astype(np.int64))
    times = monday + np.array([0, 1, 3]) * 7 * DAY_MS
    assert [gap.missing for gap in gaps(times, Timeframe.parse("1w"))] == [1]


@pytest.mark.parametrize("interval", [1, 4, 8])
def test_funding_at_any_steady_interval_has_no_gap(interval: int) -> None:
    assert funding_gaps(make_funding(hours((0, 240, interval)))) == []


@pytest.mark.parametrize("interval", [1, 4, 8])
def test_one_missing_settlement_is_a_gap(interval: int) -> None:
    times = hours((0, 30 * interval, interval))
    del times[15]
    (gap,) = funding_gaps(make_funding(times))
    assert gap.missing == 1
    assert gap.start_ms == START_MS + 15 * interval * HOUR_MS
    assert gap.end_ms == START_MS + 16 * interval * HOUR_MS


def test_a_change_of_the_interval_is_no_gap() -> None:
    assert funding_gaps(make_funding(hours((0, 160, 8), (160, 240, 4)))) == []
    assert funding_gaps(make_funding(hours((0, 160, 4), (160, 320, 8)))) == []


def test_a_spell_of_hourly_funding_is_no_gap() -> None:
    assert funding_gaps(make_funding(hours((0, 80, 4), (80, 92, 1), (92, 172, 4)))) == []


def test_two_holes_in_a_row_are_both_found() -> None:
    times = [0.0, 8, 16, 24, 48, 72, 80, 88, 96]
    assert [gap.missing for gap in funding_gaps(make_funding(times))] == [2, 2]


def test_settlements_some_milliseconds_late_are_no_gap() -> None:
    late = [hour + 0.000_002 * (hour % 3) for hour in hours((0, 240, 8))]
    assert funding_gaps(make_funding(late)) == []


def test_a_single_settlement_has_no_gap() -> None:
    assert funding_gaps(make_funding([0])) == []
    assert len(usual_intervals(np.array([START_MS, START_MS + 8 * HOUR_MS]))) == 1


@pytest.mark.recorded
def test_the_recorded_hole_of_wifusdt_is_found(shared_dir: Path) -> None:
    table = pq.read_table(shared_dir / "market" / "bybit" / "WIFUSDT" / "funding.parquet")
    rate = table["rate"].to_numpy()
    rows = FundingRates(
        venue=Venue.BYBIT,
        symbol="WIFUSDT",
        ts_ms=table["ts"].to_numpy(),
        rate=rate,
        mark_price=np.full(len(rate), np.nan),
    )
    assert [str(gap) for gap in funding_gaps(rows)] == [
        "2025-03-08 20:00 to 2025-04-11 04:00 (200 missing)"
    ]
