"""What becomes of stored market data whose files are torn or rotten: row 29.

The data is downloaded from the emulator, spoiled on disk, refused by every reader, and healed from
the emulator again, also while that is having trouble of its own.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from tests.simulation.fault_benches import SYMBOL, Bench, bench_of
from tests.simulation.fault_rows import row

from perpdesk.domain.candles import HOUR_MS, Candles, DataKind, FundingRates, Timeframe
from perpdesk.domain.errors import DataRefused, VenueUnavailable
from perpdesk.emulator.faults import FaultKind
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.history import History
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.series import SeriesKey
from perpdesk.marketdata.store_check import check_series

M1 = Timeframe.parse("1m")
NAMES = ("binance", "bybit")
HOURS = 24
FAR_MS = 2**53


@pytest.fixture(params=NAMES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


def history_of(bench: Bench, store: CandleStore) -> History:
    patience = Patience(attempts=4, first_wait_s=0.01, longest_wait_s=0.02)
    return History(store, bench.adapter.history, bench.adapter.reference, patience=patience)


async def downloaded(bench: Bench, store: CandleStore) -> tuple[History, dict[DataKind, str]]:
    """Download a day of candles, mark prices and funding; return what they are, as hashes."""
    history = history_of(bench, store)
    kinds = (DataKind.CANDLES, DataKind.MARK, DataKind.FUNDING)
    since_ms = bench.world.now_ms - HOURS * HOUR_MS
    await history.download((SYMBOL,), timeframe=M1, kinds=kinds, since_ms=since_ms)
    return history, {kind: hash_of(bench, store, kind) for kind in kinds}


def key_of(bench: Bench, kind: DataKind) -> SeriesKey:
    timeframe = None if kind is DataKind.FUNDING else M1
    return SeriesKey(venue=bench.venue, symbol=SYMBOL, kind=kind, timeframe=timeframe)


def hash_of(bench: Bench, store: CandleStore, kind: DataKind) -> str:
    """Return the hash of the rows themselves, not of what the manifest says of them."""
    rows = load(bench, store, kind)
    columns: list[np.ndarray] = [rows.ts_ms]
    if isinstance(rows, Candles):
        columns += [values for _, values in rows.columns()]
    else:
        columns += [rows.rate, rows.mark_price]
    digest = hashlib.sha256()
    for values in columns:
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def load(bench: Bench, store: CandleStore, kind: DataKind) -> Candles | FundingRates:
    if kind is DataKind.FUNDING:
        return store.funding(bench.venue, SYMBOL)
    read = store.candles if kind is DataKind.CANDLES else store.mark_candles
    return read(bench.venue, SYMBOL, M1)


def _torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _rotten(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 4]) + data[201:]


def _empty(data: bytes) -> bytes:
    return b""


DAMAGE: dict[str, Callable[[bytes], bytes]] = {"torn": _torn, "rotten": _rotten, "empty": _empty}


@row(29)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", [DataKind.CANDLES, DataKind.MARK, DataKind.FUNDING])
async def test_a_damaged_part_is_refused_whole_and_refetched_by_heal(
    bench: Bench, store: CandleStore, kind: DataKind, damage: str
) -> None:
    history, hashes = await downloaded(bench, store)
    key = key_of(bench, kind)
    (part,) = store.part_paths(key)
    part.write_bytes(DAMAGE[damage](part.read_bytes()))
    with pytest.raises(DataRefused) as refused:
        load(bench, store, kind)
    assert part.name in refused.value.message
    assert not check_series(store, key, now_ms=FAR_MS).is_sound
    # The other series are as they were: one rotten file takes no neighbor with it.
    for other in hashes.keys() - {kind}:
        assert check_series(store, key_of(bench, other), now_ms=FAR_MS).is_sound
    reports = await history.heal()
    assert all(report.is_complete and not report.is_damaged for report in reports)
    assert check_series(store, key, now_ms=FAR_MS).is_sound
    # What is stored is what was there before the damage, to the last bit.
    assert hash_of(bench, store, kind) == hashes[kind]


@row(29)
async def test_a_missing_part_is_refused_and_refetched(bench: Bench, store: CandleStore) -> None:
    history, hashes = await downloaded(bench, store)
    key = key_of(bench, DataKind.CANDLES)
    (part,) = store.part_paths(key)
    part.unlink()
    with pytest.raises(DataRefused):
        load(bench, store, DataKind.CANDLES)
    await history.heal()
    assert hash_of(bench, store, DataKind.CANDLES) == hashes[DataKind.CANDLES]


@row(29)
@pytest.mark.parametrize("kind", ["server-error", "half-answer", "drop-after"])
async def test_what_is_healed_is_whole_although_the_venue_is_in_trouble(
    bench: Bench, store: CandleStore, kind: str
) -> None:
    history, _ = await downloaded(bench, store)
    key = key_of(bench, DataKind.CANDLES)
    (part,) = store.part_paths(key)
    part.write_bytes(_torn(part.read_bytes()))
    bench.arm(FaultKind(kind), "*kline*", left=2)
    await history.heal()
    assert bench.struck(FaultKind(kind)) == 2
    candles = store.candles(bench.venue, SYMBOL, M1)
    assert_is_the_venues(bench, candles)


@row(29)
async def test_a_heal_that_the_venue_cannot_serve_leaves_the_damage_refused(
    bench: Bench, store: CandleStore
) -> None:
    history, hashes = await downloaded(bench, store)
    key = key_of(bench, DataKind.CANDLES)
    (part,) = store.part_paths(key)
    damaged = _torn(part.read_bytes())
    part.write_bytes(damaged)
    await bench.plug.pull()
    with pytest.raises(VenueUnavailable):
        await history.heal()
    assert part.read_bytes() == damaged
    with pytest.raises(DataRefused):
        load(bench, store, DataKind.CANDLES)
    await bench.plug.put_in()
    await history_of(bench, store).heal()
    assert hash_of(bench, store, DataKind.CANDLES) == hashes[DataKind.CANDLES]


def assert_is_the_venues(bench: Bench, candles: Candles) -> None:
    rows = bench.market.rows(M1, DataKind.CANDLES, int(candles.ts_ms[0]), int(candles.ts_ms[-1]))
    assert len(candles) == len(rows) == HOURS * 60
    assert candles.ts_ms.tolist() == [one.ts_ms for one in rows]
    for name in ("open", "high", "low", "close"):
        expected = [float(getattr(one, name)) for one in rows]
        assert np.array_equal(getattr(candles, name), expected), name
