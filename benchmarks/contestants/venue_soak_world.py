"""The venues of the soak: an emulator of both, with many made markets, in whatever weather.

usage: python -m benchmarks.contestants.venue_soak_world --hours 24 --symbols 20 --weather 10
       --seed 1 --speed 60
Prints one line of JSON with its address, and serves until its standard input ends. Faults stop at
`calm_ms`, so that what remains can be compared. The key is the demo key, with play money.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np

from perpdesk.domain.candles import DAY_MS, HOUR_MS, MINUTE_MS, Candles, Timeframe, Values, Venue
from perpdesk.domain.instrument import Instrument
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.faults import (
    DEFAULT_VALUES,
    USUAL_RATES,
    Fault,
    FaultKind,
    Faults,
    Schedule,
)
from perpdesk.emulator.server import Door, serving
from perpdesk.emulator.tape import Tape
from perpdesk.emulator.world import World
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.sample import START_MS, SYMBOLS, generate_market

BEGIN_MS: Final = START_MS + DAY_MS
"""Where play begins: with a day of history behind it."""
CALM_MS: Final = 30 * MINUTE_MS
"""How long the weather is fine at the end, so that everything comes to rest: a client that was sent
away by Bybit stays away for ten minutes."""
TICKS_OF_A_PRICE: Final = 20_000
STEP_MS: Final = 1_000
CAPITAL: Final = Decimal(100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A soak. hours: virtual. weather: times the usual fault rates. speed: virtual by wall."""

    hours: float
    symbols: int
    weather: float
    seed: int
    speed: float

    @property
    def end_ms(self) -> int:
        """Return when it ends, in virtual time."""
        return BEGIN_MS + int(self.hours * HOUR_MS)

    @property
    def calm_ms(self) -> int:
        """Return when faults and trading stop."""
        return self.end_ms - min(CALM_MS, int(self.hours * HOUR_MS / 4))

    @property
    def stop_within_s(self) -> float:
        """Return how long the trader may take to end what it does, in virtual time."""
        return (self.end_ms - self.calm_ms) / 2000

    @property
    def rests_at_the_end(self) -> bool:
        """Tell whether there is time enough for all to be known at the end."""
        return self.end_ms - self.calm_ms >= CALM_MS

    def arguments(self) -> list[str]:
        """Return the plan as arguments of a command."""
        names = ("hours", "symbols", "weather", "seed", "speed")
        return [word for name in names for word in (f"--{name}", str(getattr(self, name)))]


def plan_of(arguments: Sequence[str]) -> Plan:
    """Read a plan from the arguments of a command."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = parser.parse_args(arguments)
    return Plan(**vars(given))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a plan."""
    parser.add_argument("--hours", type=float, default=24.0, help="virtual hours")
    parser.add_argument("--symbols", type=int, default=20, help="of both venues together")
    parser.add_argument("--weather", type=float, default=10.0, help="times the usual fault rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=60.0, help="virtual by wall time")


def instruments_of(plan: Plan) -> dict[Venue, dict[str, Instrument]]:
    """Return what is traded: as many of the shorter list as there are, the rest of the other."""
    book = InstrumentBook.load(None)
    known = {venue: list(book.symbols(venue)) for venue in (Venue.BINANCE, Venue.BYBIT)}
    of_bybit = min(len(known[Venue.BYBIT]), plan.symbols // 2)
    chosen = {
        Venue.BINANCE: known[Venue.BINANCE][: plan.symbols - of_bybit],
        Venue.BYBIT: known[Venue.BYBIT][:of_bybit],
    }
    return {
        venue: {symbol: book.as_of(venue, symbol, BEGIN_MS) for symbol in symbols}
        for venue, symbols in chosen.items()
    }


def tapes_of(plan: Plan) -> dict[Venue, list[Tape]]:
    """Return a tape for each instrument, each with a market of its own."""
    days = 2 + int(np.ceil(plan.hours / 24))
    tapes: dict[Venue, list[Tape]] = {}
    for venue, instruments in instruments_of(plan).items():
        tapes[venue] = []
        for number, instrument in enumerate(instruments.values()):
            model = SYMBOLS[number % len(SYMBOLS)]
            made = generate_market(
                plan.seed * 1_000 + number,
                symbols=[model],
                days=days,
                timeframe=Timeframe.parse("1m"),
                venue=venue,
            )[model]
            ratio = float(instrument.tick_size) * TICKS_OF_A_PRICE / float(made.candles.open[0])
            funding = replace(
                made.funding,
                symbol=instrument.symbol,
                mark_price=_rounded(made.funding.mark_price * ratio, float(instrument.tick_size)),
            )
            tapes[venue].append(
                Tape(
                    instrument=instrument,
                    candles=_scaled(made.candles, instrument, ratio),
                    mark=_scaled(made.mark, instrument, ratio),
                    funding=funding,
                )
            )
    return tapes


def _scaled(candles: Candles, instrument: Instrument, ratio: float) -> Candles:
    """Return candles at another price level, on the instrument's grids."""
    tick, step = float(instrument.tick_size), float(instrument.step_size)
    steps = np.rint(candles.volume / ratio / step)
    return replace(
        candles,
        symbol=instrument.symbol,
        open=_rounded(candles.open * ratio, tick),
        high=_rounded(candles.high * ratio, tick),
        low=_rounded(candles.low * ratio, tick),
        close=_rounded(candles.close * ratio, tick),
        volume=np.round(np.where(candles.volume > 0, np.maximum(steps, 1), 0) * step, 8),
    )


def _rounded(prices: Values, tick: float) -> Values:
    decimals = max(0, round(-np.log10(tick)))
    return np.round(np.maximum(np.rint(prices / tick), 1) * tick, decimals)


_STREAMS: Final = frozenset(
    {FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.SILENT, FaultKind.CLOSE}
)
_BY_SYMBOL: Final = frozenset({FaultKind.LATE_CANDLE, FaultKind.SEQUENCE_GAP})
_ANYWHERE: Final = frozenset(
    {
        FaultKind.MAINTENANCE,
        FaultKind.CLOCK_SKEW,
        FaultKind.PARTIAL_FILLS,
        FaultKind.LISTEN_KEY_EXPIRY,
        FaultKind.STOP_REFUSED,
        FaultKind.NOT_FOUND,
    }
)
_TOPICS: Final = {
    Venue.BINANCE: ("*@kline_1m", "*@aggTrade", "*@depth*", "*@*", "user/*", "user/*"),
    Venue.BYBIT: ("kline.*", "publicTrade.*", "orderbook.*", "order", "execution", "position"),
}
_PATHS: Final = {
    Venue.BINANCE: ("*", "*/order", "*/order", "*/algoOrder", "*/batchOrders", "*/userTrades"),
    Venue.BYBIT: ("*", "*/order/create", "*/order/cancel", "*/order/*", "*/execution/list"),
}


class Weather(Schedule):
    """The usual schedule, with each fault aimed: at one venue, and at a stream or a call of it.

    Without that nearly all would strike where most messages are, on one venue's candles.
    """

    symbols: Mapping[Venue, Sequence[str]]

    def advance(self, faults: Faults, start_ms: int, end_ms: int) -> None:
        """Arm what falls into [start_ms, end_ms)."""
        before = len(faults.armed)
        super().advance(faults, start_ms, end_ms)
        for fault in faults.armed[before:]:
            self._aim(fault)
            if fault.kind is FaultKind.NOT_FOUND and _is_doubled(faults, fault):
                faults.armed.remove(fault)

    def _aim(self, fault: Fault) -> None:
        venue = fault.venue = self._random.choice((Venue.BINANCE, Venue.BYBIT))
        if fault.kind is FaultKind.LISTEN_KEY_EXPIRY:
            fault.venue = Venue.BINANCE
        elif fault.kind in _BY_SYMBOL:
            symbol = self._random.choice(self.symbols[venue])
            fault.path = f"{symbol.lower()}@*" if venue is Venue.BINANCE else f"*.{symbol}"
        elif fault.kind in _STREAMS:
            fault.path = self._random.choice(_TOPICS[venue])
        elif fault.kind not in _ANYWHERE:
            fault.path = self._random.choice(_PATHS[venue])


def _is_doubled(faults: Faults, fault: Fault) -> bool:
    """Tell whether another such fault waits already: a venue may be late, but does not lie twice.

    Two in a row would be answered to the two readings by which absence is proved.
    """
    return any(
        each is not fault and each.kind is fault.kind and each.venue is fault.venue
        for each in faults.armed
    )


def weather_of(plan: Plan) -> Weather:
    """Return the weather. What is counted in seconds of the wall is shortened by the speed."""
    values = dict(DEFAULT_VALUES)
    values[FaultKind.DELAY] = values[FaultKind.JITTER] = max(20.0, 300 / plan.speed)
    values[FaultKind.BAN] = 60.0 / plan.speed
    rates = {kind: rate * plan.weather for kind, rate in USUAL_RATES.items()}
    if not plan.rests_at_the_end:
        # Who is sent away for ten minutes would not be back in time to be judged.
        del rates[FaultKind.BAN], rates[FaultKind.FORBIDDEN]
    weather = Weather(per_hour=rates, values=values, seed=plan.seed)
    weather.symbols = {venue: list(found) for venue, found in instruments_of(plan).items()}
    return weather


@asynccontextmanager
async def soaked_world(plan: Plan) -> AsyncIterator[tuple[World, str]]:
    """Serve the world of a plan; yields it with its address. Limits follow virtual time."""
    world = World(
        tapes_of(plan),
        start_ms=BEGIN_MS,
        speed=plan.speed,
        step_ms=STEP_MS,
        seed=plan.seed,
        schedule=weather_of(plan),
    )
    world.open_demo_accounts(CAPITAL)
    many = int(max(1, plan.speed))
    limits = Limits(
        order=10 * many,
        query=50 * many,
        setting=10 * many,
        slow=5 * many,
        log=25 * many,
        ip_calls=600 * many,
    )
    doors: list[Door] = [
        BinanceDoor(world, wall=lambda: world.now_ms / 1000),
        BybitDoor(world, limits),
    ]
    async with serving(world, doors, port=0) as address:
        calming = asyncio.create_task(_calm(world, plan.calm_ms))
        try:
            yield world, address
        finally:
            calming.cancel()


async def _calm(world: World, calm_ms: int) -> None:
    while world.now_ms < calm_ms:
        await asyncio.sleep(0.02)
    world.schedule = None
    world.faults.clear()


async def _serve(plan: Plan) -> None:
    async with soaked_world(plan) as (_, address):
        print(json.dumps({"address": address}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(plan_of(sys.argv[1:])))
