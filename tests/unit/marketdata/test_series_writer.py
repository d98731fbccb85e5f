"""A write happens whole or not at all, wherever it is interrupted."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.marketdata.rows import H1, START_MS, make_candles

from perpdesk.domain.candles import DataKind, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata import atomic_files, series_writer
from perpdesk.marketdata.candle_store import CandleStore

OLD = make_candles(24 * 40, timeframe=H1)
NEW = make_candles(24 * 40, timeframe=H1, base=500)


class Killed(BaseException):
    """Stands for a process that ends between two system calls."""


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    store = CandleStore(tmp_path / "candles")
    store.write_candles(OLD)
    return store


def folder_of(store: CandleStore) -> Path:
    return store.root / "binance" / "BTCUSDT" / "1h.parquet"


def first_open(store: CandleStore) -> float:
    candles = store.candles(Venue.BINANCE, "BTCUSDT", H1)
    assert len(candles) == 960
    opens = set((candles.open - candles.open[0]).tolist())
    assert len(opens) == 960, "old and new parts are mixed"
    return float(candles.open[0])


def _dies_at(call: int, real: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return real(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("call", range(1, 12))
def test_a_process_killed_at_any_rename_leaves_the_old_or_the_new_series(
    store: CandleStore, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    monkeypatch.setattr(os, "replace", _dies_at(call, os.replace, Killed()))
    with contextlib.suppress(Killed):
        store.write_candles(NEW)
    monkeypatch.undo()
    assert first_open(store) in (100.0, 500.0)
    store.write_candles(NEW)
    assert first_open(store) == 500.0
    assert sorted(path.name for path in folder_of(store).iterdir()) == [
        "2023-01.parquet",
        "2023-02.parquet",
        "_lock",
        "_manifest.json",
    ]


@pytest.mark.parametrize("call", range(1, 4))
def test_a_process_killed_while_parts_are_written_leaves_the_old_series(
    store: CandleStore, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    # Killed hard: not even the clean-up of the interrupted write runs.
    monkeypatch.setattr(series_writer, "_remove_orphans", lambda folder: None)
    monkeypatch.setattr(os, "fsync", _dies_at(call, os.fsync, Killed()))
    with pytest.raises(Killed):
        store.write_candles(NEW)
    monkeypatch.undo()
    assert first_open(store) == 100.0
    store.write_candles(NEW)
    assert first_open(store) == 500.0


@pytest.mark.parametrize("call", range(1, 4))
def test_a_full_disk_is_refused_and_leaves_the_old_series_alone(
    store: CandleStore, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before = {path.name: path.read_bytes() for path in folder_of(store).iterdir()}
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", _dies_at(call, os.fsync, full))
    with pytest.raises(DataRefused, match="the disk is full") as refused:
        store.write_candles(NEW)
    assert "what was stored is unchanged" in refused.value.next_step
    assert before == {path.name: path.read_bytes() for path in folder_of(store).iterdir()}


def test_a_full_disk_at_the_first_import_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CandleStore(tmp_path / "candles")
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", _dies_at(1, os.fsync, full))
    with pytest.raises(DataRefused, match="the disk is full"):
        store.write_candles(NEW)
    assert not folder_of(store).exists()
    assert store.series() == []


def test_ctrl_c_during_a_write_leaves_no_half_written_file(
    store: CandleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in folder_of(store).iterdir())
    monkeypatch.setattr(os, "fsync", _dies_at(2, os.fsync, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.write_candles(NEW)
    assert names == sorted(path.name for path in folder_of(store).iterdir())
    assert first_open(store) == 100.0


def test_two_writers_of_one_series_do_not_meet(store: CandleStore) -> None:
    with (folder_of(store) / "_lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataRefused, match="another process is writing"):
            store.write_candles(NEW)
    store.write_candles(NEW)
    assert first_open(store) == 500.0


def test_a_folder_without_write_permission_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(DataRefused, match="Permission denied") as refused:
        CandleStore(tmp_path / "candles").write_candles(NEW)
    assert "permissions" in refused.value.next_step


def test_files_that_are_not_ours_are_never_replaced(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    folder_of(store).mkdir(parents=True)
    (folder_of(store) / "2023-01.parquet").write_bytes(b"someone else's")
    with pytest.raises(DataRefused, match="which no manifest lists"):
        store.write_candles(NEW)
    assert (folder_of(store) / "2023-01.parquet").read_bytes() == b"someone else's"


def test_rows_that_fail_the_gate_are_not_stored(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    bad = make_candles(5, low=[99.0, 100.0, -1.0, 102.0, 103.0])
    with pytest.raises(DataRefused, match=r"row 3, low = -1\.0"):
        store.write_candles(bad)
    assert not store.has(Venue.BINANCE, "BTCUSDT", DataKind.CANDLES, bad.timeframe)


def test_replacing_a_file_durably_leaves_no_temporary_name(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    atomic_files.replace_durably(target, b"one")
    atomic_files.replace_durably(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_the_start_of_the_test_series_is_2023(store: CandleStore) -> None:
    assert store.candles(Venue.BINANCE, "BTCUSDT", H1).ts_ms[0] == START_MS
