"""Whatever is stored, and wherever a download stops: resumed, it ends with the venue's rows."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.marketdata.fake_source import FakeHistory
from tests.unit.marketdata.rows import (
    H1,
    START_MS,
    make_candles,
    make_funding,
    make_open_interest,
    make_trades,
)

from perpdesk.domain.candles import DAY_MS, HOUR_MS, Candles, DataKind, Trades, Venue
from perpdesk.domain.errors import VenueUnavailable
from perpdesk.marketdata.backfill import Backfill
from perpdesk.marketdata.backfill_plan import Wanted
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.series import SeriesKey

COUNT = 24 * 34  # hours: a month and some days
END_MS = START_MS + COUNT * HOUR_MS


@dataclass(frozen=True)
class Stop:
    """How a run ends early: at which request, and what of it is still stored."""

    at: int
    how: str


class Mortal(Backfill):
    """A download that can be killed: then nothing more is stored."""

    is_dead = False

    def _keep(self, *args: Any) -> None:
        if not self.is_dead:
            super()._keep(*args)


def all_rows(kind: DataKind) -> Any:
    """Return what the venue would have, were it without holes."""
    if kind is DataKind.FUNDING:
        return make_funding([8.0 * n for n in range(COUNT // 8)])
    if kind is DataKind.OPEN_INTEREST:
        return make_open_interest(COUNT, timeframe=H1)
    if kind is DataKind.TRADES:
        rows = make_trades(COUNT)
        rows.ts_ms[:] = START_MS + (np.arange(COUNT) // 3) * HOUR_MS * 3
        return rows
    return make_candles(COUNT, timeframe=H1)


def some_of(rows: Any, kept: np.ndarray[Any, Any]) -> Any:
    columns = {name: getattr(rows, name) for name in rows.__slots__}
    cut = {name: value[kept] for name, value in columns.items() if isinstance(value, np.ndarray)}
    return type(rows)(**{**columns, **cut})


def write(store: CandleStore, rows: Any) -> None:
    if len(rows) == 0:
        return
    if isinstance(rows, Candles):
        store.write_candles(rows, are_pieces=True)
    elif isinstance(rows, Trades):
        store.write_trades(rows)
    elif hasattr(rows, "rate"):
        store.write_funding(rows)
    else:
        store.write_open_interest(rows)


def read(store: CandleStore, wanted: Wanted) -> Any:
    key = wanted.key
    if not store.has(key.venue, key.symbol, key.kind, key.timeframe):
        return some_of(all_rows(key.kind), np.zeros(0, np.int64))
    if key.kind is DataKind.CANDLES:
        return store.candles(key.venue, key.symbol, H1)
    return getattr(store, key.kind.value)(key.venue, key.symbol)


def rows_as_tuples(rows: Any) -> list[tuple[Any, ...]]:
    names = [name for name in rows.__slots__ if isinstance(getattr(rows, name), np.ndarray)]
    # NaN stands for a mark price that was not recorded.
    columns = [np.nan_to_num(getattr(rows, name), nan=-1.0).tolist() for name in names]
    return list(zip(*columns, strict=True))


async def run_until(store: CandleStore, source: FakeHistory, wanted: Wanted, stop: Stop) -> None:
    """Run a download that is canceled, loses its venue or is killed at a request."""

    async def no_wait(_: float) -> None:
        await asyncio.sleep(0)

    patience = Patience(attempts=2, sleep=no_wait)
    download = Mortal(store, source, patience=patience, concurrency=3)
    first = len(source.asked)
    if stop.how == "venue goes away":
        source.failing = lambda number: number - first >= stop.at
        with suppress(VenueUnavailable):
            await download.run([wanted])
        source.failing = lambda number: False
        return
    source.stop_at = first + stop.at
    task = asyncio.create_task(download.run([wanted]))
    while len(source.asked) <= source.stop_at and not task.done():
        await asyncio.sleep(0)
    download.is_dead = stop.how == "kill -9"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.stop_at = None


stops = st.lists(
    st.builds(
        Stop, at=st.integers(0, 40), how=st.sampled_from(["ctrl-c", "kill -9", "venue goes away"])
    ),
    max_size=3,
)
masks = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.mark.parametrize(
    "kind", [DataKind.CANDLES, DataKind.OPEN_INTEREST, DataKind.FUNDING, DataKind.TRADES]
)
@given(
    stops=stops,
    generator=masks,
    share_stored=st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
    share_of_holes=st.sampled_from([0.0, 0.01, 0.4]),
    page_rows=st.sampled_from([7, 50, 1000]),
    shorts=st.sets(st.integers(0, 60), max_size=5),
)
def test_a_download_that_was_stopped_ends_with_exactly_the_rows_of_the_venue(
    kind: DataKind,
    stops: Sequence[Stop],
    generator: np.random.Generator,
    share_stored: float,
    share_of_holes: float,
    page_rows: int,
    shorts: set[int],
) -> None:
    whole = all_rows(kind)
    there = some_of(whole, np.flatnonzero(generator.random(len(whole)) >= share_of_holes))
    stored = some_of(there, np.flatnonzero(generator.random(len(there)) < share_stored))
    key = SeriesKey(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        kind=kind,
        timeframe=H1 if kind is DataKind.CANDLES else None,
    )
    period = H1 if kind is DataKind.OPEN_INTEREST else None
    wanted = Wanted(key=key, start_ms=START_MS, end_ms=END_MS, period=period)
    source = FakeHistory(now=END_MS + DAY_MS, rows={(kind, "BTCUSDT"): there})
    source.page_size[kind] = page_rows
    if wanted.grid is not None:  # without a grid nobody can tell that an answer is short
        source.short_once = shorts

    async def story(store: CandleStore) -> None:
        for stop in stops:
            await run_until(store, source, wanted, stop)
            so_far = rows_as_tuples(read(store, wanted))
            assert set(so_far) <= set(rows_as_tuples(there))
        await Backfill(store, source).run([wanted])
        source.asked.clear()
        await Backfill(store, source).run([wanted])
        if len(there):
            assert source.asked == []

    with tempfile.TemporaryDirectory() as folder:
        store = CandleStore(Path(folder))
        write(store, stored)
        asyncio.run(story(store))
        assert rows_as_tuples(read(store, wanted)) == rows_as_tuples(there)
        if store.series():
            assert store.verify(key) == []
