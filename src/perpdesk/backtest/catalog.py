"""Finished runs on disk: one result file each under `backtests/`, its artifacts beside it.

A run exists once its result file does, which is written last. What a run that broke left behind is
invisible; the next run clears it away once it is a day old.
"""

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from perpdesk.backtest.artifacts import (
    trade_rows,
    write_artifacts,
    write_json_atomically,
)
from perpdesk.backtest.curve_file import CurveFile
from perpdesk.backtest.manifest import run_manifest
from perpdesk.backtest.runner import BacktestResult
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.atomic_files import sync_folder

SCHEMA_VERSION: Final = 1
_RESULT_KEYS: Final = frozenset({"strategy", "symbols", "metrics", "manifest", "timings"})
_FORGOTTEN_SECONDS: Final = 86_400
_LATEST: Final = re.compile(r"latest(?:~(\d{1,9}))?")
_RUN_ID: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """Where a finished run lies."""

    run_id: str
    result_path: Path
    artifacts_dir: Path

    def load(self) -> dict[str, Any]:
        """Return the result file. Raises DataRefused where it cannot be read or is no result."""
        try:
            loaded: dict[str, Any] = json.loads(self.result_path.read_bytes())
            if loaded["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"its schema is {loaded['schema_version']}, not {SCHEMA_VERSION}")
            missing = _RESULT_KEYS - loaded.keys()
            if missing:
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = "it is no result" if isinstance(error, KeyError | TypeError) else error
            raise DataRefused(
                f"{self.result_path} cannot be read: {why}",
                next_step=f"Delete it (perpdesk backtest delete {self.run_id}), and run it again.",
            ) from None
        return loaded


class BacktestCatalog:
    """Results and artifacts below one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.results_dir = data_dir / "backtests"
        self.artifacts_dir = data_dir / "artifacts"

    # Writing.

    @contextmanager
    def recording(self) -> Iterator["Recording"]:
        """Yield a recording of the run about to start; what is not finished leaves no trace.

        What a power loss left behind more than a day ago is cleared away.
        """
        self.artifacts_dir.mkdir(parents=True, exist_ok=True)
        self._clear_forgotten()
        staging = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=self.artifacts_dir))
        try:
            staging.chmod(0o755)
            recording = Recording(self, staging)
            try:
                yield recording
            finally:
                recording.close()
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            _remove_if_empty(self.artifacts_dir)

    def _clear_forgotten(self) -> None:
        for path in (
            *self.artifacts_dir.glob(".*.partial"),
            *self.results_dir.glob("*/.*.partial"),
        ):
            if time.time() - path.stat().st_mtime > _FORGOTTEN_SECONDS:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    # Reading.

    def runs(self) -> list[StoredRun]:
        """Return all finished runs, the latest first."""
        found = []
        for path in self.results_dir.glob("*/*.json"):
            run_id = path.stem.rpartition("_")[2]
            if _RUN_ID.fullmatch(run_id) and not path.name.startswith("."):
                found.append(self._stored(run_id, path))
        return sorted(found, key=lambda run: run.result_path.stat().st_mtime_ns, reverse=True)

    def find(self, reference: str) -> StoredRun:
        """Return the run whose id begins with `reference`.

        "latest" is the latest run, "latest~1" the one before it, and so on.

        Raises UsageRefused where none or several do.
        """
        runs = self.runs()
        if not runs:
            raise UsageRefused(
                f"there are no runs in {self.results_dir}",
                next_step="Start one: `perpdesk backtest run --help` tells how.",
            )
        if back := _LATEST.fullmatch(reference):
            return _before_latest(runs, int(back[1] or 0))
        found = [run for run in runs if reference and run.run_id.startswith(reference)]
        if len(found) == 1:
            return found[0]
        words = "several runs begin" if found else "no run begins"
        raise UsageRefused(
            f"{words} with {reference!r}",
            next_step="`perpdesk backtest list` shows the runs and their ids.",
        )

    def _stored(self, run_id: str, path: Path) -> StoredRun:
        return StoredRun(run_id=run_id, result_path=path, artifacts_dir=self.artifacts_dir / run_id)

    def place_of(self, result: BacktestResult, run_id: str, created_ms: int) -> StoredRun:
        """Return where a run made at `created_ms` belongs."""
        day = datetime.fromtimestamp(created_ms / 1000, UTC).strftime("%Y-%m-%d")
        spec = result.spec
        name = f"{'+'.join(spec.symbols)}_{result.strategy.name}_{spec.timeframe}_{run_id}.json"
        return self._stored(run_id, self.results_dir / day / name)

    def export(self, run: StoredRun, to: Path) -> None:
        """Copy a run into a new folder, or into a new file where `to` ends in .zip.

        Raises UsageRefused where `to` exists, DataRefused where the run's artifacts do not.
        """
        if to.exists():
            raise UsageRefused(f"{to} exists already", next_step="Name a new folder or file.")
        if not run.artifacts_dir.is_dir():
            raise DataRefused(
                f"the artifacts of run {run.run_id} are gone from {run.artifacts_dir}",
                next_step=f"Delete it (perpdesk backtest delete {run.run_id}), and run it again.",
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=to.parent))
        try:
            copied = folder / "run"
            shutil.copytree(run.artifacts_dir, copied)
            shutil.copy2(run.result_path, copied / "result.json")
            if to.suffix == ".zip":
                copied = Path(shutil.make_archive(str(folder / "packed"), "zip", copied))
            copied.rename(to)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # Deleting.

    def delete(self, runs: Sequence[StoredRun]) -> None:
        """Remove runs: first the result file, so that half a run never shows."""
        for run in runs:
            run.result_path.unlink(missing_ok=True)
            shutil.rmtree(run.artifacts_dir, ignore_errors=True)
            _remove_if_empty(run.result_path.parent)


class Recording:
    """The artifacts of one run, from its first bar on, in a folder that nobody sees yet."""

    def __init__(self, catalog: BacktestCatalog, folder: Path) -> None:
        self._catalog = catalog
        self._folder = folder
        self._curve = CurveFile(folder / "account_curve.csv")

    def take_curve(self, part: AccountCurve) -> None:
        """Take a part of the account curve, while the run goes on."""
        self._curve.write(part)

    def close(self) -> None:
        """Let go of open files."""
        self._curve.close()

    def finish(
        self, result: BacktestResult, *, created_ms: int, seconds: Mapping[str, float]
    ) -> StoredRun:
        """Write what is left, move all into place, then register the run by its result file.

        created_ms: wall time. seconds: how long each part of the run took, by name.
        """
        run_id = new_run_id(result, created_ms)
        stored = self._catalog.place_of(result, run_id, created_ms)
        manifest, trades = run_manifest(result), trade_rows(result.trips)
        write_artifacts(
            result,
            self._folder,
            manifest=manifest,
            trades=trades,
            run_id=run_id,
            created_ms=created_ms,
        )
        document = result_document(result, manifest, trades, run_id=run_id)
        timings = {"created_ms": created_ms, "seconds": seconds}
        self._curve.finish()
        sync_folder(self._folder)
        try:
            self._folder.rename(stored.artifacts_dir)
            sync_folder(stored.artifacts_dir.parent)
            write_json_atomically(stored.result_path, {**document, "timings": timings})
        except BaseException:
            # Also where Ctrl-C came when the last file was in place already: all of it or nothing.
            self._catalog.delete([stored])
            raise
        return stored


def _before_latest(runs: Sequence[StoredRun], count: int) -> StoredRun:
    if count >= len(runs):
        raise UsageRefused(
            f"there is no latest~{count}; {len(runs)} runs are stored",
            next_step="`perpdesk backtest list` shows the runs and their ids.",
        )
    return runs[count]


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def new_run_id(result: BacktestResult, created_ms: int) -> str:
    """Return twelve hex digits from everything that decides the run, and from when it was made."""
    parts = [
        result.spec.content_hash(),
        result.strategy_source_hash,
        *(source.content_hash for source in result.data.sources),
        str(created_ms),
    ]
    return hashlib.blake2b("|".join(parts).encode(), digest_size=6).hexdigest()


def result_document(
    result: BacktestResult,
    manifest: Mapping[str, Any],
    trades: Sequence[Mapping[str, object]],
    *,
    run_id: str,
) -> dict[str, Any]:
    """Return the full result: the same for the same inputs, but for the run id."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "strategy": result.strategy.key(),
        "symbols": list(result.spec.symbols),
        "metrics": result.metrics.as_dict(),
        "signals": result.signals,
        "stopped": result.stopped,
        "trades": trades,
        "manifest": manifest,
    }
