"""What the contract of a venue judges: both adapters on the emulator, and the simulation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import SecretStr
from tests.unit.emulator.builders import NOON_MS, tapes_of, world_of

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import BarClosed, BarsClosed
from perpdesk.domain.ports import Feed, Streams, TradingVenue
from perpdesk.domain.streams import StreamEvent
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.market import Market
from perpdesk.emulator.server import Door, serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.endpoints import Credentials, loopback
from perpdesk.venues.pipe import PipeSettings
from perpdesk.venues.simulated import SimulatedVenue

SYMBOL = "BTCUSDT"
QUICK = PipeSettings(silence_s=3.0, backoff_s=0.01, backoff_max_s=0.1)
DEMO = Credentials(key=DEMO_KEY, secret=SecretStr(DEMO_SECRET))
VENUES = ("binance", "bybit", "simulated")


@dataclass(slots=True, kw_only=True)
class Bench:
    """A venue to be judged. adapter: the bundle around it, None for the simulation."""

    name: str
    trading: TradingVenue
    streams: Streams
    market: Market
    move: Callable[[int], None]
    now_ms: Callable[[], int]
    world: World | None = None
    adapter: Any = None
    measure_clock: Callable[[], Awaitable[Any]] | None = None

    @property
    def price(self) -> Decimal:
        """Return the last price."""
        return self.market.last_price

    async def pass_time(self, ms: int) -> None:
        """Let the market live on, and what it causes arrive."""
        self.move(ms)
        if self.measure_clock is not None:
            await self.measure_clock()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def emulated(
    name: str, world: World | None = None, *, start_ms: int = NOON_MS
) -> AsyncIterator[Bench]:
    """Yield an adapter connected to an emulator of its own, which stands still until moved."""
    venue = Venue(name)
    world = world or world_of(venue, start_ms=start_ms)
    door: Door = BinanceDoor(world) if venue is Venue.BINANCE else BybitDoor(world)
    markets = world.venues[venue].markets
    rules = {symbol: market.instrument for symbol, market in markets.items()}
    async with serving(world, [door], port=0) as address:
        endpoints = loopback(address)[name]
        adapter: Any
        given: dict[str, Any] = {
            "instruments": lambda: rules,
            "mark_price": lambda symbol: markets[symbol].mark_price,
        }
        if venue is Venue.BINANCE:
            adapter = await connect_binance(endpoints, DEMO, pipe=QUICK, **given)
        else:
            adapter = connect_bybit(endpoints, DEMO, pipes=QUICK, **given)
            await adapter.measure_clock()
        try:
            yield Bench(
                name=name,
                trading=adapter.trading,
                streams=adapter.streams,
                market=markets[SYMBOL],
                move=world.advance,
                now_ms=lambda: world.now_ms,
                world=world,
                adapter=adapter,
                measure_clock=adapter.rest.measure_clock
                if venue is Venue.BINANCE
                else adapter.measure_clock,
            )
        finally:
            await adapter.close()


@asynccontextmanager
async def simulated(*, start_ms: int = NOON_MS) -> AsyncIterator[Bench]:
    """Yield the simulated exchange behind the port, fed with one market a second at a time."""
    market = Market(tapes_of(Venue.BINANCE, [SYMBOL])[0], start_ms)
    settings = ExchangeSettings(
        initial_capital=Decimal(10_000), leverage=Decimal(20), margin_mode=MarginMode.CROSS
    )
    venue = SimulatedVenue(Exchange({SYMBOL: market.instrument}, settings))

    def move(ms: int) -> None:
        end_ms = market.now_ms + ms
        while market.now_ms < end_ms:
            step = market.advance(min(end_ms, market.now_ms // 1000 * 1000 + 1000))
            bar = BarClosed(
                symbol=SYMBOL,
                ts_ms=step.start_ms,
                close_ms=step.end_ms,
                last=step.last,
                mark=step.mark,
                volume=Decimal(10) ** 9,
                funding=step.funding,
            )
            venue.advance(BarsClosed(bars=(bar,)))

    move(1_000)
    yield Bench(
        name="simulated",
        trading=venue,
        streams=venue,
        market=market,
        move=move,
        now_ms=lambda: market.now_ms,
    )


@asynccontextmanager
async def bench_of(name: str, *, start_ms: int = NOON_MS) -> AsyncIterator[Bench]:
    """Yield the bench of a name in `VENUES`. start_ms: virtual time at which it stands."""
    async with (
        simulated(start_ms=start_ms)
        if name == "simulated"
        else emulated(name, start_ms=start_ms) as bench
    ):
        yield bench


class Listener:
    """Reads a feed in the background and keeps what it said."""

    def __init__(self, feed: Feed) -> None:
        self.events: list[StreamEvent] = []
        self._task = asyncio.create_task(self._listen(feed))

    async def _listen(self, feed: Feed) -> None:
        async for event in feed:
            self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def eventually(
    what: Callable[[], Any], *, seconds: float = 5.0, meanwhile: Callable[[], None] | None = None
) -> Any:
    """Return what is awaited once it is true. Fails after the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        found = what()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert loop.time() < deadline, f"not within {seconds} s"
        if meanwhile is not None:
            meanwhile()
        await asyncio.sleep(0.01)
