"""A download brings what the venue has: in windows of one request, in parallel, never twice."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.marketdata.fake_source import FakeHistory, rows_between
from tests.unit.marketdata.rows import (
    H1,
    M5,
    START_MS,
    make_candles,
    make_funding,
    make_open_interest,
    make_trades,
)

from perpdesk.domain.candles import DAY_MS, HOUR_MS, DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused, VenueUnavailable
from perpdesk.marketdata.backfill import Backfill
from perpdesk.marketdata.backfill_plan import Wanted, make_plan
from perpdesk.marketdata.backfill_report import SeriesProgress
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.series import SeriesKey

CANDLES = SeriesKey(venue=Venue.BINANCE, symbol="BTCUSDT", kind=DataKind.CANDLES, timeframe=H1)
DAYS = 40
END_MS = START_MS + DAYS * DAY_MS
ALL = Wanted(key=CANDLES, start_ms=START_MS, end_ms=END_MS)


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


@pytest.fixture
def source() -> FakeHistory:
    rows = {(DataKind.CANDLES, "BTCUSDT"): make_candles(24 * DAYS, timeframe=H1)}
    return FakeHistory(now=END_MS + DAY_MS, rows=rows, listed={"BTCUSDT": START_MS})


def without(rows: Any, missing: Iterable[int]) -> Any:
    """Return rows but those with the given numbers."""
    kept = np.setdiff1d(np.arange(len(rows)), list(missing))
    columns = {n: getattr(rows, n) for n in rows.__slots__}
    cut = {n: v[kept] for n, v in columns.items() if isinstance(v, np.ndarray)}
    return type(rows)(**{**columns, **cut})


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def backfill(store: CandleStore, source: FakeHistory, **others: Any) -> Backfill:
    return Backfill(store, source, **{"patience": patience(), **others})


def patience(attempts: int = 6) -> Patience:
    return Patience(attempts=attempts, sleep=no_wait, jitter=lambda: 0.0)


def opens(store: CandleStore) -> list[float]:
    return list(store.candles(Venue.BINANCE, "BTCUSDT", H1).open.tolist())


async def test_what_the_venue_has_is_stored_in_windows_of_one_page(
    store: CandleStore, source: FakeHistory
) -> None:
    (report,) = await backfill(store, source).run([ALL])
    assert opens(store) == [100.0 + hour for hour in range(24 * DAYS)]
    # 744 hours of January are 8 pages of 100, 216 of February are 3.
    assert (report.rows_added, report.requests) == (960, 11)
    assert (report.holes, report.is_complete) == ((), True)


async def test_nothing_is_asked_for_twice(store: CandleStore, source: FakeHistory) -> None:
    await backfill(store, source).run([ALL])
    source.asked.clear()
    (report,) = await backfill(store, source).run([ALL])
    assert source.asked == []
    assert (report.rows_before, report.rows_added) == (960, 0)


async def test_only_what_is_missing_is_asked_for(store: CandleStore, source: FakeHistory) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    store.write_candles(without(whole, range(200, 210)))
    await backfill(store, source).run([ALL])
    hole = (START_MS + 200 * HOUR_MS, START_MS + 210 * HOUR_MS)
    assert source.asked == [(DataKind.CANDLES, "BTCUSDT", *hole)]
    assert len(opens(store)) == 960


async def test_stored_rows_between_two_holes_stay_as_they_are(
    store: CandleStore, source: FakeHistory
) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    mine = make_candles(24 * DAYS, timeframe=H1, volume=np.full(960, 1.0))
    store.write_candles(without(mine, [200, 202]))
    await backfill(store, source).run([ALL])
    volume = store.candles(Venue.BINANCE, "BTCUSDT", H1).volume
    assert volume[199:204].tolist() == [1.0, whole.volume[200], 1.0, whole.volume[202], 1.0]
    assert len(source.asked) == 1


async def test_windows_run_side_by_side_but_never_more_than_allowed(
    store: CandleStore, source: FakeHistory
) -> None:
    await backfill(store, source, concurrency=3).run([ALL])
    assert source.most_at_once == 3


async def test_a_window_that_came_back_short_is_asked_for_once_more(
    store: CandleStore, source: FakeHistory
) -> None:
    source.short_once = {0}
    (report,) = await backfill(store, source).run([ALL])
    assert len(opens(store)) == 960
    assert (report.requests, report.holes) == (12, ())


async def test_a_hole_of_the_venue_is_told_never_filled_and_not_asked_for_again(
    store: CandleStore, source: FakeHistory
) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    source.rows[DataKind.CANDLES, "BTCUSDT"] = without(whole, [300, 301, 500])
    (report,) = await backfill(store, source).run([ALL])
    assert [(gap.start_ms - START_MS) // HOUR_MS for gap in report.holes] == [300, 500]
    assert [gap.missing for gap in report.holes] == [2, 1]
    assert store.stored(CANDLES).gaps == 2
    source.asked.clear()
    await backfill(store, source).run([ALL])
    assert source.asked == []


async def test_healing_asks_for_the_holes_of_the_venue_once_more(
    store: CandleStore, source: FakeHistory
) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    source.rows[DataKind.CANDLES, "BTCUSDT"] = without(whole, [300])
    await backfill(store, source).run([ALL])
    source.rows[DataKind.CANDLES, "BTCUSDT"] = whole
    heal = Wanted(key=CANDLES, start_ms=START_MS, end_ms=END_MS, holes_only=True)
    (report,) = await backfill(store, source).run([heal])
    assert report.rows_added == 1
    assert len(opens(store)) == 960


async def test_a_candle_that_is_still_open_is_not_even_asked_for(
    store: CandleStore, source: FakeHistory
) -> None:
    source.now = START_MS + 10 * HOUR_MS + 1
    await backfill(store, source).run([ALL])
    assert source.asked == [(DataKind.CANDLES, "BTCUSDT", START_MS, START_MS + 10 * HOUR_MS)]


async def test_a_source_that_answers_an_unfinished_candle_is_caught(
    store: CandleStore, source: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one_more(*_: Any) -> Any:
        return make_candles(11, timeframe=H1)

    source.now = START_MS + 10 * HOUR_MS + 1
    monkeypatch.setattr(source, "candles", one_more)
    with pytest.raises(AssertionError, match="outside"):
        await backfill(store, source).run([ALL])
    assert not store.series()


async def test_a_candle_that_is_late_at_the_venue_is_asked_for_again_later(
    store: CandleStore, source: FakeHistory
) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    source.now = START_MS + 10 * HOUR_MS + 1
    source.rows[DataKind.CANDLES, "BTCUSDT"] = whole[:9]
    await backfill(store, source).run([ALL])
    assert len(opens(store)) == 9
    source.rows[DataKind.CANDLES, "BTCUSDT"] = whole[:10]
    await backfill(store, source).run([ALL])
    assert len(opens(store)) == 10


# A venue that is away.


async def test_a_venue_that_is_away_for_a_moment_is_waited_for(
    store: CandleStore, source: FakeHistory
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    source.failing = lambda number: number in (0, 1, 2)
    waiting = Patience(sleep=sleep, jitter=lambda: 0.0)
    (report,) = await backfill(store, source, patience=waiting, concurrency=1).run([ALL])
    assert len(opens(store)) == 960
    assert report.requests == 14
    # With jitter 0 a wait is half of 1, 2, 4 … s, for each window by itself.
    assert waits == [0.5, 0.5, 0.5]


def test_waits_double_up_to_the_longest_and_are_spread_by_chance() -> None:
    longest = Patience(first_wait_s=1, longest_wait_s=30, jitter=lambda: 1.0)
    assert [longest.wait_s(n) for n in (1, 2, 3, 5, 6, 9)] == [1, 2, 4, 16, 30, 30]
    assert [patience().wait_s(n) for n in (1, 2)] == [0.5, 1]


async def test_a_venue_that_stays_away_is_told_with_what_is_kept_and_how_to_go_on(
    store: CandleStore, source: FakeHistory
) -> None:
    source.failing = lambda number: number >= 9
    with pytest.raises(VenueUnavailable) as away:
        await backfill(store, source, patience=patience(3)).run([ALL])
    assert away.value.message == (
        "binance does not answer: connection refused; the 844 rows that came in are stored"
    )
    assert "run the same command again" in away.value.next_step
    source.failing = lambda number: False
    source.asked.clear()
    await backfill(store, source).run([ALL])
    # 100 of the 844 rows were the first page of February: two are left.
    assert len(source.asked) == 2
    assert len(opens(store)) == 960


async def test_a_venue_that_is_away_from_the_start_stores_nothing_and_says_so(
    store: CandleStore, source: FakeHistory
) -> None:
    source.failing = lambda number: True
    with pytest.raises(VenueUnavailable, match="refused; nothing was stored"):
        await backfill(store, source, patience=patience(2)).run([ALL])


# Interruption.


async def test_ctrl_c_stores_the_windows_that_were_answered(
    store: CandleStore, source: FakeHistory
) -> None:
    source.stop_at = 5
    task = asyncio.create_task(backfill(store, source, concurrency=1).run([ALL]))
    while len(source.asked) <= 5:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(opens(store)) == 500
    source.stop_at = None
    (report,) = await backfill(store, source).run([ALL])
    assert (report.rows_before, report.rows_added) == (500, 460)
    assert opens(store) == [100.0 + hour for hour in range(24 * DAYS)]


async def test_a_part_is_written_once_however_many_windows_it_takes(
    store: CandleStore, source: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = store.write_candles

    def counted(candles: Any, *args: Any, **named: Any) -> Any:
        writes.append(len(candles))
        return write(candles, *args, **named)

    monkeypatch.setattr(store, "write_candles", counted)
    await backfill(store, source).run([ALL])
    assert writes == [744, 216]


async def test_a_disk_that_is_full_is_told_and_leaves_the_series_as_it_was(
    store: CandleStore, source: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise DataRefused("storing failed: the disk is full")

    monkeypatch.setattr(store, "write_candles", full)
    with pytest.raises(DataRefused, match="the disk is full"):
        await backfill(store, source).run([ALL])
    assert store.series() == []


# Damage.


async def test_a_damaged_part_is_fetched_whole_and_replaced(
    store: CandleStore, source: FakeHistory
) -> None:
    await backfill(store, source).run([ALL])
    part = CANDLES.folder(store.root) / "2023-02.parquet"
    part.write_bytes(part.read_bytes()[:-7])
    heal = Wanted(key=CANDLES, start_ms=START_MS, end_ms=END_MS, holes_only=True)
    (report,) = await backfill(store, source).run([heal])
    assert (report.requests - 11, report.rows_added, report.is_damaged) == (-8, 216, False)
    assert store.verify(CANDLES) == []
    assert len(opens(store)) == 960


async def test_half_a_repair_is_not_written(store: CandleStore, source: FakeHistory) -> None:
    await backfill(store, source).run([ALL])
    part = CANDLES.folder(store.root) / "2023-02.parquet"
    damaged = part.read_bytes()[:-7]
    part.write_bytes(damaged)
    source.asked.clear()
    source.failing = lambda number: number >= 1
    heal = Wanted(key=CANDLES, start_ms=START_MS, end_ms=END_MS, holes_only=True)
    with pytest.raises(VenueUnavailable):
        await backfill(store, source, patience=patience(1)).run([heal])
    assert part.read_bytes() == damaged


async def test_a_damaged_part_that_the_venue_does_not_have_any_more_stays_and_is_told(
    store: CandleStore, source: FakeHistory
) -> None:
    await backfill(store, source).run([ALL])
    part = CANDLES.folder(store.root) / "2023-02.parquet"
    part.write_bytes(part.read_bytes()[:-7])
    source.rows[DataKind.CANDLES, "BTCUSDT"] = make_candles(24 * 31, timeframe=H1)
    heal = Wanted(key=CANDLES, start_ms=START_MS, end_ms=END_MS, holes_only=True)
    (report,) = await backfill(store, source).run([heal])
    assert report.is_damaged


# The other kinds.


def wanted(kind: DataKind, **others: Any) -> Wanted:
    timeframe = H1 if kind is DataKind.MARK else None
    key = SeriesKey(venue=Venue.BINANCE, symbol="BTCUSDT", kind=kind, timeframe=timeframe)
    return Wanted(key=key, start_ms=START_MS, end_ms=END_MS, **others)


async def test_every_kind_is_brought_side_by_side(store: CandleStore, source: FakeHistory) -> None:
    funding = make_funding([8.0 * n for n in range(3 * DAYS)])
    funding.ts_ms[:] += 7
    trades = make_trades(1_000, start_ms=END_MS - HOUR_MS)
    source.rows |= {
        (DataKind.MARK, "BTCUSDT"): make_candles(24 * DAYS, timeframe=H1, volume=np.zeros(960)),
        (DataKind.FUNDING, "BTCUSDT"): funding,
        (DataKind.OPEN_INTEREST, "BTCUSDT"): make_open_interest(24 * DAYS, timeframe=H1),
        (DataKind.TRADES, "BTCUSDT"): trades,
    }
    kinds = (DataKind.MARK, DataKind.FUNDING, DataKind.TRADES)
    asked = [ALL, *map(wanted, kinds), wanted(DataKind.OPEN_INTEREST, period=H1)]
    reports = await backfill(store, source).run(asked)
    assert {str(one.key): one.rows_added for one in reports} == {
        "binance BTCUSDT 1h": 960,
        "binance BTCUSDT 1h mark": 960,
        "binance BTCUSDT funding": 3 * DAYS,
        "binance BTCUSDT open_interest": 960,
        # 1,000 trades, two to a millisecond: 25 pages of 40 that overlap by a millisecond each.
        "binance BTCUSDT trades": 1_000,
    }
    assert store.trades(Venue.BINANCE, "BTCUSDT").trade_id.tolist() == list(range(1, 1_001))
    source.asked.clear()
    await backfill(store, source).run(asked)
    assert source.asked == []


async def test_trades_stop_where_the_venue_keeps_none_any_more(
    store: CandleStore, source: FakeHistory
) -> None:
    source.rows[DataKind.TRADES, "BTCUSDT"] = make_trades(10, start_ms=END_MS - DAY_MS)
    (report,) = await backfill(store, source).run([wanted(DataKind.TRADES)])
    assert report.rows_added == 10
    assert report.kept_from_ms == END_MS - DAY_MS
    # The last day, and the two before it that were empty; nothing is asked for again.
    assert len({start for _, _, start, _ in source.asked}) == 72
    source.asked.clear()
    await backfill(store, source).run([wanted(DataKind.TRADES)])
    assert source.asked == []


async def test_more_trades_in_one_millisecond_than_a_page_do_not_stop_the_walk(
    store: CandleStore, source: FakeHistory
) -> None:
    trades = make_trades(100, start_ms=END_MS - HOUR_MS)
    trades.ts_ms[:60] = END_MS - HOUR_MS
    source.rows[DataKind.TRADES, "BTCUSDT"] = trades
    (report,) = await backfill(store, source).run([wanted(DataKind.TRADES)])
    assert report.rows_added == 80  # a page of the 60, and the 40 that follow


async def test_a_hole_in_funding_is_asked_for_once_more_and_told(
    store: CandleStore, source: FakeHistory
) -> None:
    hours = [8.0 * n for n in range(3 * DAYS) if n not in (20, 21)]
    source.rows[DataKind.FUNDING, "BTCUSDT"] = make_funding(hours)
    (report,) = await backfill(store, source).run([wanted(DataKind.FUNDING)])
    assert [(gap.start_ms - START_MS) / HOUR_MS for gap in report.holes] == [160]
    assert [gap.missing for gap in report.holes] == [2]
    source.rows[DataKind.FUNDING, "BTCUSDT"] = make_funding([8.0 * n for n in range(3 * DAYS)])
    heal = wanted(DataKind.FUNDING, holes_only=True)
    (report,) = await backfill(store, source).run([heal])
    assert (report.rows_added, report.holes) == (2, ())


async def test_open_interest_of_another_period_than_stored_is_refused_before_any_request(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_open_interest(make_open_interest(4))
    with pytest.raises(UsageRefused, match="is stored every 5m, not every 1h"):
        await backfill(store, source).run([wanted(DataKind.OPEN_INTEREST, period=H1)])
    assert source.asked == []


async def test_recorded_rows_do_not_come_into_a_synthetic_series(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_candles(make_candles(5, timeframe=H1), source="synthetic seed=7")
    with pytest.raises(DataRefused, match="cannot be mixed"):
        await backfill(store, source).run([ALL])
    assert source.asked == []


async def test_a_venue_without_any_row_stores_nothing(
    store: CandleStore, source: FakeHistory
) -> None:
    source.rows[DataKind.CANDLES, "BTCUSDT"] = make_candles(0, timeframe=H1)
    (report,) = await backfill(store, source).run([ALL])
    assert (report.rows_added, [gap.missing for gap in report.holes]) == (0, [960])
    assert store.series() == []
    assert not (store.root / "binance").exists()


# Progress.


async def test_progress_tells_rows_share_rate_and_the_time_that_is_left(
    store: CandleStore, source: FakeHistory
) -> None:
    told: list[SeriesProgress] = []
    ticks = iter(range(1_000))
    await backfill(
        store, source, on_progress=told.append, monotonic=lambda: float(next(ticks)), concurrency=1
    ).run([ALL])
    first, third, last = told[0], told[2], told[-1]
    assert (first.rows_done, first.rows_expected, first.share, first.eta_s) == (0, 960, 0, None)
    # After 200 of 960 rows in 3 s: 760 rows are left, at 200/3 a second.
    assert third.rows_done == 200
    assert third.rows_per_s == pytest.approx(200 / 3)
    assert third.eta_s == pytest.approx(760 * 3 / 200)
    assert (last.rows_done, last.share, last.eta_s) == (960, 1.0, 0.0)


# The plan.


@pytest.mark.parametrize("name", ["1m", "5m", "4h", "1d", "1w", "1M"])
def test_windows_cover_what_is_wanted_without_overlap(store: CandleStore, name: str) -> None:
    frame = Timeframe.parse(name)
    key = SeriesKey(venue=Venue.BYBIT, symbol="BTCUSDT", kind=DataKind.CANDLES, timeframe=frame)
    start_ms, end_ms = START_MS - 3 * DAY_MS + 7, START_MS + 100 * DAY_MS + 7
    asked = Wanted(key=key, start_ms=start_ms, end_ms=end_ms)
    plan = make_plan(store, asked, page_rows=1000, now_ms=end_ms)
    windows = [window for chunk in plan.chunks for window in chunk.windows]
    missing = np.concatenate([one.missing for one in windows if one.missing is not None])
    assert (np.diff(missing) > 0).all()
    assert (frame.floor_all(missing) == missing).all()
    assert all(frame.close_ms(int(ts_ms)) <= end_ms for ts_ms in missing[-3:])
    assert missing[0] >= start_ms
    assert all(one.missing is not None and len(one.missing) <= 1000 for one in windows)
    assert all(a.span.end_ms <= b.span.start_ms for a, b in pairwise(windows))
    assert plan.rows_expected == len(missing)


async def test_the_rows_of_a_source_are_those_between(source: FakeHistory) -> None:
    rows = source.rows[DataKind.CANDLES, "BTCUSDT"]
    assert len(rows_between(rows, START_MS + 1, START_MS + 3 * HOUR_MS)) == 2
    assert M5 < H1
