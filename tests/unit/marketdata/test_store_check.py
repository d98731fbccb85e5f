"""A check of the store finds damage, tells it from gaps, and says what to do."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.marketdata.rows import M5, NOW_MS, START_MS, make_candles, make_funding, make_trades

from perpdesk.domain.candles import DataKind, Venue
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.series import SeriesKey
from perpdesk.marketdata.store_check import check_series, unlisted_folders

KEY = SeriesKey(venue=Venue.BINANCE, symbol="BTCUSDT", kind=DataKind.CANDLES, timeframe=M5)


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    store = CandleStore(tmp_path)
    store.write_candles(make_candles(50))
    return store


def folder_of(store: CandleStore) -> Path:
    return KEY.folder(store.root)


def test_sound_series_of_every_kind_are_found_sound(store: CandleStore) -> None:
    store.write_candles(make_candles(5), DataKind.MARK)
    store.write_funding(make_funding([0, 8]))
    store.write_trades(make_trades(5))
    found = [check_series(store, one.key, now_ms=NOW_MS) for one in store.series()]
    assert [(one.is_sound, one.rows, one.next_step) for one in found] == [
        (True, 50, ""),
        (True, 2, ""),
        (True, 5, ""),
        (True, 5, ""),
    ]


def test_a_gap_is_listed_with_the_command_that_fills_it(store: CandleStore) -> None:
    store.write_candles(make_candles(5, start_ms=START_MS + 100 * 300_000))
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert found.is_sound
    assert [gap.missing for gap in found.gaps] == [50]
    assert "perpdesk data import FILE --venue binance --symbol BTCUSDT" in found.next_step


def test_a_flipped_bit_is_damage(store: CandleStore) -> None:
    part = folder_of(store) / "2023-01.parquet"
    data = bytearray(part.read_bytes())
    data[100] ^= 4
    part.write_bytes(data)
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert not found.is_sound
    assert "SHA-256 differs" in found.damage[0]
    assert "Import the data of that time again" in found.next_step


def test_a_broken_manifest_is_damage_and_not_a_crash(store: CandleStore) -> None:
    (folder_of(store) / "_manifest.json").write_text("{}")
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert "cannot be read" in found.damage[0]


def test_rows_that_are_of_the_future_by_now_are_damage(store: CandleStore) -> None:
    found = check_series(store, KEY, now_ms=START_MS)
    assert "is not over yet" in found.damage[0]


def test_a_part_that_is_not_in_the_manifest_is_told(store: CandleStore) -> None:
    stray = folder_of(store) / "2022-12.parquet"
    stray.write_bytes((folder_of(store) / "2023-01.parquet").read_bytes())
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert found.is_sound
    assert "2022-12.parquet is not in the manifest" in found.warnings[0]


def test_a_folder_that_no_manifest_describes_is_told(store: CandleStore) -> None:
    assert unlisted_folders(store) == []
    other = store.root / "binance" / "BTCUSDT" / "7m.parquet"
    other.mkdir()
    assert unlisted_folders(store) == []
    (other / "2023-01.parquet").write_bytes(b"")
    assert "7m.parquet is not a stored series" in unlisted_folders(store)[0]


def test_a_jump_is_told_as_a_note(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    prices = np.where(np.arange(20) < 10, 100.0, 900.0)
    store.write_candles(make_candles(20, open=prices, high=prices, low=prices, close=prices))
    found = check_series(store, KEY, now_ms=NOW_MS)
    assert found.is_sound
    assert "open more than 2 times" in found.warnings[0]
