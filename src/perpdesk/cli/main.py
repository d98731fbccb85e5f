"""The terminal's root: `perpdesk`, its global options, and which file holds which commands."""

import importlib
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from perpdesk import __version__
from perpdesk.cli import frame

_MOUNTED = {
    "data": ("perpdesk.cli.data", "Market data: import, list, check, resample, query, sample."),
    "strategies": ("perpdesk.cli.strategies", "Strategies: list, show, check, start a new one."),
    "backtest": ("perpdesk.cli.backtest", "Backtests: run, list, show, compare, export, delete."),
    "venues": ("perpdesk.cli.venues", "Exchanges: check clock and key, watch streams."),
    "emulator": ("perpdesk.cli.emulator", "A local exchange that speaks Binance and Bybit."),
    "config": ("perpdesk.cli.config", "Settings: show where each comes from, check them."),
}


class _Mount(TyperGroup):
    """A group of commands whose module is imported when one of them is asked for."""

    module = ""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        app: typer.Typer = importlib.import_module(self.module).app
        group = typer.main.get_group(app)
        group.help = group.help or self.help
        return group.make_context(*args, **kwargs)


app = typer.Typer(
    name="perpdesk",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 2 wrong usage or refused input, 1 failure, 130 interrupted.",
)

for _name, (_module, _summary) in _MOUNTED.items():
    app.add_typer(
        typer.Typer(),
        name=_name,
        help=_summary,
        cls=type("_Mount", (_Mount,), {"module": _module}),
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perpdesk {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="PERPDESK_DEBUG",
            help="Show the traceback of an error; may stand anywhere on the line.",
        ),
    ] = False,
) -> None:
    """Trade crypto perpetual futures: market data, strategies, backtests that tell the truth."""
    # `frame.run` reads --debug itself, wherever it stands; it is declared here for the help.
    del version, debug


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old terminal shows ? for what it cannot show
            stream.reconfigure(errors="replace")
    return frame.run(app, sys.argv[1:] if argv is None else argv)
