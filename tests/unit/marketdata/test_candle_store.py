"""The store gives back what it was given, and other tools read its folders as tables."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest
from tests.unit.marketdata.rows import (
    H1,
    M5,
    START_MS,
    make_candles,
    make_funding,
    make_trades,
)

from perpdesk.domain.candles import DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.series import SeriesKey

DAY_MS = 86_400_000
KEY = SeriesKey(venue=Venue.BINANCE, symbol="BTCUSDT", kind=DataKind.CANDLES, timeframe=M5)


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


def folder_of(store: CandleStore, name: str = "5m.parquet") -> Path:
    return store.root / "binance" / "BTCUSDT" / name


def test_candles_come_back_bit_by_bit(store: CandleStore) -> None:
    odd = [0.1 + 0.2, 1 / 3, 1e-7, 123456.789, 2.0**-40]
    given = make_candles(5, open=odd, high=[9e5] * 5, low=[1e-13] * 5, close=odd)
    store.write_candles(given)
    read = store.candles(Venue.BINANCE, "BTCUSDT", M5)
    assert read.ts_ms.tolist() == given.ts_ms.tolist()
    for (name, ours), (_, theirs) in zip(given.columns(), read.columns(), strict=True):
        assert ours.tobytes() == theirs.tobytes(), name


def test_mark_prices_are_kept_without_volume_beside_the_candles(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    store.write_candles(make_candles(4, base=200), DataKind.MARK)
    mark = store.mark_candles(Venue.BINANCE, "BTCUSDT", M5)
    assert mark.open.tolist() == [200, 201, 202, 203]
    assert mark.volume.tolist() == [0, 0, 0, 0]
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5)) == 3
    part = pq.read_schema(folder_of(store, "mark-5m.parquet") / "2023-01.parquet")
    assert part.names == ["ts_ms", "open", "high", "low", "close"]


def test_funding_and_trades_come_back_as_given(store: CandleStore) -> None:
    store.write_funding(make_funding([0, 8, 16]))
    store.write_trades(make_trades(5))
    funding = store.funding(Venue.BINANCE, "BTCUSDT")
    assert funding.rate.tolist() == [0.0001] * 3
    assert np.isnan(funding.mark_price).all()
    trades = store.trades(Venue.BINANCE, "BTCUSDT")
    assert trades.trade_id.tolist() == [1, 2, 3, 4, 5]
    assert trades.is_buyer_maker.tolist() == [True, False, True, False, True]


def test_a_range_is_half_open_and_reads_only_the_parts_it_needs(store: CandleStore) -> None:
    two_months = make_candles(24 * 60, timeframe=H1)
    store.write_candles(two_months)
    (folder_of(store, "1h.parquet") / "2023-02.parquet").unlink()
    first, last = START_MS + 5 * 3_600_000, START_MS + 8 * 3_600_000
    read = store.candles(Venue.BINANCE, "BTCUSDT", H1, first, last)
    assert read.ts_ms.tolist() == [first, first + 3_600_000, first + 7_200_000]


def test_a_range_without_rows_is_empty_and_not_an_error(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5, 0, 1)) == 0
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5, START_MS + DAY_MS)) == 0


def test_a_missing_series_names_the_command_that_would_fill_it(store: CandleStore) -> None:
    with pytest.raises(DataRefused, match="no bybit SOLUSDT 5m is stored") as refused:
        store.candles(Venue.BYBIT, "SOLUSDT", M5)
    assert "perpdesk data import FILE --venue bybit --symbol SOLUSDT --timeframe 5m" in (
        refused.value.next_step
    )


def test_candles_lie_in_monthly_parts_funding_in_yearly_and_trades_in_daily(
    store: CandleStore,
) -> None:
    store.write_candles(make_candles(24 * 40, timeframe=H1))
    store.write_funding(make_funding([0, 8, 24 * 400]))
    store.write_trades(make_trades(4, start_ms=START_MS + DAY_MS - 1))
    names = {path.relative_to(store.root / "binance/BTCUSDT") for path in store.root.rglob("2*")}
    assert {str(name) for name in names} == {
        "1h.parquet/2023-01.parquet",
        "1h.parquet/2023-02.parquet",
        "funding.parquet/2023.parquet",
        "funding.parquet/2024.parquet",
        "trades.parquet/2023-01-01.parquet",
        "trades.parquet/2023-01-02.parquet",
    }


def test_pandas_pyarrow_and_duckdb_read_a_folder_as_one_table(store: CandleStore) -> None:
    store.write_candles(make_candles(24 * 40, timeframe=H1))
    folder = folder_of(store, "1h.parquet")
    by_pandas = pd.read_parquet(folder)
    assert list(by_pandas.columns) == ["ts_ms", "open", "high", "low", "close", "volume"]
    assert len(by_pandas) == 960
    assert pa_dataset.dataset(folder).count_rows() == 960
    counted = duckdb.connect().execute(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchone()
    assert counted == (960,)


def test_an_overlapping_import_replaces_and_adds_and_says_how_many(store: CandleStore) -> None:
    store.write_candles(make_candles(10))
    # Rows 5..14, of which 5 overlap; the first two overlapping ones are the same as stored.
    again = make_candles(10, start_ms=START_MS + 5 * 300_000, base=105)
    volume = again.volume.copy()
    volume[:2] = [15, 16]
    volume[2:5] += 1000
    report = store.write_candles(make_candles(10, start_ms=again.ts_ms[0], base=105, volume=volume))
    assert (report.rows_given, report.rows_added) == (10, 5)
    assert (report.rows_replaced, report.rows_unchanged) == (3, 2)
    read = store.candles(Venue.BINANCE, "BTCUSDT", M5)
    assert len(read) == report.rows_total == 15
    assert read.volume[5:10].tolist() == [15, 16, 1012, 1013, 1014]


def test_an_import_fills_a_gap_in_the_middle(store: CandleStore) -> None:
    whole = make_candles(12)
    holed = make_candles(12)[:4]
    assert store.write_candles(holed).gaps == 0
    assert store.write_candles(whole[8:]).gaps == 1
    assert store.write_candles(whole[4:8]).gaps == 0
    assert store.candles(Venue.BINANCE, "BTCUSDT", M5).open.tolist() == whole.open.tolist()


def test_a_gap_at_the_turn_of_the_month_is_counted(store: CandleStore) -> None:
    month = make_candles(24 * 33, timeframe=H1)
    store.write_candles(month[: 24 * 31 - 1])
    assert store.write_candles(month[24 * 31 + 1 :]).gaps == 1
    assert store.series()[0].gaps == 1


def test_trades_of_one_millisecond_are_told_apart_by_their_id(store: CandleStore) -> None:
    store.write_trades(make_trades(4))
    report = store.write_trades(make_trades(4, first_id=3))
    # Ids 3 and 4 lie one millisecond later than before, so they are other trades.
    assert report.rows_added == 4
    assert store.write_trades(make_trades(4)).rows_unchanged == 4


def test_one_settlement_from_two_sources_is_kept_once(store: CandleStore) -> None:
    store.write_funding(make_funding([0, 8, 16]))
    late = make_funding([8, 16, 24])
    late.ts_ms[:] += 3
    report = store.write_funding(late)
    assert (report.rows_added, report.rows_replaced, report.rows_total) == (1, 2, 4)
    read = store.funding(Venue.BINANCE, "BTCUSDT")
    assert ((read.ts_ms - START_MS) % 1000).tolist() == [0, 3, 3, 3]


def test_writing_the_same_rows_again_touches_no_file(store: CandleStore) -> None:
    store.write_candles(make_candles(10))
    before = {path: path.stat().st_mtime_ns for path in folder_of(store).glob("*.parquet")}
    report = store.write_candles(make_candles(10))
    assert (report.rows_unchanged, report.parts_written) == (10, 0)
    assert before == {path: path.stat().st_mtime_ns for path in folder_of(store).glob("*.parquet")}


def test_only_the_touched_month_is_written(store: CandleStore) -> None:
    store.write_candles(make_candles(24 * 40, timeframe=H1))
    late = make_candles(2, timeframe=H1, start_ms=START_MS + 35 * DAY_MS, base=7)
    assert store.write_candles(late).parts_written == 1


def test_the_content_hash_depends_on_the_values_alone(tmp_path: Path) -> None:
    whole, piecewise, other = (CandleStore(tmp_path / name) for name in "abc")
    candles = make_candles(24 * 40, timeframe=H1)
    whole.write_candles(candles)
    piecewise.write_candles(candles[500:])
    piecewise.write_candles(candles[:500])
    other.write_candles(make_candles(24 * 40, timeframe=H1, base=100.5))
    hashes = [
        one.content_hash(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES, H1)
        for one in (whole, piecewise, other)
    ]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_60m_and_1h_are_one_series(store: CandleStore) -> None:
    store.write_candles(make_candles(3, timeframe=Timeframe.parse("60m")))
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", H1)) == 3
    assert folder_of(store, "1h.parquet").is_dir()


def test_the_listing_says_what_is_stored(store: CandleStore) -> None:
    store.write_candles(make_candles(3, timeframe=H1))
    store.write_candles(make_candles(6))
    store.write_funding(make_funding([0, 8]))
    names = [str(one.key) for one in store.series()]
    assert names == ["binance BTCUSDT 5m", "binance BTCUSDT 1h", "binance BTCUSDT funding"]
    five = store.series()[0]
    assert (five.rows, five.first_ts_ms, five.last_ts_ms) == (6, START_MS, START_MS + 1_500_000)
    assert (five.gaps, five.parts, five.source) == (0, 1, "recorded")
    assert store.timeframes(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES) == [M5, H1]
    assert store.has(Venue.BINANCE, "BTCUSDT", DataKind.FUNDING)
    assert not store.has(Venue.BINANCE, "BTCUSDT", DataKind.MARK, M5)


def test_an_empty_store_lists_nothing(store: CandleStore) -> None:
    assert store.series() == []


def test_a_deleted_series_is_gone(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    store.delete(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES, M5)
    assert not store.has(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES, M5)
    assert list(folder_of(store).parent.iterdir()) == []
    with pytest.raises(DataRefused):
        store.delete(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES, M5)


@pytest.mark.parametrize("symbol", ["../BTCUSDT", "", "BTC/USDT", ".hidden", "A" * 50])
def test_a_symbol_that_would_leave_the_store_is_refused(store: CandleStore, symbol: str) -> None:
    with pytest.raises(UsageRefused, match="is not a symbol"):
        store.write_candles(make_candles(3, symbol=symbol))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_part_is_never_read_as_prices(store: CandleStore, damage: str) -> None:
    store.write_candles(make_candles(1000))
    part = folder_of(store) / "2023-01.parquet"
    data = bytearray(part.read_bytes())
    if damage == "remove":
        part.unlink()
    else:
        data[len(data) // 2] ^= 1
        part.write_bytes(data if damage == "flip" else data[:-100])
    with pytest.raises(DataRefused, match=r"2023-01\.parquet is damaged") as refused:
        store.candles(Venue.BINANCE, "BTCUSDT", M5)
    assert "Import the data of that time again" in refused.value.next_step
    assert len(store.verify(KEY)) == 1


def test_importing_again_repairs_a_damaged_part(store: CandleStore) -> None:
    store.write_candles(make_candles(100))
    part = folder_of(store) / "2023-01.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    store.write_candles(make_candles(100))
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5)) == 100
    assert store.verify(KEY) == []


def test_a_damaged_manifest_names_the_file_and_the_way_out(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    manifest = folder_of(store) / "_manifest.json"
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(DataRefused, match=r"_manifest\.json: the manifest of .* cannot be read"):
        store.candles(Venue.BINANCE, "BTCUSDT", M5)


def test_a_copied_folder_does_not_pass_for_another_symbol(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    shutil.copytree(folder_of(store), store.root / "binance" / "ETHUSDT" / "5m.parquet")
    with pytest.raises(DataRefused, match="it describes 'binance BTCUSDT 5m'"):
        store.candles(Venue.BINANCE, "ETHUSDT", M5)


def test_the_manifest_lists_every_part_with_rows_range_and_hash(store: CandleStore) -> None:
    store.write_candles(make_candles(24 * 40, timeframe=H1))
    document = json.loads((folder_of(store, "1h.parquet") / "_manifest.json").read_text())
    first = document["parts"][0]
    assert (first["path"], first["rows"], first["gaps"]) == ("2023-01.parquet", 744, 0)
    assert first["first_ts_ms"] == START_MS
    assert first["last_ts_ms"] == START_MS + 743 * 3_600_000
    assert len(first["sha256"]) == 64


@pytest.mark.parametrize("sources", [("recorded", "synthetic seed=7"), ("synthetic seed=7",) * 2])
def test_recorded_and_synthetic_rows_never_mix(
    store: CandleStore, sources: tuple[str, str]
) -> None:
    store.write_candles(make_candles(3), source=sources[0])
    if sources[0] == sources[1]:
        store.write_candles(make_candles(5), source=sources[1])
        assert store.series()[0].source == "synthetic seed=7"
        return
    with pytest.raises(DataRefused, match="cannot be mixed"):
        store.write_candles(make_candles(5), source=sources[1])
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5)) == 3


def test_loading_candles_needs_neither_pandas_nor_duckdb(store: CandleStore) -> None:
    store.write_candles(make_candles(3))
    program = (
        "import sys; from pathlib import Path\n"
        "from perpdesk.marketdata.candle_store import CandleStore\n"
        "from perpdesk.domain.candles import Timeframe, Venue\n"
        f"store = CandleStore(Path({str(store.root)!r}))\n"
        "store.candles(Venue.BINANCE, 'BTCUSDT', Timeframe.parse('5m'))\n"
        "print(sorted({'pandas', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
