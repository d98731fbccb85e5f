"""`perpdesk data download | heal | sync`: history fetched from the venues, and kept."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from perpdesk.cli.completion import stored_symbols
from perpdesk.cli.data_tables import SHOWN_GAPS, say
from perpdesk.cli.frame import FAILED, console, emit, errors
from perpdesk.domain.candles import DataKind, Timeframe, Venue
from perpdesk.domain.errors import UsageRefused
from perpdesk.marketdata.gaps import utc_text

if TYPE_CHECKING:
    from perpdesk.marketdata.backfill_report import SeriesProgress, SeriesReport
    from perpdesk.marketdata.history import History, Skipped
    from perpdesk.marketdata.reference import Kept
    from perpdesk.settings import Settings

    Work = Callable[[History], Coroutine[Any, Any, tuple[SeriesReport, ...]]]

app = typer.Typer()

OTHER_KINDS = {
    "mark": DataKind.MARK,
    "funding": DataKind.FUNDING,
    "oi": DataKind.OPEN_INTEREST,
    "open_interest": DataKind.OPEN_INTEREST,
    "trades": DataKind.TRADES,
}
SERVED = (Venue.BINANCE, Venue.BYBIT)

VenueOption = Annotated[
    Venue | None,
    typer.Option("--venue", metavar="VENUE", help="binance or bybit; EXCHANGE unless given."),
]
EveryVenueOption = Annotated[
    Venue | None,
    typer.Option("--venue", metavar="VENUE", help="binance or bybit; all that are stored."),
]
SymbolsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SYMBOL]...",
        help="All that are stored unless given.",
        autocompletion=stored_symbols,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def download(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as BTCUSDT.")],
    since: Annotated[
        str, typer.Option("--since", metavar="DATE", help="Where to begin, UTC: 2024-01-01.")
    ],
    venue: VenueOption = None,
    timeframe: Annotated[
        str, typer.Option("--timeframe", help="Candle length: 1m, 5m, 1h.")
    ] = "1m",
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="Where to end; now unless given.")
    ] = None,
    others: Annotated[
        str, typer.Option("--with", metavar="KIND,…", help="Also mark, funding, oi, trades.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Download candles, and what --with names; run it again to go on after an interruption."""
    settings = _settings()
    kinds = [DataKind.CANDLES, *_kinds(others)]
    frame = Timeframe.parse(timeframe)
    since_ms = _moment("--since", since)
    until_ms = None if until is None else _moment("--until", until)
    names = list(dict.fromkeys(symbol.upper() for symbol in symbols))

    async def work(history: "History") -> "tuple[SeriesReport, ...]":
        return await history.download(
            names, timeframe=frame, kinds=kinds, since_ms=since_ms, until_ms=until_ms
        )

    one = venue or Venue(settings.exchange.value)
    _tell(_run(settings, [_served(one)], work, json_output=json_output), json_output=json_output)


@app.command()
def heal(
    symbols: SymbolsArgument = None,
    venue: EveryVenueOption = None,
    json_output: JsonOption = False,
) -> None:
    """Fetch what stored series lack: their gaps and their damaged parts, and nothing else."""
    names = [symbol.upper() for symbol in symbols or ()]
    _upkeep(lambda history: history.heal(names), names, venue, json_output=json_output)


@app.command()
def sync(
    symbols: SymbolsArgument = None,
    venue: EveryVenueOption = None,
    json_output: JsonOption = False,
) -> None:
    """Bring every stored series up to now."""
    names = [symbol.upper() for symbol in symbols or ()]
    _upkeep(lambda history: history.sync(names), names, venue, json_output=json_output)


def fetch_instruments(venue: Venue, symbol: str | None, *, json_output: bool) -> None:
    """Fetch rules, tiers and fees of a symbol, or of all that are stored, and keep them."""
    from perpdesk import bootstrap

    settings = _settings()
    stored = bootstrap.candle_store(settings.data_dir).series()
    names = [symbol] if symbol else sorted({one.symbol for one in stored if one.venue is venue})

    async def work() -> "Kept":
        async with bootstrap.reference_keeper(settings, _served(venue)) as keeper:
            return await keeper.refresh(names)

    kept = asyncio.run(work())

    def human() -> None:
        changes = ", ".join(f"{section} of {len(found)}" for section, found in kept.changed.items())
        say(f"[green]{kept.venue}[/]: {changes or 'nothing'} changed, {kept.unchanged:,} unchanged")
        if kept.path is not None:
            say(f"stored in {kept.path}")

    emit(kept, json_output=json_output, human=human)


def _settings() -> "Settings":
    from perpdesk.settings import load_settings

    return load_settings()


class _Outcome:
    """What one command brought, of one venue or of several."""

    def __init__(self) -> None:
        self.reports: list[SeriesReport] = []
        self.skipped: list[Skipped] = []


def _upkeep(
    work: "Work",
    symbols: Sequence[str],
    venue: Venue | None,
    *,
    json_output: bool,
) -> None:
    """Run heal or sync at the venues of which something is stored."""
    from perpdesk import bootstrap

    settings = _settings()
    stored = bootstrap.candle_store(settings.data_dir).series()
    found = {one.venue for one in stored if not symbols or one.symbol in symbols}
    venues = [one for one in SERVED if one in found]
    if venue is not None:
        venues = [_served(venue)]
    elif symbols and not venues:
        raise UsageRefused(
            f"nothing of {', '.join(symbols)} is stored",
            next_step="See what there is: perpdesk data list",
        )
    _tell(_run(settings, venues, work, json_output=json_output), json_output=json_output)


def _run(
    settings: "Settings",
    venues: Sequence[Venue],
    work: "Work",
    *,
    json_output: bool,
) -> _Outcome:
    """Do the work at each venue; an interruption says what is kept, then goes on as one."""
    from perpdesk import bootstrap

    outcome = _Outcome()

    async def all_of_it(on_progress: "Callable[[SeriesProgress], None]") -> None:
        for venue in venues:
            async with bootstrap.history(settings, venue, on_progress=on_progress) as history:
                try:
                    await work(history)
                finally:
                    outcome.reports += history.reports()
                    outcome.skipped += history.skipped

    try:
        with _bars(hidden=json_output) as on_progress:
            asyncio.run(all_of_it(on_progress))
    except KeyboardInterrupt:
        rows = sum(one.rows_added for one in outcome.reports)
        if not json_output and outcome.reports:
            errors.print(
                f"{rows:,} rows are stored; the same command goes on from there", highlight=False
            )
        raise
    return outcome


@contextmanager
def _bars(*, hidden: bool) -> "Iterator[Callable[[SeriesProgress], None]]":
    """Draw a bar for each series that is on its way, and one for all of them, on stderr."""
    if hidden or not errors.is_terminal:
        yield lambda _: None
        return

    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rows]}"),
        console=errors,
        transient=True,
    ) as live:
        whole = live.add_task("all series", total=1.0, rows="")
        tasks: dict[str, bars.TaskID] = {}
        shares: dict[str, float] = {}

        def on_progress(told: "SeriesProgress") -> None:
            name = str(told.key)
            if name not in tasks:
                tasks[name] = live.add_task(name, total=1.0, rows="")
            shares[name] = told.share
            is_done = told.share >= 1.0
            live.update(tasks[name], completed=told.share, rows=_pace(told), visible=not is_done)
            live.update(whole, completed=sum(shares.values()) / len(shares))

        yield on_progress


def _pace(told: "SeriesProgress") -> str:
    """Return rows, their rate and the time that is left, in words."""
    of = "" if told.rows_expected is None else f" of {told.rows_expected:,}"
    rate = "" if told.rows_per_s is None else f", {told.rows_per_s:,.0f}/s"
    if told.eta_s is None:
        return f"{told.rows_done:,}{of} rows{rate}"
    minutes, seconds = divmod(round(told.eta_s), 60)
    return f"{told.rows_done:,}{of} rows{rate}, ETA {minutes:,}:{seconds:02}"


def _tell(outcome: _Outcome, *, json_output: bool) -> None:
    documents = [
        {
            "series": str(one.key),
            "rows_before": one.rows_before,
            "rows_added": one.rows_added,
            "requests": one.requests,
            "holes": one.holes,
            "kept_from_ms": one.kept_from_ms,
            "is_damaged": one.is_damaged,
        }
        for one in outcome.reports
    ]
    emit(
        {"series": documents, "skipped": outcome.skipped},
        json_output=json_output,
        human=lambda: _show(outcome),
    )
    if any(one.is_damaged for one in outcome.reports):
        raise typer.Exit(FAILED)


def _show(outcome: _Outcome) -> None:
    if outcome.reports:
        table = Table(box=None, pad_edge=False)
        table.add_column("series", no_wrap=True)
        for name in ("new rows", "had", "holes", "requests"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in outcome.reports:
            counts = (one.rows_added, one.rows_before, len(one.holes), one.requests)
            table.add_row(str(one.key), *(f"{count:,}" for count in counts))
        console.print(table)
    elif not outcome.skipped:
        say("Nothing is stored yet. Download something: perpdesk data download --help")
    for one in outcome.reports:
        _show_remarks(one)
    for skipped in outcome.skipped:
        say(f"[yellow]left alone:[/] {escape(skipped.series)}: {escape(skipped.reason)}")


def _show_remarks(one: "SeriesReport") -> None:
    for gap in one.holes[:SHOWN_GAPS]:
        say(f"{one.key}: the venue has nothing from {gap}")
    if len(one.holes) > SHOWN_GAPS:
        say(f"{one.key}: and {len(one.holes) - SHOWN_GAPS:,} more holes (--json lists all)")
    if one.kept_from_ms is not None:
        say(f"{one.key}: the venue keeps nothing before {utc_text(one.kept_from_ms)}")
    if one.is_damaged:
        say(f"[red]{one.key}: a damaged part stays: the venue has nothing in its place[/]")
        say(f"  next: {one.key.import_command()}")


def _kinds(text: str) -> list[DataKind]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in OTHER_KINDS and name != "candles":
            raise UsageRefused(
                f"--with {name}: no such kind of data",
                next_step="Choose among mark, funding, oi and trades, parted by commas.",
            )
    return list(dict.fromkeys(OTHER_KINDS[name] for name in names if name != "candles"))


def _moment(option: str, text: str) -> int:
    from perpdesk.backtest.spec import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageRefused(f"{option}: {error}") from error


def _served(venue: Venue) -> Venue:
    if venue not in SERVED:
        raise UsageRefused(
            f"{venue} is not downloaded from",
            next_step="Download from binance or bybit; import files of spot candles.",
        )
    return venue
