"""Small worlds for the emulator: a made market of two days, played from the second noon on."""

from collections.abc import Sequence
from decimal import Decimal

from perpdesk.domain.candles import DAY_MS, Timeframe, Venue
from perpdesk.emulator.tape import Tape
from perpdesk.emulator.world import World
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.sample import START_MS, generate_market

D = Decimal
NOON_MS = START_MS + DAY_MS + DAY_MS // 2
"""Where play begins: with a day and a half behind it, and half a day to come."""


def tapes_of(
    venue: Venue, symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"), *, seed: int = 7, days: int = 2
) -> list[Tape]:
    market = generate_market(
        seed, symbols=symbols, days=days, timeframe=Timeframe.parse("1m"), venue=venue
    )
    book = InstrumentBook.load(None)
    return [
        Tape(
            instrument=book.as_of(venue, symbol, START_MS),
            candles=series.candles,
            mark=series.mark,
            funding=series.funding,
        )
        for symbol, series in market.items()
    ]


def world_of(
    *venues: Venue,
    start_ms: int = NOON_MS,
    speed: float = 0.0,
    step_ms: int = 1_000,
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
) -> World:
    """Return a world that stands still until it is advanced, with its demo accounts open."""
    chosen = venues or (Venue.BINANCE, Venue.BYBIT)
    world = World(
        {venue: tapes_of(venue, symbols) for venue in chosen},
        start_ms=start_ms,
        speed=speed,
        step_ms=step_ms,
    )
    world.open_demo_accounts()
    return world
