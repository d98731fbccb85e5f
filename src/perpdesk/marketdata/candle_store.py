"""Market data on disk: one Parquet dataset a series, written atomically, read with proof.

    {root}/{venue}/{symbol}/{timeframe}.parquet/2023-01.parquet      candles, a part a month
    {root}/{venue}/{symbol}/mark-{timeframe}.parquet/2023-01.parquet mark prices, a part a month
    {root}/{venue}/{symbol}/funding.parquet/2023.parquet             settlements, a part a year
    {root}/{venue}/{symbol}/open_interest.parquet/2023-01.parquet    open interest, a part a month
    {root}/{venue}/{symbol}/trades.parquet/2023-01-31.parquet        trades, a part a day

Names that begin with an underscore are ours: `_manifest.json` says what belongs to the series. A
write puts new parts beside the old ones as `_pending-…`, then commits them all at once by creating
`_commit.json`, then moves them into place. Killed before the commit, the series is as it was;
killed after it, readers take the pending parts and the next write finishes the move.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Times,
    Trades,
    Venue,
)
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.atomic_files import disk_errors, exclusive
from perpdesk.marketdata.integrity import (
    check_candles,
    check_funding,
    check_open_interest,
    check_trades,
    require_sound,
)
from perpdesk.marketdata.manifest import Manifest, Part
from perpdesk.marketdata.parquet_parts import Columns, PartDamaged, decode_into, empty_columns
from perpdesk.marketdata.series import (
    RECORDED,
    SeriesKey,
    StoredSeries,
    WriteReport,
    key_of_folder,
    timeframe_of,
)
from perpdesk.marketdata.series_writer import (
    COMMIT,
    MANIFEST,
    PENDING,
    read_manifest,
    require_same_source,
    write_series,
)

_Result = TypeVar("_Result")


class CandleStore:
    """Candles, mark prices, funding, open interest and trades below one folder.

    Reading hashes every part it opens, so what is returned passed the integrity gate when it was
    stored and has not changed since. Times are half-open: start_ms <= time < end_ms.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def candles(
        self,
        venue: Venue,
        symbol: str,
        timeframe: Timeframe,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Candles:
        """Return last-price candles; raises DataRefused where the series is missing or damaged."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=DataKind.CANDLES, timeframe=timeframe)
        columns = self._load(key, start_ms, end_ms)
        return Candles(venue=venue, symbol=symbol, timeframe=timeframe, **columns)

    def mark_candles(
        self,
        venue: Venue,
        symbol: str,
        timeframe: Timeframe,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Candles:
        """Return mark-price candles, with zeros for volume."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=DataKind.MARK, timeframe=timeframe)
        columns = self._load(key, start_ms, end_ms)
        volume = np.zeros(len(columns["ts_ms"]))
        return Candles(venue=venue, symbol=symbol, timeframe=timeframe, volume=volume, **columns)

    def funding(
        self, venue: Venue, symbol: str, start_ms: int | None = None, end_ms: int | None = None
    ) -> FundingRates:
        """Return recorded funding settlements."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=DataKind.FUNDING)
        return FundingRates(venue=venue, symbol=symbol, **self._load(key, start_ms, end_ms))

    def trades(
        self, venue: Venue, symbol: str, start_ms: int | None = None, end_ms: int | None = None
    ) -> Trades:
        """Return recorded trades."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=DataKind.TRADES)
        return Trades(venue=venue, symbol=symbol, **self._load(key, start_ms, end_ms))

    def open_interest(
        self, venue: Venue, symbol: str, start_ms: int | None = None, end_ms: int | None = None
    ) -> OpenInterest:
        """Return recorded open interest; raises DataRefused where the range holds no reading."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=DataKind.OPEN_INTEREST)
        columns = self._load(key, start_ms, end_ms)
        period_ms = columns.pop("period_ms")
        period = timeframe_of(int(period_ms[0])) if len(period_ms) else self.period(key)
        return OpenInterest(venue=venue, symbol=symbol, timeframe=period, **columns)

    def write_candles(
        self,
        candles: Candles,
        kind: DataKind = DataKind.CANDLES,
        *,
        source: str = RECORDED,
        are_pieces: bool = False,
    ) -> WriteReport:
        """Merge candles into their series; where a time is stored already, the new row wins.

        are_pieces: see `check_candles`.
        Raises DataRefused for rows that fail the integrity gate, for a full disk, and for recorded
        rows over generated ones or the reverse. Nothing is changed then.
        """
        require_sound(check_candles(candles, kind=kind, are_pieces=are_pieces))
        key = SeriesKey(
            venue=candles.venue, symbol=candles.symbol, kind=kind, timeframe=candles.timeframe
        )
        columns: Columns = {"ts_ms": candles.ts_ms, **dict(candles.columns())}
        if kind is DataKind.MARK:
            del columns["volume"]
        return self._write(key, columns, source)

    def write_funding(self, funding: FundingRates, *, source: str = RECORDED) -> WriteReport:
        """Merge funding settlements into their series; see `write_candles`."""
        require_sound(check_funding(funding))
        key = SeriesKey(venue=funding.venue, symbol=funding.symbol, kind=DataKind.FUNDING)
        columns: Columns = {
            "ts_ms": funding.ts_ms,
            "rate": funding.rate,
            "mark_price": funding.mark_price,
        }
        return self._write(key, columns, source)

    def write_open_interest(self, readings: OpenInterest, *, source: str = RECORDED) -> WriteReport:
        """Merge readings of open interest into their series; see `write_candles`.

        Raises DataRefused also where readings of another period are stored.
        """
        require_sound(check_open_interest(readings))
        key = SeriesKey(venue=readings.venue, symbol=readings.symbol, kind=DataKind.OPEN_INTEREST)
        columns: Columns = {
            "ts_ms": readings.ts_ms,
            "period_ms": np.full(len(readings), readings.timeframe.duration_ms, np.int64),
            "open_interest": readings.open_interest,
        }
        return self._write(key, columns, source)

    def write_trades(self, trades: Trades, *, source: str = RECORDED) -> WriteReport:
        """Merge trades into their series by time and id; see `write_candles`."""
        require_sound(check_trades(trades))
        key = SeriesKey(venue=trades.venue, symbol=trades.symbol, kind=DataKind.TRADES)
        columns: Columns = {
            "ts_ms": trades.ts_ms,
            "trade_id": trades.trade_id,
            "price": trades.price,
            "quantity": trades.quantity,
            "is_buyer_maker": trades.is_buyer_maker,
        }
        return self._write(key, columns, source)

    def series(self) -> list[StoredSeries]:
        """Return what is stored, ordered by venue, symbol, kind and timeframe."""
        with disk_errors(f"listing {self.root}"):
            folders = sorted(self.root.glob("*/*/*.parquet"))
        found = [self.stored(key) for folder in folders if (key := self._key(folder)) is not None]
        return sorted(
            found,
            key=lambda one: (
                one.venue,
                one.symbol,
                one.kind,
                one.timeframe.duration_ms if one.timeframe else 0,
            ),
        )

    def stored(self, key: SeriesKey) -> StoredSeries:
        """Return what the manifest says of one series; raises DataRefused where it is missing."""
        manifest = self.manifest(key)
        return StoredSeries(
            venue=key.venue,
            symbol=key.symbol,
            kind=key.kind,
            timeframe=key.timeframe,
            rows=manifest.rows,
            first_ts_ms=manifest.parts[0].first_ts_ms,
            last_ts_ms=manifest.parts[-1].last_ts_ms,
            gaps=manifest.gaps,
            parts=len(manifest.parts),
            size_bytes=sum(part.size_bytes for part in manifest.parts),
            source=manifest.source,
        )

    def has(
        self, venue: Venue, symbol: str, kind: DataKind, timeframe: Timeframe | None = None
    ) -> bool:
        """Tell whether a series is stored."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=kind, timeframe=timeframe)
        return self._is_stored(key.folder(self.root))

    def timeframes(
        self, venue: Venue, symbol: str, kind: DataKind = DataKind.CANDLES
    ) -> list[Timeframe]:
        """Return the stored timeframes of a symbol, shortest first."""
        folders = (self.root / venue.value / symbol).glob("*.parquet")
        keys = [self._key(folder) for folder in folders]
        return sorted(key.timeframe for key in keys if key and key.kind is kind and key.timeframe)

    def content_hash(
        self, venue: Venue, symbol: str, kind: DataKind, timeframe: Timeframe | None = None
    ) -> str:
        """Return a hash of the stored values, the same whenever and however they were written."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=kind, timeframe=timeframe)
        return self.manifest(key).content_hash()

    def delete(
        self, venue: Venue, symbol: str, kind: DataKind, timeframe: Timeframe | None = None
    ) -> None:
        """Remove a series; raises DataRefused where it is not stored."""
        key = SeriesKey(venue=venue, symbol=symbol, kind=kind, timeframe=timeframe)
        folder = key.folder(self.root)
        self.manifest(key)
        with disk_errors(f"deleting {key}"), exclusive(folder):
            doomed = folder.with_name(f"_deleted-{folder.name}")
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)

    def require_source(self, key: SeriesKey, source: str) -> None:
        """Raise DataRefused where the series is stored with data of another source."""
        if self._is_stored(key.folder(self.root)):
            require_same_source(key, self.manifest(key), source)

    def manifest(self, key: SeriesKey) -> Manifest:
        """Return the manifest of a series; raises DataRefused where there is none."""
        folder = key.folder(self.root)
        if not self._is_stored(folder):
            raise DataRefused(
                f"no {key} is stored in {self.root}",
                next_step=f"Import it: {key.import_command()}, or download it: perpdesk data "
                "download --help. What is stored: perpdesk data list.",
            )
        with disk_errors(f"reading {folder}"):
            return read_manifest(folder, key)

    def part_paths(self, key: SeriesKey) -> list[Path]:
        """Return the files that hold the series now, in order of time."""
        folder = key.folder(self.root)
        return [_part_path(folder, part) for part in self.manifest(key).parts]

    def verify(self, key: SeriesKey) -> list[str]:
        """Return a sentence for every part that is missing or differs from the manifest."""
        folder = key.folder(self.root)
        found: list[str] = []
        for part in self.manifest(key).parts:
            path = _part_path(folder, part)
            try:
                columns = empty_columns(key.kind, part.rows)
                decode_into(path.read_bytes(), columns, slice(0, part.rows), sha256=part.sha256)
            except (OSError, PartDamaged) as error:
                found.append(f"{path}: {error}")
        return found

    def sound_times(self, key: SeriesKey) -> tuple[Times, tuple[Part, ...]]:
        """Return the times of every row that can be read, and the parts that cannot be."""
        folder = key.folder(self.root)
        times, damaged = [np.empty(0, np.int64)], []
        for part in self.manifest(key).parts:
            columns: Columns = {"ts_ms": np.empty(part.rows, np.int64)}
            try:
                data = _part_path(folder, part).read_bytes()
                decode_into(data, columns, slice(0, part.rows), sha256=part.sha256)
            except (OSError, PartDamaged):
                damaged.append(part)
            else:
                times.append(columns["ts_ms"])
        return np.concatenate(times), tuple(damaged)

    def period(self, key: SeriesKey) -> Timeframe:
        """Return the step of a series of open interest; raises DataRefused if it is unreadable."""
        assert key.kind is DataKind.OPEN_INTEREST
        folder = key.folder(self.root)
        for part in self.manifest(key).parts:
            columns: Columns = {"period_ms": np.empty(part.rows, np.int64)}
            try:
                data = _part_path(folder, part).read_bytes()
                decode_into(data, columns, slice(0, part.rows), sha256=part.sha256)
            except (OSError, PartDamaged):
                continue
            return timeframe_of(int(columns["period_ms"][0]))
        raise DataRefused(
            f"every part of {key} is damaged", next_step=f"Delete it: {key.delete_command()}"
        )

    def _key(self, folder: Path) -> SeriesKey | None:
        return key_of_folder(folder) if self._is_stored(folder) else None

    def _is_stored(self, folder: Path) -> bool:
        return (folder / MANIFEST).exists() or (folder / COMMIT).exists()

    def _load(self, key: SeriesKey, start_ms: int | None, end_ms: int | None) -> Columns:
        """Read the parts that overlap the range into preallocated columns, then cut them."""

        def attempt() -> Columns:
            manifest = self.manifest(key)
            parts = [
                part
                for part in manifest.parts
                if (end_ms is None or part.first_ts_ms < end_ms)
                and (start_ms is None or part.last_ts_ms >= start_ms)
            ]
            columns = empty_columns(key.kind, sum(part.rows for part in parts))
            done = 0
            for part in parts:
                path = _part_path(key.folder(self.root), part)
                rows = slice(done, done + part.rows)
                done += part.rows
                _read_part(path, columns, rows, part)
            return columns

        columns = _once_more_if_moved(attempt)
        ts_ms = columns["ts_ms"]
        first = 0 if start_ms is None else int(np.searchsorted(ts_ms, start_ms))
        last = len(ts_ms) if end_ms is None else int(np.searchsorted(ts_ms, end_ms))
        return {name: values[first:last] for name, values in columns.items()}

    def _write(self, key: SeriesKey, columns: Columns, source: str) -> WriteReport:
        with disk_errors(f"storing {key} in {self.root}"):
            return write_series(self.root, key, columns, source)


def _once_more_if_moved(attempt: Callable[[], _Result]) -> _Result:
    """Try again once: another process may have been putting new parts in place."""
    try:
        return attempt()
    except DataRefused:
        return attempt()


def _part_path(folder: Path, part: Part) -> Path:
    pending = folder / f"{PENDING}{part.path}.tmp"
    if (folder / COMMIT).exists() and pending.exists():
        return pending
    return folder / part.path


def _read_part(path: Path, columns: Columns, rows: slice, part: Part) -> None:
    try:
        decode_into(path.read_bytes(), columns, rows, sha256=part.sha256)
    except (OSError, PartDamaged) as error:
        raise DataRefused(
            f"{path} is damaged: {error}",
            next_step="Import the data of that time again (perpdesk data import); "
            "perpdesk data check names every damaged part.",
        ) from error
