"""What `perpdesk backtest …` draws for people: one run, many runs, and what to read first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpdesk.cli.frame import console

if TYPE_CHECKING:
    from rich.table import Table

    from perpdesk.backtest.service import FinishedRun

_DAY_MS = 86_400_000


def print_finished(finished: "FinishedRun") -> None:
    """Print the summary of a run just finished, what changed it, and where its files are."""
    from perpdesk.marketdata.gaps import utc_text
    from perpdesk.reports.summary import summary_rows

    result, stored = finished.result, finished.stored
    spec, data = result.spec, result.data
    table = _facts(
        f"{result.strategy.key()} on {', '.join(spec.symbols)} ({spec.venue}), {data.timeframe} "
        f"executed on {data.execution_timeframe}"
    )
    table.caption = f"{utc_text(data.start_ms)} to {utc_text(data.end_ms)} UTC"
    for label, value in summary_rows(result.metrics):
        table.add_row(label, value)
    table.add_row("Look-ahead", result.verdict.text)
    console.print(table)
    _print_notes(result.warnings, len(result.remarks))
    console.print(f"run     {stored.run_id}", highlight=False)
    console.print(f"result  {stored.result_path}", soft_wrap=True, highlight=False)
    _print_report(stored.artifacts_dir)


def print_run(run_id: str, loaded: Mapping[str, Any], artifacts_dir: Path) -> None:
    """Print a stored run: every metric as the report words it, parameters and notes."""
    from perpdesk.marketdata.gaps import utc_text
    from perpdesk.reports.catalog import CATALOG

    manifest, metrics = loaded["manifest"], loaded["metrics"]
    table = _facts(
        f"run {run_id}: {loaded['strategy']} on {', '.join(loaded['symbols'])}, "
        f"{manifest['timeframe']} executed on {manifest['execution_timeframe']}"
    )
    span = manifest["range"]
    table.caption = f"{utc_text(span['start_ms'])} to {utc_text(span['end_ms'])} UTC"
    group = ""
    for entry in CATALOG:
        if group not in ("", entry.group):
            table.add_section()
        group = entry.group
        table.add_row(entry.label, entry.text_in(metrics))
    console.print(table)
    for name, value in manifest["strategy"]["params"].items():
        console.print(f"parameter {name} = {value}", highlight=False)
    notes = manifest["notes"]
    warnings = manifest.get("warnings", notes)
    _print_notes(warnings, len(notes) - len(warnings))
    _print_report(artifacts_dir)


def _facts(title: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, show_header=False, title_style="bold")
    table.add_column(style="dim")
    table.add_column(justify="right")
    return table


def _print_notes(warnings: Sequence[str], remark_count: int) -> None:
    """Print in full what changed the result; of what stands in for what, only that there is."""
    from rich.markup import escape

    for note in warnings:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    if remark_count:
        more = f"{remark_count} more remark{'s' if remark_count > 1 else ''}"
        console.print(
            f"[dim]… and {more} on what stands in for what: see the report[/]",
            soft_wrap=True,
            highlight=False,
        )


def _print_report(artifacts_dir: Path) -> None:
    report = artifacts_dir / "tearsheet.html"
    console.print(f"report  {report}", soft_wrap=True, highlight=False)


def print_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line a run, within 80 columns; long names are folded, never cut."""
    from rich.table import Table

    from perpdesk.marketdata.gaps import utc_text

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True)
    for name in ("strategy", "market"):
        table.add_column(name, overflow="fold")
    table.add_column("from", no_wrap=True)
    for name in ("days", "return", "Sharpe", "max dd", "trades"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if "error" in row:
            table.add_row(row["run_id"], "[red]cannot be read[/]")
            continue
        span = row["range"]
        names = ("total_return", "sharpe", "max_drawdown", "trade_count")
        table.add_row(
            row["run_id"],
            row["strategy"],
            f"{', '.join(row['symbols'])} {row['timeframe']}",
            utc_text(span["start_ms"])[:10],
            f"{(span['end_ms'] - span['start_ms']) / _DAY_MS:.0f}",
            *(metric_text(name, row[name]).replace(" %", "%") for name in names),
        )
    console.print(table)


def print_comparison(
    run_ids: Sequence[str],
    *,
    spec: Mapping[str, Sequence[Any]],
    metrics: Mapping[str, Sequence[Any]],
) -> None:
    """Print runs side by side: what differs between their specs, then their metrics."""
    from rich.table import Table

    table = Table("", *run_ids)
    for name, values in spec.items():
        table.add_row(name, *(_spec_text(name, value) for value in values), style="dim")
    table.add_section()
    for name, values in metrics.items():
        table.add_row(metric_label(name), *(metric_text(name, value) for value in values))
    console.print(table)


def _spec_text(name: str, value: object) -> str:
    if name.rpartition(".")[2] in ("start", "end") and isinstance(value, int):
        from perpdesk.marketdata.gaps import utc_text

        return utc_text(value)
    return "–" if value is None else str(value)


def metric_label(name: str) -> str:
    """Return what the report calls a metric of the result file's top level."""
    from perpdesk.reports.catalog import entry_of

    return entry_of(name).label


def metric_text(name: str, value: object) -> str:
    """Return a metric of the result file's top level as the report writes it."""
    from perpdesk.reports.catalog import entry_of

    return entry_of(name).write(value)
