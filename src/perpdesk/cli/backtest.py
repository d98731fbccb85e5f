"""`perpdesk backtest …`: run, list, show, compare, export, delete."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from perpdesk.cli.backtest_options import checked_spec, params, sizing, symbols, without_none
from perpdesk.cli.backtest_tables import print_comparison, print_finished, print_run, print_runs
from perpdesk.cli.completion import stored_runs, stored_symbols, usable_strategies
from perpdesk.cli.frame import console, emit, progress
from perpdesk.domain.errors import DataRefused, UsageRefused

if TYPE_CHECKING:
    from perpdesk.backtest.catalog import StoredRun
    from perpdesk.backtest.service import BacktestService, FinishedRun

app = typer.Typer(
    no_args_is_help=True, help="Run strategies over stored data, and keep and compare the results."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunId = Annotated[
    str,
    typer.Argument(
        help="Run id or its beginning, 'latest' or 'latest~1'.", autocompletion=stored_runs
    ),
]
RunIds = Annotated[
    list[str],
    typer.Argument(
        help="Run ids or their beginnings, 'latest' or 'latest~1'.", autocompletion=stored_runs
    ),
]

_COMPARED: Final = (
    "net_pnl",
    "total_return",
    "cagr",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "trade_count",
    "win_rate",
    "profit_factor",
    "average_r_multiple",
    "exposure",
)


@app.command()
def run(
    *,
    spec: Annotated[
        Path | None, typer.Option(help="YAML file with any of these options; options win over it.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="Named window of the spec to run.")] = None,
    venue: Annotated[str | None, typer.Option(help="binance, bybit or binance-spot.")] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option(
            help="Symbol; repeat for several on one account.", autocompletion=stored_symbols
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Name, or name@version.", autocompletion=usable_strategies)
    ] = None,
    timeframe: Annotated[str | None, typer.Option(help="Strategy timeframe, as in 1h.")] = None,
    execution_timeframe: Annotated[
        str | None, typer.Option(help="Execution timeframe; default: the finest stored.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day, UTC, as in 2023-01-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last, UTC.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="Strategy parameter, as name=value.")
    ] = None,
    leverage: Annotated[str | None, typer.Option(help="Leverage of every symbol.")] = None,
    margin_mode: Annotated[str | None, typer.Option(help="isolated or cross.")] = None,
    risk_pct: Annotated[
        str | None, typer.Option(help="Percent of equity at risk to the stop, per trade.")
    ] = None,
    notional: Annotated[str | None, typer.Option(help="Fixed value per trade, in quote.")] = None,
    quantity: Annotated[str | None, typer.Option(help="Fixed quantity per trade, base.")] = None,
    min_risk_reward: Annotated[
        str | None, typer.Option(help="Signals below this ratio are denied; default 3.")
    ] = None,
    capital: Annotated[
        str | None, typer.Option(help="USDT at the start; default SIMULATION_INITIAL_CAPITAL.")
    ] = None,
    vip_tier: Annotated[str | None, typer.Option(help="Fee tier by date; default VIP0.")] = None,
    commission: Annotated[
        str | None, typer.Option(help="One fee, as a fraction of notional, for every fill.")
    ] = None,
    slippage_bps: Annotated[
        str | None, typer.Option(help="Slippage of takers; default SIMULATION_SLIPPAGE.")
    ] = None,
    slippage_model: Annotated[str | None, typer.Option(help="none, fixed or impact.")] = None,
    limit_fill: Annotated[str | None, typer.Option(help="through or touch.")] = None,
    max_volume_share: Annotated[
        str | None, typer.Option(help="Part of a bar's volume we may take; 'none' for no limit.")
    ] = None,
    confirm_delay_ms: Annotated[
        int | None, typer.Option(help="How long a human takes to confirm a signal.")
    ] = None,
    allow_gaps: Annotated[
        bool | None, typer.Option("--allow-gaps", help="Run over holes in funding, marked amber.")
    ] = None,
    allow_lookahead: Annotated[
        bool,
        typer.Option("--allow-lookahead", help="Keep a run whose strategy looks ahead, marked."),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of what is sampled; default 0.")] = None,
    json_output: Json = False,
) -> None:
    """Run one strategy over stored data and keep its result, artifacts and report."""
    from perpdesk.bootstrap import backtest_service
    from perpdesk.settings import load_settings

    settings = load_settings()
    given: dict[str, Any] = {
        "window": window,
        "venue": venue,
        "symbols": symbols(symbol),
        "strategy": strategy,
        "timeframe": timeframe,
        "execution_timeframe": execution_timeframe,
        "start": start,
        "end": end,
        "leverage": leverage,
        "margin_mode": margin_mode,
        "min_risk_reward": min_risk_reward,
        "initial_capital": capital,
        "limit_fill": limit_fill,
        "confirm_delay_ms": confirm_delay_ms,
        "allow_gaps": allow_gaps,
        "seed": seed,
        "sizing": sizing(risk_pct=risk_pct, notional=notional, quantity=quantity),
        "params": params(param),
        "fees": without_none({"vip_tier": vip_tier, "commission": commission}),
        "slippage": without_none({"model": slippage_model, "bps": slippage_bps}),
    }
    checked = checked_spec(settings, spec, given, max_volume_share)
    service = backtest_service(settings)
    with progress(f"{checked.strategy} on {', '.join(checked.symbols)}", hidden=json_output) as bar:
        finished = service.run(checked, progress=bar.update, allow_lookahead=allow_lookahead)
    emit(_document(finished), json_output=json_output, human=lambda: print_finished(finished))


def _document(finished: "FinishedRun") -> dict[str, Any]:
    result, stored = finished.result, finished.stored
    return {
        "run_id": stored.run_id,
        "result_path": stored.result_path,
        "artifacts_dir": stored.artifacts_dir,
        "report_path": stored.artifacts_dir / "tearsheet.html",
        "metrics": result.metrics.as_dict(),
        "signals": result.signals,
        "stopped": result.stopped,
        "lookahead": result.verdict.text,
        "notes": result.notes,
        "seconds": finished.seconds,
    }


# Showing.


def _service() -> "BacktestService":
    from perpdesk.bootstrap import backtest_service
    from perpdesk.settings import load_settings

    return backtest_service(load_settings())


def _row_of(stored: "StoredRun") -> dict[str, Any]:
    """Return a run as a row; of one that cannot be read, where it is and why."""
    place = {"result_path": stored.result_path, "artifacts_dir": stored.artifacts_dir}
    try:
        loaded = stored.load()
    except DataRefused as refused:
        return {"run_id": stored.run_id, "error": refused.message, **place}
    manifest, metrics = loaded["manifest"], loaded["metrics"]
    return {
        "run_id": stored.run_id,
        "created_ms": loaded["timings"]["created_ms"],
        "strategy": loaded["strategy"],
        "symbols": loaded["symbols"],
        "timeframe": manifest["timeframe"],
        "range": manifest["range"],
        "params": manifest["strategy"]["params"],
        **{name: metrics[name] for name in _COMPARED},
        **place,
    }


@app.command("list")
def list_runs(
    *,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Only runs of this one: name, or name@version.", autocompletion=usable_strategies
        ),
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Only runs with this symbol.", autocompletion=stored_symbols)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs.")] = None,
    json_output: Json = False,
) -> None:
    """List finished runs, the latest first."""
    rows = [
        row
        for row in map(_row_of, _service().catalog.runs())
        if _is_meant(row, strategy=strategy, symbol=symbol)
    ][:limit]

    def human() -> None:
        if rows:
            print_runs(rows)
        elif strategy is None and symbol is None:
            console.print("No runs yet. Start one: perpdesk backtest run --help")
        else:
            console.print("No run is like that. See all of them: perpdesk backtest list")

    emit(rows, json_output=json_output, human=human)


def _is_meant(row: Mapping[str, Any], *, strategy: str | None, symbol: str | None) -> bool:
    """Tell whether a row passes the filters; what cannot be read passes where there are none."""
    if strategy is None and symbol is None:
        return True
    if "error" in row:
        return False
    key = str(row["strategy"])
    named = strategy is None or strategy in (key, key.partition("@")[0])
    return named and (symbol is None or symbol.upper() in row["symbols"])


@app.command()
def show(
    run_id: RunId,
    *,
    json_output: Json = False,
) -> None:
    """Show one run: metrics, spec, notes and where its files are."""
    stored = _service().catalog.find(run_id)
    loaded = stored.load()
    document = {**loaded, "result_path": stored.result_path, "artifacts_dir": stored.artifacts_dir}
    emit(
        document,
        json_output=json_output,
        human=lambda: print_run(stored.run_id, loaded, stored.artifacts_dir),
    )


@app.command()
def compare(run_ids: RunIds, *, json_output: Json = False) -> None:
    """Put runs side by side: metrics, and what differs between their specs."""
    catalog = _service().catalog
    runs = list(dict.fromkeys(catalog.find(run_id) for run_id in run_ids))
    if len(runs) < 2:
        raise UsageRefused(
            "one run cannot be compared", next_step="Name at least two different runs."
        )
    loaded = [stored.load() for stored in runs]
    specs = [_flat(one["manifest"]["spec"]) for one in loaded]
    names = list(dict.fromkeys(name for each in specs for name in each))
    differing = [name for name in names if len({str(each.get(name)) for each in specs}) > 1]
    differences = {name: [each.get(name) for each in specs] for name in differing}
    metrics = {name: [one["metrics"][name] for one in loaded] for name in _COMPARED}
    document: dict[str, Any] = {
        "runs": [stored.run_id for stored in runs],
        "metrics": metrics,
        "spec": differences,
    }
    emit(
        document,
        json_output=json_output,
        human=lambda: print_comparison(document["runs"], spec=differences, metrics=metrics),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


@app.command()
def export(
    run_id: RunId,
    to: Annotated[Path, typer.Option("--to", help="Folder to create, or a new file .zip.")],
    *,
    json_output: Json = False,
) -> None:
    """Copy a run's result and artifacts into one folder or one zip file."""
    catalog = _service().catalog
    stored = catalog.find(run_id)
    catalog.export(stored, to)
    emit(
        {"run_id": stored.run_id, "exported_to": to},
        json_output=json_output,
        human=lambda: console.print(f"exported run {stored.run_id} to {to}", soft_wrap=True),
    )


@app.command()
def delete(
    run_ids: Annotated[
        list[str] | None, typer.Argument(help="Run ids or beginnings.", autocompletion=stored_runs)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Delete every run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_output: Json = False,
) -> None:
    """Delete runs with their artifacts."""
    catalog = _service().catalog
    if every == bool(run_ids):
        raise UsageRefused(
            "name the runs to delete, or give --all", next_step="`perpdesk backtest list` helps."
        )
    named = [catalog.find(run_id) for run_id in run_ids or ()]
    runs = catalog.runs() if every else list(dict.fromkeys(named))
    if runs and not yes:
        _require_a_yes(len(runs), json_output=json_output)
    catalog.delete(runs)
    emit(
        {"deleted": [stored.run_id for stored in runs]},
        json_output=json_output,
        human=lambda: console.print(f"deleted {len(runs)} run(s)"),
    )


def _require_a_yes(count: int, *, json_output: bool) -> None:
    """Ask before runs are deleted; where nobody can answer, refuse."""
    if json_output or not sys.stdin.isatty():
        raise UsageRefused(
            f"{count} run(s) would be deleted, and nobody is asked here",
            next_step="Give --yes to delete them without a question.",
        )
    typer.confirm(f"Delete {count} run(s) and their artifacts?", abort=True, err=True)
