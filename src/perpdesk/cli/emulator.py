"""`perpdesk emulator`: an exchange to bring along, for the demo, for tests, for any bot."""

import asyncio
import contextlib
import errno
import signal
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from perpdesk import bootstrap
from perpdesk.cli.data_tables import say
from perpdesk.cli.frame import emit
from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import UsageRefused
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app = typer.Typer(no_args_is_help=True, help="A local exchange that speaks Binance and Bybit.")


@app.callback()
def root() -> None:
    """Run a local exchange that speaks the protocols of Binance and Bybit."""


@app.command()
def run(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 18080,
    host: Annotated[str, typer.Option(help="Where to listen; others than loopback can see it.")] = (
        "127.0.0.1"
    ),
    replay: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Play the stored candles of a data folder.")
    ] = None,
    synthetic: Annotated[
        int | None, typer.Option(metavar="SEED", min=0, help="Play a market made from a seed.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, max=100_000, help="Virtual seconds per second; 0 stands still.")
    ] = 1.0,
    venue: Annotated[
        str, typer.Option(metavar="VENUE[,VENUE]", help="binance, bybit or both.")
    ] = "binance,bybit",
    symbols: Annotated[
        str | None, typer.Option(metavar="SYMBOL[,SYMBOL]", help="All that there are unless given.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Virtual time at which play begins, UTC. A made market: now. A recorded one: a "
            "day after its first candle."
        ),
    ] = None,
    history: Annotated[
        int, typer.Option(min=1, max=1000, help="Days of history behind a made market.")
    ] = 90,
    capital: Annotated[int, typer.Option(min=1, help="USDT on the demo account.")] = 10_000,
    bad_weather: Annotated[
        float,
        typer.Option(min=0, max=1000, help="Faults at random: 1 is an ordinary day, 10 a bad one."),
    ] = 0.0,
    json_output: JsonOption = False,
) -> None:
    """Run until Ctrl-C. Play money, real protocols, on this machine alone."""
    if replay is not None and synthetic is not None:
        raise UsageRefused(
            "a market is either replayed or made", next_step="Give --replay or --synthetic."
        )
    venues = _venues(venue)
    names = None if symbols is None else [name.strip().upper() for name in symbols.split(",")]
    world = bootstrap.emulated_world(
        venues=venues,
        symbols=names,
        replay=replay,
        seed=7 if synthetic is None else synthetic,
        start=start,
        history_days=history,
        speed=speed,
        capital=Decimal(capital),
        bad_weather=bad_weather,
    )
    asyncio.run(_serve(world, host, port, json_output))


def _venues(text: str) -> list[Venue]:
    found = []
    for name in text.split(","):
        known = {each.value: each for each in (Venue.BINANCE, Venue.BYBIT)}
        if name.strip() not in known:
            raise UsageRefused(
                f"{name!r} is no venue of the emulator", next_step="Say binance, bybit or both."
            )
        found.append(known[name.strip()])
    return found


async def _serve(world: World, host: str, port: int, json_output: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    doors = bootstrap.emulator_doors(world)
    try:
        async with serving(world, doors, host=host, port=port) as address:
            _announce(world, address, json_output)
            await stop.wait()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise UsageRefused(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            next_step="Choose another --port, or 0 for a free one."
            if taken
            else "Choose another --host, such as 127.0.0.1.",
        ) from None


def _announce(world: World, address: str, json_output: bool) -> None:
    venues = {venue.value: sorted(one.markets) for venue, one in world.venues.items()}
    document = {
        "rest": f"http://{address}",
        "websocket": f"ws://{address}",
        "control": f"http://{address}/emulator",
        "key": DEMO_KEY,
        "secret": DEMO_SECRET,
        "now_ms": world.now_ms,
        "end_ms": world.end_ms,
        "speed": world.clock.speed,
        "market": world.market,
        "venues": venues,
    }

    def human() -> None:
        say(f"[green]emulator[/] on http://{address} (control: http://{address}/emulator)")
        for name, symbols in venues.items():
            say(f"  {name}: {', '.join(symbols)}")
        say(f"  key {DEMO_KEY}, secret {DEMO_SECRET}: play money")
        ends = datetime.fromtimestamp(world.end_ms / 1000, UTC)
        say(f"  {world.market}; it ends, and stands still, at {ends:%Y-%m-%d %H:%M} UTC")
        say(f"  speed {world.clock.speed:g}; Ctrl-C ends it")

    emit(document, json_output=json_output, human=human)
