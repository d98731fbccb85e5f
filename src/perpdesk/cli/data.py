"""`perpdesk data …`: import, list, check, resample, query and generate market data.

What is fetched from the venues (download, heal, sync) is in `download.py`.
"""

import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from perpdesk.cli import download
from perpdesk.cli.data_tables import (
    say,
    show_checks,
    show_imports,
    show_instrument,
    show_list,
    show_rows,
)
from perpdesk.cli.frame import FAILED, data_dir, emit, progress
from perpdesk.domain.candles import (
    DAY_MS,
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Venue,
)
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.aggregation import aggregate_counted, can_aggregate
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.importers import Imported, inspect_file
from perpdesk.marketdata.instrument_records import SECTIONS, day_ms
from perpdesk.marketdata.instruments import InstrumentBook, import_exchange_answer
from perpdesk.marketdata.same_market import require_same_market
from perpdesk.marketdata.series import SeriesKey, WriteReport, canonical_name
from perpdesk.marketdata.store_check import SeriesCheck, check_series, unlisted_folders
from perpdesk.marketdata.table_files import TABLE_SUFFIXES
from perpdesk.marketdata.times import parse_utc_offset

app = typer.Typer(
    no_args_is_help=True, help="Download, import, check, query and generate market data."
)
app.add_typer(download.app)

VenueOption = Annotated[
    Venue, typer.Option("--venue", metavar="VENUE", help="binance, bybit or binance-spot.")
]
SymbolOption = Annotated[str, typer.Option("--symbol", help="As the exchange writes it: BTCUSDT.")]
TimeframeOption = Annotated[
    str | None, typer.Option("--timeframe", help="Candle length: 1m, 5m, 1h, 1d, 1w, 1M.")
]
KindOption = Annotated[
    DataKind,
    typer.Option("--kind", metavar="KIND", help="candles, mark, funding, open_interest or trades."),
]
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
    for one in found:
        require_same_market(target, one)
    reports = [_write(target, one, kind) for one in found]
    documents = [_import_document(*pair) for pair in zip(found, reports, strict=True)]
    emit(
        {"series": str(reports[-1].key), "files": documents},
        json_output=json_output,
        human=lambda: show_imports(found, reports),
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
    if isinstance(one.rows, OpenInterest):
        return target.write_open_interest(one.rows)
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


@app.command("list")
def list_(json_output: JsonOption = False) -> None:
    """List what is stored."""
    target = store()
    found = target.series()
    documents: list[dict[str, object]] = [
        {"series": str(one.key)}
        | {field.name: getattr(one, field.name) for field in fields(one)}
        | {"timeframe": canonical_name(one.timeframe) if one.timeframe else None}
        for one in found
    ]
    emit(documents, json_output=json_output, human=lambda: show_list(found, target.root))


@app.command()
def check(
    venue: Annotated[Venue | None, typer.Option(metavar="VENUE", help="Only this venue.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    kind: Annotated[DataKind | None, typer.Option(metavar="KIND", help="Only this kind.")] = None,
    timeframe: TimeframeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Hash every stored part, check every row, list every gap. Exit code 1 if data is damaged."""
    target = store()
    frame = Timeframe.parse(timeframe) if timeframe is not None else None
    wanted = [
        one.key
        for one in target.series()
        if venue in (None, one.venue)
        and (symbol is None or one.symbol == symbol.upper())
        and kind in (None, one.kind)
        and frame in (None, one.timeframe)
    ]
    if not wanted and (venue or symbol or kind or timeframe):
        raise DataRefused(
            "no stored series fits", next_step="See what there is: perpdesk data list"
        )
    found: list[SeriesCheck] = []
    with progress("checking", hidden=json_output) as bar:
        for key in wanted:
            found.append(check_series(target, key, now_ms=now_ms()))
            bar.update(len(found), len(wanted))
    strays = unlisted_folders(target)
    sound = all(one.is_sound for one in found)
    emit(
        {"sound": sound, "series": found, "warnings": strays},
        json_output=json_output,
        human=lambda: show_checks(found, strays),
    )
    if not sound:
        raise typer.Exit(FAILED)


@app.command()
def resample(
    venue: VenueOption,
    symbol: SymbolOption,
    timeframe: Annotated[str, typer.Option("--timeframe", help="The longer timeframe to make.")],
    source: Annotated[
        str | None, typer.Option("--from", help="The timeframe to make it of; the longest fitting.")
    ] = None,
    kind: KindOption = DataKind.CANDLES,
    replace: Annotated[bool, typer.Option(help="Write over rows that are stored.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make longer candles out of stored shorter ones, and store them."""
    if kind not in (DataKind.CANDLES, DataKind.MARK):
        raise UsageRefused(
            f"{kind} is not made of candles", next_step="Give --kind candles or --kind mark."
        )
    target, symbol, longer = store(), symbol.upper(), Timeframe.parse(timeframe)
    lower = _lower_timeframe(target, venue, symbol, kind, longer, source)
    if not replace and target.has(venue, symbol, kind, longer):
        raise UsageRefused(
            f"{venue} {symbol} {longer} {kind} is stored already",
            next_step="Add --replace to write over the rows of the same times.",
        )
    read = target.mark_candles if kind is DataKind.MARK else target.candles
    key = SeriesKey(venue=venue, symbol=symbol, kind=kind, timeframe=lower)
    made = aggregate_counted(read(venue, symbol, lower), longer)
    report = target.write_candles(made.candles, kind, source=target.manifest(key).source)
    document = {
        "series": str(report.key),
        "made_of": str(key),
        "rows": report.rows_given,
        "incomplete_bars": made.incomplete_bars,
        "missing_lower_bars": made.missing_lower_bars,
    }

    def human() -> None:
        say(f"[green]{report.key}[/]: {report.rows_given:,} candles made of {key}")
        if made.incomplete_bars:
            say(
                f"  [yellow]note:[/] {made.incomplete_bars:,} of them lack "
                f"{made.missing_lower_bars:,} bars of {lower}"
            )

    emit(document, json_output=json_output, human=human)


def _lower_timeframe(
    target: CandleStore,
    venue: Venue,
    symbol: str,
    kind: DataKind,
    longer: Timeframe,
    source: str | None,
) -> Timeframe:
    if source is not None:
        return Timeframe.parse(source)
    shorter = [
        one
        for one in target.timeframes(venue, symbol, kind)
        if one < longer and can_aggregate(one, longer)
    ]
    if not shorter:
        raise DataRefused(
            f"no shorter candles of {venue} {symbol} are stored to make {longer} of",
            next_step="Import them first, for example 1m candles; see perpdesk data list.",
        )
    return shorter[-1]


@app.command()
def sql(
    query: Annotated[
        str,
        typer.Argument(help="One SELECT; views: candles, mark, funding, open_interest, trades."),
    ],
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show at most.")] = 100,
    json_output: JsonOption = False,
) -> None:
    """Ask the stored data in SQL (DuckDB, read-only)."""
    from perpdesk.marketdata.query import run_sql

    result = run_sql(store(), query, max_rows=None if json_output else rows)

    documents: list[dict[str, object]] = [
        dict(zip(result.columns, map(_in_utc, row), strict=True)) for row in result.rows
    ]
    emit(
        documents,
        json_output=json_output,
        human=lambda: show_rows(result),
    )


def _in_utc(value: object) -> object:
    """Return a time of the store with its zone, which DuckDB leaves out."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


@app.command()
def sample(
    into: Annotated[
        Path | None, typer.Option(help="A data folder of its own; DATA_DIR unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same market.")] = 7,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How many days.")] = 120,
    timeframe: Annotated[str, typer.Option(help="1m or 5m, for example.")] = "5m",
    start: Annotated[str, typer.Option(help="First day, UTC.")] = "2024-01-01",
    json_output: JsonOption = False,
) -> None:
    """Make a synthetic market (BTCUSDT, ETHUSDT, SOLUSDT) with mark prices and funding.

    It is marked as synthetic, and never mixed with recorded data.
    """
    from perpdesk.marketdata.sample import generate_market, write_sample

    start_ms = _day(start)
    if start_ms + days * DAY_MS > now_ms():
        raise UsageRefused(
            f"{days} days from {start} are not over yet", next_step="Choose an earlier --start."
        )
    market = generate_market(
        seed, start_ms=start_ms, days=days, timeframe=Timeframe.parse(timeframe)
    )
    target = CandleStore(into / "candles") if into is not None else store()
    reports = write_sample(target, seed, market)
    document = {
        "folder": target.root,
        "source": target.manifest(reports[0].key).source,
        "series": [{"series": str(one.key), "rows": one.rows_total} for one in reports],
    }

    def human() -> None:
        for one in reports:
            say(f"[green]{one.key}[/]: {one.rows_total:,} rows, synthetic (seed {seed})")
        say(f"stored in {target.root}")

    emit(document, json_output=json_output, human=human)


@app.command()
def delete(
    venue: VenueOption,
    symbol: SymbolOption,
    kind: KindOption = DataKind.CANDLES,
    timeframe: TimeframeOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Delete one stored series."""
    frame = Timeframe.parse(timeframe) if timeframe is not None else None
    key = SeriesKey(venue=venue, symbol=symbol.upper(), kind=kind, timeframe=frame)
    target = store()
    rows = target.stored(key).rows
    if not yes:
        typer.confirm(f"Delete {rows:,} rows of {key}?", abort=True, err=True)
    target.delete(key.venue, key.symbol, key.kind, key.timeframe)
    emit(
        {"deleted": str(key), "rows": rows},
        json_output=json_output,
        human=lambda: say(f"deleted {key} ({rows:,} rows)"),
    )


@app.command("import-instruments")
def import_instruments(
    path: Annotated[Path, typer.Argument(help="A recorded answer of the exchange, JSON.")],
    observed: Annotated[
        str | None, typer.Option(help="When it was recorded; the answer's own time unless given.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Store instrument rules, margin tiers or fees from a recorded answer of the exchange."""
    observed_ms = _day(observed) if observed is not None else None
    target, document = import_exchange_answer(path, observed_ms, data_dir=data_dir())
    names = [name for name in SECTIONS if name in document]
    counts: dict[str, int] = {name: len(document[name]) for name in names}
    stored: dict[str, object] = {
        "path": target,
        "venue": document["venue"],
        "observed": document["observed"],
        **counts,
    }
    emit(
        stored,
        json_output=json_output,
        human=lambda: say(
            f"[green]{document['venue']}[/] as of {document['observed']}: "
            + ", ".join(f"{name} of {count}" for name, count in counts.items())
            + f"; stored in {target}"
        ),
    )


@app.command()
def instruments(
    symbol: Annotated[str | None, typer.Argument(help="Show one; list all unless given.")] = None,
    venue: VenueOption = Venue.BINANCE,
    at: Annotated[str | None, typer.Option(help="The date; today unless given.")] = None,
    vip: Annotated[str, typer.Option(help="Fee tier: VIP0 and upwards, or ACCOUNT.")] = "VIP0",
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Ask the venue now, and keep what it says.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Show rules, margin tiers and fees as of a date, and what stands in for what."""
    if fetch:
        download.fetch_instruments(
            venue, symbol.upper() if symbol is not None else None, json_output=json_output
        )
        return
    book = InstrumentBook.load(data_dir())
    ts_ms = _day(at) if at is not None else now_ms()
    if symbol is None:
        names = book.symbols(venue)
        emit(
            {"venue": venue, "symbols": names, "vip_tiers": book.vip_tiers(venue)},
            json_output=json_output,
            human=lambda: say(f"{venue}: {', '.join(names)}"),
        )
        return
    one = book.as_of(venue, symbol.upper(), ts_ms, vip_tier=vip)
    rates = one.fees.at(ts_ms)
    document: dict[str, object] = {f.name: getattr(one, f.name) for f in fields(one)}
    emit(
        document | {"rates": rates},
        json_output=json_output,
        human=lambda: show_instrument(one, rates, ts_ms),
    )


def _day(text: str) -> int:
    try:
        return day_ms(text)
    except ValueError as error:
        raise UsageRefused(
            f"{text!r} is not a date", next_step="Write it as 2024-10-24 (UTC)."
        ) from error
