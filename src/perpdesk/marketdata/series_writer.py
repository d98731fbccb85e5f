"""The one way rows come into a series: merge, write beside, commit, move into place."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np

from perpdesk.domain.candles import DataKind, Timeframe, Times
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.atomic_files import (
    exclusive,
    replace_durably,
    sync_folder,
    write_durably,
)
from perpdesk.marketdata.gaps import SAME_SETTLEMENT_MS, bar_numbers, funding_gaps_of, gaps
from perpdesk.marketdata.manifest import Manifest, Part
from perpdesk.marketdata.parquet_parts import (
    Columns,
    PartDamaged,
    content_sha256,
    decode_into,
    empty_columns,
    encode,
)
from perpdesk.marketdata.series import SeriesKey, WriteReport, part_slices, timeframe_of

MANIFEST: Final = "_manifest.json"
COMMIT: Final = "_commit.json"
PENDING: Final = "_pending-"


def read_manifest(folder: Path, key: SeriesKey) -> Manifest:
    """Return the committed manifest: that of an unfinished move, if there is one."""
    for name in (COMMIT, MANIFEST):
        path = folder / name
        try:
            return Manifest.from_json(path.read_bytes(), path=path, key=key)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(folder / MANIFEST)


def write_series(root: Path, key: SeriesKey, columns: Columns, source: str) -> WriteReport:
    """Merge checked columns into the series on disk; OSError means that nothing was changed."""
    folder = key.folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        _finish_move(folder, key)
        _remove_orphans(folder)
        _require_no_strays(folder)
        stored = read_manifest(folder, key) if (folder / MANIFEST).exists() else None
        require_same_source(key, stored, source)
        writer = _Writer(folder, key, stored)
        try:
            for name, rows in part_slices(columns["ts_ms"], key.span):
                writer.merge(name, {field: values[rows] for field, values in columns.items()})
            manifest = writer.manifest(source)
            if writer.parts_written:
                replace_durably(folder / COMMIT, manifest.to_json())
        except BaseException:
            if not (folder / COMMIT).exists():
                _remove_orphans(folder)
                if stored is None:
                    shutil.rmtree(folder)
            raise
        _finish_move(folder, key)
    return writer.report(manifest)


class _Writer:
    """One merge: the parts it leaves alone, the parts it writes, and what that changes."""

    def __init__(self, folder: Path, key: SeriesKey, stored: Manifest | None) -> None:
        self.folder = folder
        self.key = key
        self.parts = {part.path: part for part in stored.parts} if stored else {}
        self.parts_written = 0
        self.given = self.added = self.replaced = self.unchanged = 0
        self.period: Timeframe | None = None

    def merge(self, name: str, new: Columns) -> None:
        """Merge the rows of one part and write it beside the stored one, if anything changed."""
        if self.key.kind is DataKind.OPEN_INTEREST and self.period is None:
            self.period = self._one_period(int(new["period_ms"][0]))
        old = self._stored_rows(name)
        merged = new if old is None else _merged(self.key.kind, old, new)
        same = 0 if old is None else _same_rows(self.key.kind, old, new)
        rows_before = 0 if old is None else len(old["ts_ms"])
        given, rows = len(new["ts_ms"]), len(merged["ts_ms"])
        added = rows - rows_before
        self.given += given
        self.added += added
        self.unchanged += same
        self.replaced += given - added - same
        if old is not None and same == given:
            return
        data = encode(merged)
        write_durably(self.folder / f"{PENDING}{name}.tmp", data)
        self.parts_written += 1
        self.parts[name] = Part(
            path=name,
            rows=rows,
            first_ts_ms=int(merged["ts_ms"][0]),
            last_ts_ms=int(merged["ts_ms"][-1]),
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            content_sha256=content_sha256(merged),
            gaps=len(gaps(merged["ts_ms"], self.key.timeframe)) if self.key.timeframe else 0,
        )

    def manifest(self, source: str) -> Manifest:
        """Return the manifest of the series after the merge."""
        parts = tuple(sorted(self.parts.values(), key=lambda part: part.first_ts_ms))
        count = 0
        if self.key.kind is DataKind.FUNDING:
            count = self._funding_gaps(parts)
        elif self.key.kind is DataKind.OPEN_INTEREST:
            assert self.period is not None  # every write has rows
            count = len(gaps(self._times(parts), self.period))
        if self.key.timeframe is not None:
            edges = np.array([(p.first_ts_ms, p.last_ts_ms) for p in parts], np.int64)
            firsts = bar_numbers(edges[1:, 0], self.key.timeframe)
            lasts = bar_numbers(edges[:-1, 1], self.key.timeframe)
            count = sum(part.gaps for part in parts) + int(np.count_nonzero(firsts - lasts > 1))
        return Manifest(series=str(self.key), source=source, gaps=count, parts=parts)

    def report(self, manifest: Manifest) -> WriteReport:
        """Return what the merge changed."""
        return WriteReport(
            key=self.key,
            rows_given=self.given,
            rows_added=self.added,
            rows_replaced=self.replaced,
            rows_unchanged=self.unchanged,
            rows_total=manifest.rows,
            parts_written=self.parts_written,
            gaps=manifest.gaps,
        )

    def _stored_rows(self, name: str) -> Columns | None:
        """Return the rows of a stored part; a damaged part is repaired by being replaced."""
        part = self.parts.get(name)
        if part is None:
            return None
        columns = empty_columns(self.key.kind, part.rows)
        try:
            data = (self.folder / name).read_bytes()
            decode_into(data, columns, slice(0, part.rows), sha256=part.sha256)
        except (FileNotFoundError, PartDamaged):
            return None
        return columns

    def _one_period(self, period_ms: int) -> Timeframe:
        """Return the period of the new rows; raises DataRefused where another one is stored."""
        columns = next(filter(None, map(self._stored_rows, self.parts)), None)
        if columns is not None and int(columns["period_ms"][0]) != period_ms:
            stored = timeframe_of(int(columns["period_ms"][0]))
            raise DataRefused(
                f"{self.key} is stored every {stored}; it cannot be mixed with readings every "
                f"{timeframe_of(period_ms)}",
                next_step=f"Give readings every {stored}, or delete the stored series first: "
                f"{self.key.delete_command()}",
            )
        return timeframe_of(period_ms)

    def _funding_gaps(self, parts: tuple[Part, ...]) -> int:
        return len(funding_gaps_of(self._times(parts)))

    def _times(self, parts: tuple[Part, ...]) -> Times:
        return np.concatenate([self._part_times(part) for part in parts])

    def _part_times(self, part: Part) -> Times:
        pending = self.folder / f"{PENDING}{part.path}.tmp"
        path = pending if pending.exists() else self.folder / part.path
        columns: Columns = {"ts_ms": np.empty(part.rows, np.int64)}
        try:
            decode_into(path.read_bytes(), columns, slice(0, part.rows), sha256=part.sha256)
        except (FileNotFoundError, PartDamaged):
            return np.array([part.first_ts_ms, part.last_ts_ms], np.int64)
        return columns["ts_ms"]


def require_same_source(key: SeriesKey, stored: Manifest | None, source: str) -> None:
    """Raise DataRefused where recorded and synthetic rows, or those of two seeds, would mix."""
    if stored is None or stored.source == source:
        return
    raise DataRefused(
        f"{key} is stored as {stored.source} data; it cannot be mixed with {source} data",
        next_step="Use another DATA_DIR, or perpdesk data delete the stored series first.",
    )


def _row_keys(kind: DataKind, columns: Columns) -> list[Times]:
    """Return what names a row, most significant first: its time, for trades also its id.

    Two sources give one settlement some ms apart, so funding is named by its minute.
    """
    if kind is DataKind.FUNDING:
        return [(columns["ts_ms"] + SAME_SETTLEMENT_MS // 2) // SAME_SETTLEMENT_MS]
    names = ("ts_ms", "trade_id") if kind is DataKind.TRADES else ("ts_ms",)
    return [columns[name] for name in names]


def _merged(kind: DataKind, old: Columns, new: Columns) -> Columns:
    """Return the rows of both, ascending; where both have a row, the new one."""
    both = {name: np.concatenate((old[name], new[name])) for name in new}
    keys = _row_keys(kind, both)
    order = np.lexsort(tuple(reversed(keys)))
    repeated = np.ones(len(order) - 1, np.bool_)
    for values in keys:
        repeated &= values[order[1:]] == values[order[:-1]]
    last_of_its_key = np.append(~repeated, True)
    kept = order[last_of_its_key]
    return {name: values[kept] for name, values in both.items()}


def _same_rows(kind: DataKind, old: Columns, new: Columns) -> int:
    """Count the new rows that are stored already, value for value."""
    both = {name: np.concatenate((old[name], new[name])) for name in new}
    order = np.lexsort(tuple(reversed(_row_keys(kind, both))))
    same = np.ones(len(order) - 1, np.bool_)
    for values in both.values():
        bits = values.view(np.int64) if values.dtype == np.float64 else values
        same &= bits[order[1:]] == bits[order[:-1]]
    return int(np.count_nonzero(same))


def _finish_move(folder: Path, key: SeriesKey) -> None:
    """Put committed parts in place. May be killed and run again at any point."""
    commit = folder / COMMIT
    if not commit.exists():
        return
    manifest = Manifest.from_json(commit.read_bytes(), path=commit, key=key)
    for part in manifest.parts:
        pending = folder / f"{PENDING}{part.path}.tmp"
        if pending.exists():
            os.replace(pending, folder / part.path)
    sync_folder(folder)
    os.replace(commit, folder / MANIFEST)
    sync_folder(folder)


def _remove_orphans(folder: Path) -> None:
    """Remove what an interrupted write left behind before it was committed."""
    for path in folder.glob("_*.tmp"):
        path.unlink(missing_ok=True)


def _require_no_strays(folder: Path) -> None:
    """Refuse a folder whose Parquet files were not written by us: they are not ours to replace."""
    if (folder / MANIFEST).exists():
        return
    strays = sorted(path.name for path in folder.glob("*.parquet"))
    if strays:
        raise DataRefused(
            f"{folder} holds {strays[0]}, which no manifest lists",
            next_step="Move the folder elsewhere, and import its files from there.",
        )
