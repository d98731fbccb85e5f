"""What is wrong with stored data: every part hashed, every row through the gate again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perpdesk.domain.candles import DataKind, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import Gap
from perpdesk.marketdata.integrity import (
    IntegrityReport,
    Origin,
    check_candles,
    check_funding,
    check_open_interest,
    check_trades,
)
from perpdesk.marketdata.series import RECORDED, SeriesKey, StoredSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesCheck:
    """What a check found in one series. damage makes it unusable; the rest is only told."""

    series: str
    rows: int
    source: str
    damage: tuple[str, ...]
    gaps: tuple[Gap, ...]
    warnings: tuple[str, ...]
    next_step: str

    @property
    def is_sound(self) -> bool:
        """Tell whether the series can be used."""
        return not self.damage


def check_series(store: CandleStore, key: SeriesKey, *, now_ms: int) -> SeriesCheck:
    """Hash every part of a series, then pass every row through the integrity gate."""
    try:
        stored = store.stored(key)
        damage = store.verify(key)
        # A market of our own making may be ahead of this computer's clock.
        latest_ms = now_ms if stored.source == RECORDED else None
        report = None if damage else _report(store, key, latest_ms)
    except DataRefused as error:
        return SeriesCheck(
            series=str(key),
            rows=0,
            source="",
            damage=(error.message,),
            gaps=(),
            warnings=(),
            next_step=error.next_step,
        )
    if report is not None:
        damage += [str(problem) for problem in report.problems]
    strays = _strays(store, key)
    next_step = ""
    if damage:
        next_step = f"Import the data of that time again: {key.import_command()}{_or_fetch(stored)}"
    elif report is not None and report.gaps:
        command = f"{key.import_command()}{_or_fetch(stored)}"
        next_step = f"To fill a gap, import a file that holds its rows: {command}"
    return SeriesCheck(
        series=str(key),
        rows=stored.rows,
        source=stored.source,
        damage=tuple(damage),
        gaps=report.gaps if report is not None else (),
        warnings=(*(report.warnings if report is not None else ()), *strays),
        next_step=next_step,
    )


def _or_fetch(stored: StoredSeries) -> str:
    """Return the other way to mend a series: from its venue, if it came from one."""
    is_made = stored.source.startswith("synthetic")
    if is_made or stored.venue is Venue.BINANCE_SPOT:
        return ""
    return f" or fetch it: perpdesk data heal {stored.symbol} --venue {stored.venue}"


def unlisted_folders(store: CandleStore) -> list[str]:
    """Return a sentence for every dataset folder that has no manifest or no known name."""
    known = {one.key.folder(store.root) for one in store.series()}
    return [
        f"{folder} is not a stored series (no manifest of ours, or an unknown name)"
        for folder in sorted(store.root.glob("*/*/*.parquet"))
        if folder.is_dir() and folder not in known and _holds_parts(folder)
    ]


def _holds_parts(folder: Path) -> bool:
    return any(not path.name.startswith("_") for path in folder.glob("*.parquet"))


def _strays(store: CandleStore, key: SeriesKey) -> Sequence[str]:
    folder = key.folder(store.root)
    listed = {part.path for part in store.manifest(key).parts}
    return [
        f"{path} is not in the manifest: tools that read the whole folder will see its rows"
        for path in sorted(folder.glob("*.parquet"))
        if path.name not in listed
    ]


def _report(store: CandleStore, key: SeriesKey, now_ms: int | None) -> IntegrityReport:
    origin = Origin(path=key.folder(store.root))
    if key.timeframe is not None:
        read = store.candles if key.kind is DataKind.CANDLES else store.mark_candles
        candles = read(key.venue, key.symbol, key.timeframe)
        return check_candles(candles, kind=key.kind, origin=origin, now_ms=now_ms)
    if key.kind is DataKind.FUNDING:
        return check_funding(store.funding(key.venue, key.symbol), origin=origin, now_ms=now_ms)
    if key.kind is DataKind.OPEN_INTEREST:
        readings = store.open_interest(key.venue, key.symbol)
        return check_open_interest(readings, origin=origin, now_ms=now_ms)
    return check_trades(store.trades(key.venue, key.symbol), origin=origin, now_ms=now_ms)
