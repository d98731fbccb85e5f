"""What `perpdesk data …` draws for people; the commands themselves are in `data.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from perpdesk.cli.frame import console
from perpdesk.domain.instrument import FeeRates, Instrument
from perpdesk.domain.numbers import plain
from perpdesk.marketdata.gaps import Gap, utc_text
from perpdesk.marketdata.importers import Imported
from perpdesk.marketdata.instrument_records import day_text
from perpdesk.marketdata.query import QueryResult
from perpdesk.marketdata.series import StoredSeries, WriteReport
from perpdesk.marketdata.store_check import SeriesCheck

SHOWN_GAPS = 5
_ANY_WIDTH = 10_000


def show_imports(found: Sequence[Imported], reports: Sequence[WriteReport]) -> None:
    """Say what each file brought."""
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
        _show_gaps(one.report.gaps)
    console.print(f"{reports[-1].rows_total:,} rows stored, {reports[-1].gaps} gaps")


def show_list(found: Sequence[StoredSeries], folder: Path) -> None:
    """Draw what is stored."""
    if not found:
        console.print("Nothing is stored yet. Download something (perpdesk data download --help),")
        console.print("import a file (perpdesk data import --help),")
        console.print("or make a synthetic market: perpdesk data sample")
        return
    table = Table(title=f"Market data in {folder}", box=None, pad_edge=False)
    table.add_column("series", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("gaps", justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for one in found:
        table.add_row(
            str(one.key),
            f"{one.rows:,}",
            day_text(one.first_ts_ms),
            day_text(one.last_ts_ms),
            str(one.gaps),
            one.source,
        )
    console.print(table)


def show_checks(found: Sequence[SeriesCheck], strays: Sequence[str]) -> None:
    """Say what is damaged, what is missing, and what to do next."""
    if not found:
        console.print("Nothing is stored, so there is nothing to check.")
    for one in found:
        verdict = "[green]sound[/]" if one.is_sound else "[bold red]damaged[/]"
        say(f"{one.series}: {verdict}, {one.rows:,} rows, {len(one.gaps):,} gaps")
        for damage in one.damage:
            say(f"  [red]{escape(damage)}[/]")
        _show_gaps(one.gaps)
        for warning in one.warnings:
            say(f"  [yellow]note:[/] {escape(warning)}")
        if one.next_step:
            say(f"  next: {escape(one.next_step)}")
    for stray in strays:
        say(f"[yellow]note:[/] {escape(stray)}")


def show_instrument(one: Instrument, rates: FeeRates, ts_ms: int) -> None:
    """Draw the rules, fees and margin tiers of one instrument, and what stands in for what."""
    say(f"[bold]{one.venue} {one.symbol}[/] as of {day_text(ts_ms)}")
    say(f"tick {plain(one.tick_size)}, step {plain(one.step_size)}", indent=2)
    say(
        f"quantity {plain(one.min_quantity)} to {plain(one.max_limit_quantity)} "
        f"({plain(one.max_market_quantity)} at market), at least "
        f"{plain(one.min_notional)} {one.quote}",
        indent=2,
    )
    say(f"fees {one.fees.name}: maker {rates.maker:%}, taker {rates.taker:%}", indent=2)
    table = Table(title="margin tiers")
    for name in ("up to", "leverage", "maintenance rate", "deduction"):
        table.add_column(name, justify="right")
    for tier in one.tiers:
        table.add_row(
            f"{tier.cap:,f}",
            f"{plain(tier.max_leverage)}x",
            f"{plain(tier.maintenance_rate * 100)} %",
            f"{tier.deduction:,f}",
        )
    console.print(table)
    for note in one.note.split("; "):
        if note:
            say(f"note: {note}", indent=2)


def say(text: str, *, indent: int = 0) -> None:
    """Print one line of marked-up text, unbroken."""
    console.print(" " * indent + text, highlight=False, soft_wrap=True)


def _show_gaps(gaps: Sequence[Gap]) -> None:
    for gap in gaps[:SHOWN_GAPS]:
        say(f"gap: {gap}", indent=2)
    if len(gaps) > SHOWN_GAPS:
        say(f"and {len(gaps) - SHOWN_GAPS:,} more gaps (--json lists all)", indent=2)


def show_rows(result: QueryResult) -> None:
    """Draw the rows of a query: a table as wide as it has to be, or in a terminal below each other.

    Nothing is cut: a table that is wider than the terminal becomes a line for each value.
    """
    table = Table()
    for place, column in enumerate(result.columns):
        values = [row[place] for row in result.rows if row[place] is not None]
        numbers = bool(values) and all(isinstance(value, int | float) for value in values)
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(escape(column), justify=justify, no_wrap=True)
    for row in result.rows:
        table.add_row(*(_cell(value) for value in row))
    width = console.measure(table, options=console.options.update(max_width=_ANY_WIDTH)).maximum
    if width > console.width and console.is_terminal:
        _show_below_each_other(result)
    else:
        # `print` holds a table to its console's width, so a wider one needs a console of its own.
        (console if width <= console.width else type(console)(width=width)).print(table)
    if result.is_cut:
        say(f"The first {len(result.rows):,} rows are shown; --rows shows more.")


def _show_below_each_other(result: QueryResult) -> None:
    longest = max(map(len, result.columns))
    for number, row in enumerate(result.rows, 1):
        say(f"[bold]row {number:,}[/]")
        for column, value in zip(result.columns, row, strict=True):
            say(f"{escape(column):<{longest}}  {_cell(value)}", indent=2)


def _cell(value: object) -> str:
    return "" if value is None else escape(str(value))
