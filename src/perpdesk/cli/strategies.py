"""`perpdesk strategies …`: list them, show one, check one, start a new one."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from perpdesk.cli.completion import usable_strategies
from perpdesk.cli.frame import REFUSED, console, data_dir, emit, progress
from perpdesk.domain.candles import Candles, DataKind, Timeframe, Venue
from perpdesk.domain.errors import PerpdeskError, UsageRefused
from perpdesk.marketdata.aggregation import aggregate, can_aggregate
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.settings import load_settings
from perpdesk.strategies.base import ArrayStrategy, SignalStrategy
from perpdesk.strategies.contract import CHECKS, context_of, run_contract
from perpdesk.strategies.lookahead import check_strategy
from perpdesk.strategies.parameters import allowed, default_of
from perpdesk.strategies.plugin_files import load_file
from perpdesk.strategies.registry import (
    StrategyInfo,
    StrategyRegistry,
    params_schema,
    parse_params,
    source_hash,
)
from perpdesk.strategies.replay import signals_of
from perpdesk.strategies.scaffold import write_new_strategy

app = typer.Typer(no_args_is_help=True, help="List, show and check strategies; start a new one.")

ROUNDS = 5
"""How often the look-ahead check samples stored candles, each time with another seed."""

NameArgument = Annotated[
    str, typer.Argument(help="A strategy: smc, or smc@1.", autocompletion=usable_strategies)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def registry() -> StrategyRegistry:
    """Return the installed strategies and those of the configured STRATEGIES_DIR."""
    return StrategyRegistry.load(load_settings().strategies_dir)


@app.command("list")
def list_(json_output: JsonOption = False) -> None:
    """List every strategy, also those that cannot be loaded, with the reason."""
    infos = registry().infos()
    emit({"strategies": infos}, json_output=json_output, human=lambda: _show_list(infos))


def _show_list(infos: Sequence[StrategyInfo]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("strategy", "from", "timeframes", "what it does"):
        table.add_column(title, overflow="fold", no_wrap=title == "strategy")
    for info in infos:
        if info.error is None:
            frames = ", ".join(info.timeframes) or "any"
            table.add_row(info.key, escape(info.origin), frames, escape(info.description))
        else:
            row = (f"[red]{escape(info.name)}[/]", escape(info.origin), "", "[red]not loaded[/]")
            table.add_row(*row)
    console.print(table)
    for info in infos:
        if info.error is not None:
            console.print(f"[red]{escape(info.name)}[/]: {escape(info.error)}", soft_wrap=True)


@app.command()
def show(name: NameArgument, json_output: JsonOption = False) -> None:
    """Show what a strategy does, its parameters and its source hash."""
    cls = registry().get(name)
    defaults = _defaults(cls)
    data = {
        "name": cls.name,
        "version": cls.version,
        "key": cls.key(),
        "api_version": cls.api_version,
        "timeframes": cls.timeframes,
        "description": getdoc(cls) or "",
        "warmup_candles": None if defaults is None else cls.warmup_candles(defaults),
        "memory_candles": None if defaults is None else cls.memory_candles(defaults),
        "params": params_schema(cls),
        "source_hash": source_hash(cls),
    }
    emit(data, json_output=json_output, human=lambda: _show_one(cls, data))


def _defaults(cls: type[SignalStrategy]) -> Any:
    """Return the default parameters, None where one of them has to be given."""
    if any(field.is_required() for field in cls.Params.model_fields.values()):
        return None
    return cls.Params()


def _show_one(cls: type[SignalStrategy], data: dict[str, Any]) -> None:
    console.print(f"[bold]{cls.key()}[/]", highlight=False)
    for paragraph in data["description"].split("\n\n"):
        console.print(escape(" ".join(paragraph.split())), highlight=False)
    table = Table(box=None, pad_edge=False, title_justify="left")
    for title in ("parameter", "default", "allowed", "meaning"):
        table.add_column(title)
    for name, field in cls.Params.model_fields.items():
        default = "" if field.is_required() else str(default_of(cls.Params, name))
        table.add_row(name, default, allowed(cls, name), escape(field.description or ""))
    if cls.Params.model_fields:
        console.print()
        console.print(table)
    console.print()
    frames = ", ".join(cls.timeframes) or "any"
    console.print(f"timeframes: {frames}", highlight=False)
    if data["warmup_candles"] is not None:
        warmup, memory = data["warmup_candles"], data["memory_candles"]
        words = f"with the defaults, the first signal can come at candle {warmup}, and {memory} "
        console.print(f"{words}candles of history fix a signal", highlight=False)
    console.print(f"source: sha256 {data['source_hash']}", highlight=False, soft_wrap=True)


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="A strategy, or a file that holds some.", autocompletion=usable_strategies
        ),
    ],
    params: Annotated[
        list[str] | None,
        typer.Option("--param", "--params", help="A parameter, as in fast=9; repeatable."),
    ] = None,
    venue: Annotated[
        Venue | None, typer.Option(metavar="VENUE", help="Check on stored candles of it too.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="The stored symbol.")] = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Stored, or made of a shorter stored one.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run the contract and the look-ahead checks; exit 2 if anything is found.

    Drawn markets are always used; --venue, --symbol and --timeframe add stored candles.
    """
    classes = _named(name)
    values = _pairs(params or [])
    chosen = [(cls, parse_params(cls, values)) for cls in classes]
    candles = _stored(venue, symbol, timeframe)
    reports: list[dict[str, Any]] = []
    steps = len(chosen) * (len(CHECKS) + (0 if candles is None else ROUNDS))
    with progress("checking", hidden=json_output) as bar:
        done = 0
        for cls, values_of in chosen:
            results = []
            for result in _results(cls, values_of, candles):
                results.append(result)
                done += 1
                bar.update(done, max(done, steps))
            faults = [result for result in results if result["fault"] is not None]
            reports.append(
                {
                    "key": cls.key(),
                    "params": values_of,
                    "source_hash": source_hash(cls),
                    "passed": not faults,
                    "verdict": _verdict(faults),
                    "checks": results,
                }
            )
    passed = all(report["passed"] for report in reports)
    data = {"passed": passed, "strategies": reports}
    emit(data, json_output=json_output, human=lambda: _show_checks(reports))
    if not passed:
        raise typer.Exit(REFUSED)


def _verdict(faults: Sequence[dict[str, Any]]) -> str:
    """Sum up: only what looks ahead is falsified; other faults break the contract."""
    if not faults:
        return "not falsified"
    ahead = any(str(fault["fault"]).startswith("falsified") for fault in faults)
    return "falsified" if ahead else "breaks the contract"


def _named(name: str) -> Sequence[type[SignalStrategy]]:
    """Return the strategy of a name, or all strategies of a file."""
    if not name.endswith(".py"):
        return [registry().get(name)]
    path = Path(name)
    if not path.is_file():
        raise UsageRefused(
            f"there is no file {name}", next_step="Name a strategy file, or a strategy."
        )
    loaded = load_file(path)
    if loaded.error is not None:
        raise UsageRefused(loaded.error, next_step="Correct the file, then check it again.")
    return loaded.classes


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    """Read `name=value` texts."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageRefused(
                f"--param {text} is not a name and a value", next_step="Write --param fast=9."
            )
        values[name.strip()] = value.strip()
    return values


def _stored(venue: Venue | None, symbol: str | None, timeframe: str | None) -> Candles | None:
    given = (venue, symbol, timeframe)
    if venue is None and symbol is None and timeframe is None:
        return None
    if venue is None or symbol is None or timeframe is None:
        missing = [
            option
            for option, value in zip(("--venue", "--symbol", "--timeframe"), given, strict=True)
            if value is None
        ]
        raise UsageRefused(
            f"stored candles need {' and '.join(missing)} as well",
            next_step="Name all three, or none to check on drawn markets alone.",
        )
    store, symbol, wanted = (
        CandleStore(data_dir() / "candles"),
        symbol.upper(),
        Timeframe.parse(timeframe),
    )
    if store.has(venue, symbol, DataKind.CANDLES, wanted):
        return store.candles(venue, symbol, wanted)
    # As a run does: what is not stored is made of what is.
    for shorter in reversed(store.timeframes(venue, symbol)):
        if can_aggregate(shorter, wanted):
            return aggregate(store.candles(venue, symbol, shorter), wanted)
    return store.candles(venue, symbol, wanted)  # refused, with the next step


def _results(
    cls: type[SignalStrategy], params: Any, candles: Candles | None
) -> Iterable[dict[str, Any]]:
    for contract in run_contract(cls, params):
        yield asdict(contract)
    if candles is None:
        return
    context = context_of(candles)
    where = f"{candles.venue} {candles.symbol} {candles.timeframe}, {len(candles):,} candles"
    known: Any = None
    for seed in range(ROUNDS):
        fault = None
        try:
            if known is None:
                ran = [signal for _, signal in signals_of(cls, params, context, candles)]
                arrays = issubclass(cls, ArrayStrategy)
                known = cls.signals(candles, params) if arrays else ran
            verdict = check_strategy(cls, params, candles, context, seed=seed, known=known)
            fault = None if verdict.passed else verdict.text
        except PerpdeskError as error:
            fault = error.message
        promise = f"No look-ahead on {where} (sample {seed + 1} of {ROUNDS})."
        yield {"name": f"stored_{seed + 1}", "promise": promise, "fault": fault}
        if fault is not None:
            return


def _show_checks(reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        console.print(f"[bold]{report['key']}[/]", highlight=False)
        table = Table(box=None, pad_edge=False, show_header=False)
        told: set[str] = set()
        for result in report["checks"]:
            mark = "[green]ok[/]" if result["fault"] is None else "[red]wrong[/]"
            table.add_row(mark, escape(result["promise"]))
            if result["fault"] in told:
                table.add_row("", "[red]the same as above[/]")
            elif result["fault"] is not None:
                told.add(result["fault"])
                table.add_row("", f"[red]{escape(result['fault'])}[/]")
        console.print(table)
        color = "green" if report["passed"] else "red"
        console.print(f"[{color}]{report['verdict']}[/]", highlight=False)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name: a-z, 0-9 and _, as in my_idea.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to write it, if not to STRATEGIES_DIR.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Write a documented strategy to begin from; a file that is there is never replaced."""
    taken = [info for info in registry().infos() if info.name == name and info.error is None]
    if taken:
        raise UsageRefused(
            f"there is a strategy {name} already, from {taken[0].origin}",
            next_step="Choose another name.",
        )
    path = write_new_strategy(name, folder or load_settings().strategies_dir)
    emit(
        {"name": name, "path": path},
        json_output=json_output,
        human=lambda: console.print(
            f"wrote {escape(str(path))}; prove it with: perpdesk strategies check {path}",
            highlight=False,
            soft_wrap=True,
        ),
    )
