"""An adapter on an emulator of its own, both to be mistreated; waits are short, time is moved."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiohttp import web
from tests.contract.venue_benches import DEMO, Listener, eventually
from tests.unit.emulator.builders import NOON_MS, world_of

from perpdesk.domain.candles import Venue
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, Side
from perpdesk.domain.ports import Streams, TradingVenue
from perpdesk.domain.streams import AccountSynchronized, StreamLost, StreamRestored
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.emulator.market import Market
from perpdesk.emulator.server import Door, serving
from perpdesk.emulator.world import World
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.clock import SystemTime
from perpdesk.venues.endpoints import loopback
from perpdesk.venues.pipe import PipeSettings

D = Decimal
SYMBOL = "BTCUSDT"
SPEED = 20
PATIENT = PipeSettings(silence_s=400.0, backoff_s=0.2, backoff_max_s=2.0)
"""In the adapter's own seconds, of which `SPEED` pass in one of the wall's."""

REGULAR = {"binance": "/fapi/v1/order", "bybit": "/v5/order/create"}
CONDITIONAL = {"binance": "/fapi/v1/algoOrder", "bybit": "/v5/order/create"}
BATCH = {"binance": "/fapi/v1/batchOrders", "bybit": "/v5/order/create-batch"}
CANCEL = {"binance": "/fapi/v1/order", "bybit": "/v5/order/cancel"}
ACCOUNT_TOPICS = {"binance": "user/*", "bybit": "[oepw]*"}
"""The messages of the account's stream; at Bybit order, execution, position and wallet."""
AMEND = {"binance": "/fapi/v1/order", "bybit": "/v5/order/amend"}


@dataclass(slots=True, kw_only=True)
class LaterFault(Fault):
    """A fault that lets the first ones pass. passes: how many."""

    passes: int = 0

    def covers(self, venue: Venue, path: str, now_ms: int) -> bool:
        # Named in full: a dataclass with slots is made anew, and super() would mean the old one.
        if not Fault.covers(self, venue, path, now_ms):
            return False
        self.passes -= 1
        return self.passes < 0


class QuickWaits:
    """Implements `LocalTime`: the wall tells the true time, the stopwatch and all waits hurry.

    So an adapter waits out recvWindow, silences and back-offs in a twentieth of their time, while
    what it signs carries a time that the venue takes. ahead_ms: how wrong the wall is on purpose.
    hop_ms: by how much it is set ahead at every look. hurry: seconds of the stopwatch in one.
    """

    def __init__(self, hurry: float = SPEED) -> None:
        self._real = SystemTime()
        self._hurry = hurry
        self.ahead_ms = 0
        self.hop_ms = 0
        self._skipped_ms = 0.0

    def now_ms(self) -> int:
        self.ahead_ms += self.hop_ms
        return self._real.now_ms() + self.ahead_ms

    def monotonic_ms(self) -> float:
        return self._real.monotonic_ms() * self._hurry + self._skipped_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._hurry)

    def skip(self, seconds: float) -> None:
        """Let the stopwatch jump ahead; who sleeps already sleeps on."""
        self._skipped_ms += seconds * 1000


class Gatekeeper:
    """Implements `Door` over another, and writes down which paths were asked for."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.asked: list[str] = []

    @property
    def venue(self) -> Venue:
        return self.door.venue

    def owns(self, path: str) -> bool:
        self.asked.append(path)
        return self.door.owns(path)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        self.door.add_routes(router)

    def failure(self, kind: FaultKind, seconds: float) -> web.Response:
        return self.door.failure(kind, seconds)

    async def close(self) -> None:
        await self.door.close()


@dataclass(slots=True, kw_only=True)
class Plug:
    """The emulator's place in the network: it can be taken out and put back at the same port."""

    world: World
    gate: Gatekeeper
    address: str = ""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def put_in(self) -> None:
        """Serve, at the address of before if there was one."""
        port = int(self.address.partition(":")[2] or 0)
        self.address = await self._stack.enter_async_context(
            serving(self.world, [self.gate], port=port)
        )

    async def pull(self) -> None:
        """Be gone: connections break, new ones are refused."""
        await self._stack.aclose()


@dataclass(slots=True, kw_only=True)
class Bench:
    """A venue's adapter, and the emulator whose faults it is to survive."""

    name: str
    world: World
    adapter: Any
    local: QuickWaits
    plug: Plug
    rules: dict[str, Instrument]

    @property
    def venue(self) -> Venue:
        return Venue(self.name)

    @property
    def trading(self) -> TradingVenue:
        found: TradingVenue = self.adapter.trading
        return found

    @property
    def streams(self) -> Streams:
        found: Streams = self.adapter.streams
        return found

    @property
    def market(self) -> Market:
        return self.world.venues[self.venue].markets[SYMBOL]

    @property
    def account(self) -> Account:
        return self.world.venues[self.venue].accounts.by_id["demo"]

    @property
    def price(self) -> Decimal:
        """Return the last price."""
        return self.market.last_price

    @property
    def held(self) -> Decimal:
        """Return the position as the emulator has it."""
        return self.account.exchange.position(SYMBOL).signed_quantity

    @property
    def asked(self) -> list[str]:
        """Return the paths of all requests that reached the emulator."""
        return self.plug.gate.asked

    def now_ms(self) -> int:
        """Return the venue's clock as the adapter has it."""
        found: int = self.adapter.clock.now_ms()
        return found

    def arm(self, kind: FaultKind, path: str = "*", **terms: Any) -> Fault:
        """Arm a fault; it strikes once unless said otherwise. passes: how many go unharmed."""
        fault = LaterFault(kind=kind, path=path, **{"left": 1, **terms})
        self.world.faults.arm(fault)
        return fault

    def disarm(self) -> None:
        """Let everything work again."""
        self.world.faults.clear()

    def struck(self, kind: FaultKind) -> int:
        """Return how often faults of a kind have struck."""
        return self.world.faults.struck[kind]

    async def measure_clock(self) -> None:
        """Measure the venue's clock."""
        measure = getattr(self.adapter, "measure_clock", None) or self.adapter.rest.measure_clock
        await measure()

    async def pass_time(self, ms: int) -> None:
        """Let the market live on, and what it causes arrive."""
        self.world.advance(ms)
        await self.measure_clock()
        await asyncio.sleep(0.02)

    # The truth.

    def accepted(self) -> list[str]:
        """Return the client ids of all orders that the venue took, in order, each as often."""
        return [
            entry.facts["client_id"]
            for entry in self.world.journal
            if entry.what == "OrderAccepted" and not entry.facts["client_id"].startswith("web_")
        ]

    def filled(self) -> dict[str, Decimal]:
        """Return what has filled at the venue, by client id."""
        sums: dict[str, Decimal] = {}
        for entry in self.world.journal:
            if entry.what == "OrderFilled":
                name = entry.facts["client_id"]
                sums[name] = sums.get(name, D(0)) + D(entry.facts["fill_quantity"])
        return sums

    def working(self) -> dict[str, Decimal]:
        """Return what may still fill at the venue, by client id."""
        return {record.client_id: record.leaves for record in self.account.open_orders()}


@asynccontextmanager
async def bench_of(
    name: str,
    *,
    pipe: PipeSettings = PATIENT,
    speed: float = 0.0,
    hurry: float = SPEED,
    knows_rules: bool = True,
    on_rules_changed: Callable[[str], None] | None = None,
    start_ms: int = NOON_MS,
) -> AsyncIterator[Bench]:
    """Yield a bench of "binance" or "bybit". knows_rules: whether orders are judged before.

    speed: of virtual time; at zero it stands still until moved. hurry: of the adapter's waits.
    """
    venue = Venue(name)
    world = world_of(venue, speed=speed, start_ms=start_ms)
    gate = Gatekeeper(BinanceDoor(world) if venue is Venue.BINANCE else BybitDoor(world))
    plug = Plug(world=world, gate=gate)
    local = QuickWaits(hurry)
    markets = world.venues[venue].markets
    rules = {one: market.instrument for one, market in markets.items()} if knows_rules else {}
    given: dict[str, Any] = {
        "instruments": lambda: rules,
        "mark_price": lambda symbol: markets[symbol].mark_price,
        "local": local,
    }
    if on_rules_changed is not None:
        given["on_rules_changed"] = on_rules_changed
    await plug.put_in()
    endpoints = loopback(plug.address)[name]
    adapter: Any
    try:
        if venue is Venue.BINANCE:
            adapter = await connect_binance(endpoints, DEMO, pipe=pipe, **given)
        else:
            adapter = connect_bybit(endpoints, DEMO, pipes=pipe, **given)
            await adapter.measure_clock()
        try:
            yield Bench(
                name=name, world=world, adapter=adapter, local=local, plug=plug, rules=rules
            )
        finally:
            await adapter.close()
    finally:
        await plug.pull()


def order(client_id: str = "desk-a-e-1", **fields: Any) -> OrderRequest:
    """Return an order: a market buy of 0.010 unless said otherwise."""
    given: dict[str, Any] = {
        "symbol": SYMBOL,
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": D("0.010"),
        **fields,
    }
    return OrderRequest(client_order_id=ClientOrderId(client_id), **given)


def resting(bench: Bench, client_id: str = "desk-a-e-1", **fields: Any) -> OrderRequest:
    """Return a limit buy far below the price."""
    price = bench.price - 500
    return order(client_id, **{"type": OrderType.LIMIT, "price": price, **fields})


def stop(bench: Bench, client_id: str = "desk-a-s-1", **fields: Any) -> OrderRequest:
    """Return a stop far below the price, which closes a long."""
    given: dict[str, Any] = {
        "side": Side.SELL,
        "type": OrderType.STOP_MARKET,
        "trigger_price": bench.price - 900,
        "reduce_only": True,
        **fields,
    }
    return order(client_id, **given)


async def opened(bench: Bench, client_id: str = "desk-a-e-1", **fields: Any) -> OrderReport:
    """Open a position at market and return the order once it has filled."""
    await bench.trading.place(order(client_id, **fields))

    async def closed() -> OrderReport | None:
        found = await bench.trading.find(SYMBOL, ClientOrderId(client_id))
        return found if found is not None and found.status.is_closed else None

    found = await eventually(closed, meanwhile=lambda: bench.world.advance(1_000))
    assert isinstance(found, OrderReport)
    return found


@asynccontextmanager
async def account_of(bench: Bench) -> AsyncIterator[Listener]:
    """Yield a listener to the account's feed that has heard how things stand."""
    async with bench.streams.account() as feed:
        listener = Listener(feed)
        try:
            await eventually(lambda: listener.of(AccountSynchronized))
            yield listener
        finally:
            await listener.close()


def state_of(listener: Listener) -> str:
    """Return whether the feed is "whole" or "lost", by what it said last."""
    said = [one for one in listener.events if isinstance(one, StreamLost | StreamRestored)]
    return "lost" if said and isinstance(said[-1], StreamLost) else "whole"


def told_fills(listener: Listener) -> dict[str, Decimal]:
    """Return what the feed told of fills, by client id, each trade counted as often as told."""
    sums: dict[str, Decimal] = {}
    known: set[str] = set()
    for event in listener.events:
        fills: Sequence[FillReport] = ()
        if isinstance(event, FillReport):
            fills = (event,)
        elif isinstance(event, AccountSynchronized):
            # A snapshot overlaps with what was told; only what is new in it counts.
            fills = [one for one in event.fills if one.trade_id not in known]
        for one in fills:
            known.add(one.trade_id)
            sums[one.client_order_id] = sums.get(one.client_order_id, D(0)) + one.quantity
    return sums
