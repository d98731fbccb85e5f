"""`perpdesk data …`: import, list, check, resample, query and generate market data."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from perpdesk.cli.frame import console, data_dir, emit, progress
from perpdesk.domain.candles import Candles, DataKind, FundingRates, Timeframe, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import utc_text
from perpdesk.marketdata.importers import Imported, inspect_file
from perpdesk.marketdata.series import StoredSeries, WriteReport
from perpdesk.marketdata.table_files import TABLE_SUFFIXES
from perpdesk.marketdata.times import parse_utc_offset

app = typer.Typer(no_args_is_help=True, help="Import, check, query and generate market data.")

SHOWN_GAPS = 5

VenueOption = Annotated[Venue, typer.Option("--venue", help="The exchange the data came from.")]
SymbolOption = Annotated[str, typer.Option("--symbol", help="As the exchange writes it: BTCUSDT.")]
TimeframeOption = Annotated[
    str | None, typer.Option("--timeframe", help="Candle length: 1m, 5m, 1h, 1d, 1w, 1M.")
]
KindOption = Annotated[DataKind, typer.Option("--kind", help="What the rows are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def store() -> CandleStore:
    """Return the store of the configured DATA_DIR."""
    return CandleStore(data_dir() / "candles")


def now_ms() -> int:
    """Return this computer's time, against which future rows are refused."""
    return time.time_ns() // 1_000_000


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    venue: VenueOption,
    symbol: SymbolOption,
    timeframe: TimeframeOption = None,
    kind: KindOption = DataKind.CANDLES,
    utc_offset: Annotated[
        str | None, typer.Option(help="Clock of local times in the file, such as +03:00.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Store rows of Parquet, CSV (.csv, .csv.gz, .zip) or Feather files; new rows win.

    Every file passes the gate before the first one is stored.
    """
    symbol = symbol.upper()
    frame = Timeframe.parse(timeframe) if timeframe is not None else None
    files = _files_of(paths)
    offset_ms = parse_utc_offset(utc_offset) if utc_offset is not None else None
    found: list[Imported] = []
    with progress("reading the files", hidden=json_output) as bar:
        for done, path in enumerate(files, 1):
            found.append(
                inspect_file(
                    path,
                    venue=venue,
                    symbol=symbol,
                    timeframe=frame,
                    kind=kind,
                    now_ms=now_ms(),
                    utc_offset_ms=offset_ms,
                )
            )
            bar.update(done, len(files))
    target = store()
    reports = [_write(target, one, kind) for one in found]
    documents = [_import_document(*pair) for pair in zip(found, reports, strict=True)]
    emit(
        {"series": str(reports[-1].key), "files": documents},
        json_output=json_output,
        human=lambda: _show_imports(found, reports),
    )


def _files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files meant: those of a folder by name, so that later months win."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [one for one in path.iterdir() if one.name.lower().endswith(TABLE_SUFFIXES)]
        inside = [one for one in inside if one.is_file() and not one.name.startswith(("_", "."))]
        if not inside:
            raise DataRefused(
                f"{path} holds no Parquet, CSV or Feather file",
                next_step="Give the path of a file, or of the folder that holds them.",
            )
        files.extend(sorted(inside))
    return files


def _write(target: CandleStore, one: Imported, kind: DataKind) -> WriteReport:
    if isinstance(one.rows, Candles):
        return target.write_candles(one.rows, kind)
    if isinstance(one.rows, FundingRates):
        return target.write_funding(one.rows)
    return target.write_trades(one.rows)


def _import_document(one: Imported, report: WriteReport) -> dict[str, object]:
    return {
        "path": one.path,
        "rows": report.rows_given,
        "added": report.rows_added,
        "replaced": report.rows_replaced,
        "unchanged": report.rows_unchanged,
        "first_ts_ms": one.report.first_ts_ms,
        "last_ts_ms": one.report.last_ts_ms,
        "gaps": one.report.gaps,
        "warnings": one.report.warnings,
        "was_newest_first": one.is_reversed,
        "rows_stored": report.rows_total,
    }


def _show_imports(found: Sequence[Imported], reports: Sequence[WriteReport]) -> None:
    for one, report in zip(found, reports, strict=True):
        console.print(
            f"[green]{report.key}[/]: {report.rows_given:,} rows from {one.path.name}, "
            f"{utc_text(one.report.first_ts_ms)} to {utc_text(one.report.last_ts_ms)}: "
            f"{report.rows_added:,} added, {report.rows_replaced:,} replaced, "
            f"{report.rows_unchanged:,} unchanged",
            highlight=False,
            soft_wrap=True,
        )
        if one.is_reversed:
            console.print("  the file was newest first; it was turned around")
        for warning in one.report.warnings:
            console.print(f"  [yellow]note:[/] {warning}", highlight=False)
        for gap in one.report.gaps[:SHOWN_GAPS]:
            console.print(f"  [yellow]gap:[/] {gap}", highlight=False)
        if len(one.report.gaps) > SHOWN_GAPS:
            console.print(f"  and {len(one.report.gaps) - SHOWN_GAPS:,} more gaps")
    console.print(f"{reports[-1].rows_total:,} rows stored, {reports[-1].gaps} gaps")


@app.command("list")
def list_(json_output: JsonOption = False) -> None:
    """List what is stored."""
    found = store().series()
    emit(found, json_output=json_output, human=lambda: _show_list(found))


def _show_list(found: Sequence[StoredSeries]) -> None:
    if not found:
        console.print("Nothing is stored yet. Import a file (perpdesk data import --help),")
        console.print("or make a synthetic market: perpdesk data sample")
        return
    table = Table(title=f"Market data in {data_dir() / 'candles'}")
    table.add_column("series", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("gaps", justify="right")
    table.add_column("source")
    for one in found:
        table.add_row(
            str(one.key),
            f"{one.rows:,}",
            day_of(one.first_ts_ms),
            day_of(one.last_ts_ms),
            str(one.gaps),
            one.source,
        )
    console.print(table)


def day_of(ts_ms: int) -> str:
    """Return the UTC date of a time."""
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d}"
