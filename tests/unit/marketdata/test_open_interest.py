"""Open interest has a home of its own: one series a symbol, and every reading knows its period."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.marketdata.rows import H1, M5, NOW_MS, START_MS, make_open_interest

from perpdesk.domain.candles import DataKind, OpenInterest, Timeframe, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.importers import inspect_file
from perpdesk.marketdata.integrity import check_open_interest
from perpdesk.marketdata.query import run_sql
from perpdesk.marketdata.series import SeriesKey
from perpdesk.marketdata.store_check import check_series

KEY = SeriesKey(venue=Venue.BINANCE, symbol="BTCUSDT", kind=DataKind.OPEN_INTEREST)


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


def test_readings_come_back_with_their_period_in_monthly_parts(store: CandleStore) -> None:
    store.write_open_interest(make_open_interest(24 * 40, timeframe=H1))
    read = store.open_interest(Venue.BINANCE, "BTCUSDT", START_MS + 3_600_000)
    assert read.timeframe == H1
    assert read.open_interest[:3].tolist() == [20_001, 20_002, 20_003]
    folder = store.root / "binance/BTCUSDT/open_interest.parquet"
    assert sorted(path.name for path in folder.glob("2*")) == ["2023-01.parquet", "2023-02.parquet"]
    assert list(pd.read_parquet(folder).columns) == ["ts_ms", "period_ms", "open_interest"]


def test_a_range_without_readings_still_knows_the_period(store: CandleStore) -> None:
    store.write_open_interest(make_open_interest(1, timeframe=H1))
    read = store.open_interest(Venue.BINANCE, "BTCUSDT", 0, 1)
    assert (len(read), read.timeframe) == (0, H1)


def test_readings_of_another_period_are_refused_and_nothing_changes(store: CandleStore) -> None:
    store.write_open_interest(make_open_interest(5))
    with pytest.raises(DataRefused, match=r"stored every 5m; .* readings every 1h") as refused:
        store.write_open_interest(make_open_interest(5, timeframe=H1))
    assert "perpdesk data delete --venue binance --symbol BTCUSDT" in refused.value.next_step
    assert "--kind open_interest" in refused.value.next_step
    assert len(store.open_interest(Venue.BINANCE, "BTCUSDT")) == 5


def test_gaps_are_counted_by_the_period_also_between_two_months(store: CandleStore) -> None:
    month = make_open_interest(24 * 31, timeframe=H1)
    store.write_open_interest(month)
    later = make_open_interest(5, timeframe=H1, start_ms=START_MS + (24 * 31 + 2) * 3_600_000)
    assert store.write_open_interest(later).gaps == 1
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert found.is_sound
    assert [gap.missing for gap in found.gaps] == [2]


def test_the_list_and_the_sql_views_know_it(store: CandleStore) -> None:
    store.write_open_interest(make_open_interest(4))
    assert [str(one.key) for one in store.series()] == ["binance BTCUSDT open_interest"]
    sql = "SELECT venue, symbol, max(period_ms), sum(open_interest) FROM open_interest GROUP BY ALL"
    assert run_sql(store, sql).rows == (("binance", "BTCUSDT", 300_000, 80_006.0),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"open_interest": [1.0, -2.0, 3.0]}, "open_interest = -2.0"),
        ({"open_interest": [1.0, np.nan, 3.0]}, "open_interest = nan"),
        ({"ts_ms": [START_MS, START_MS + 1, START_MS + 300_000]}, "is not an open time of 5m"),
        ({"ts_ms": [START_MS, START_MS, START_MS + 300_000]}, "appears twice"),
    ],
)
def test_readings_that_cannot_be_are_named(changes: dict[str, list[float]], words: str) -> None:
    given = make_open_interest(3)
    readings = OpenInterest(
        venue=given.venue,
        symbol=given.symbol,
        timeframe=given.timeframe,
        ts_ms=np.array(changes.get("ts_ms", given.ts_ms), np.int64),
        open_interest=np.array(changes.get("open_interest", given.open_interest)),
    )
    assert words in " ".join(map(str, check_open_interest(readings).problems))


def test_a_reading_of_the_future_is_refused() -> None:
    found = check_open_interest(make_open_interest(3), now_ms=START_MS)
    assert "is not over yet" in str(found.problems[0])


def imported(path: Path) -> OpenInterest:
    found = inspect_file(
        path, venue=Venue.BINANCE, symbol="BTCUSDT", kind=DataKind.OPEN_INTEREST, now_ms=NOW_MS
    ).rows
    assert isinstance(found, OpenInterest)
    return found


def test_files_of_metrics_and_answers_of_both_venues_are_imported(tmp_path: Path) -> None:
    metrics = tmp_path / "BTCUSDT-metrics-2023-01-01.csv"
    metrics.write_text(
        "create_time,symbol,sum_open_interest,sum_open_interest_value\n"
        "2023-01-01T00:05:00Z,BTCUSDT,20403.637,1\n2023-01-01T00:10:00Z,BTCUSDT,20401.367,2\n"
        "2023-01-01T00:20:00Z,BTCUSDT,20400,3\n"
    )
    found = imported(metrics)
    assert found.timeframe == M5
    assert found.open_interest.tolist() == [20403.637, 20401.367, 20400]
    answer = tmp_path / "newest-first.csv"
    answer.write_text(f"timestamp,openInterest\n{START_MS + 3_600_000},7\n{START_MS},6\n")
    assert imported(answer).timeframe == H1
    assert imported(answer).open_interest.tolist() == [6, 7]


def test_a_file_whose_readings_lie_on_no_grid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(f"timestamp,openInterest\n{START_MS},7\n{START_MS + 420_000},6\n")
    with pytest.raises(DataRefused, match="7m apart lie on no period's grid"):
        imported(path)


def test_open_interest_given_as_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "oi.csv"
    path.write_text(f"timestamp,openInterest\n{START_MS},7\n")
    with pytest.raises(DataRefused) as refused:
        inspect_file(path, venue=Venue.BINANCE, symbol="BTCUSDT", timeframe=Timeframe.parse("5m"))
    assert "--kind open_interest" in refused.value.next_step
