"""A trader for the soak: random orders, by a seed, and never one sent twice.

What is sent, and what it was said to have become, is written down, to be held against the
emulator's journal: `Witness` stands between the trader and the adapter.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TextIO

from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.events import AmendOrder, SubmitBracket
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ceil_to_step, round_to_tick
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
)
from perpdesk.domain.ports import NeverArrived, TradingVenue
from perpdesk.domain.streams import StreamEvent
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.bracket_driver import BracketDriver, DriverSettings
from perpdesk.venues.brackets import Bracket
from perpdesk.venues.clock import LocalTime

D = Decimal
NOTIONAL: Final = D(40)
MOST_HELD: Final = D(1_000)
"""Quote: a larger position is taken back first."""
ENTRY_MAY_WAIT_S: Final = 600.0
FIRST_WAIT_S: Final = 2.0


class Witness:
    """A `TradingVenue` that writes down every order sent, and what was said of it."""

    def __init__(self, inner: TradingVenue, notes: TextIO) -> None:
        self._inner = inner
        self._notes = notes
        self.venue = inner.venue
        self.sent = 0
        self.unknown = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def place(self, request: OrderRequest) -> OrderReport:
        """Place, and note the outcome."""
        self.sent += 1
        try:
            report = await self._inner.place(request)
        except BaseException as error:
            self._note_error(request, error)
            raise
        self._note(request.client_order_id, "place", "reported", report.status.value)
        return report

    async def place_batch(
        self, requests: Sequence[OrderRequest]
    ) -> tuple[OrderReport | VenueRejected | OutcomeUnknown, ...]:
        """Place several, and note the outcome of each."""
        self.sent += len(requests)
        try:
            fates = await self._inner.place_batch(requests)
        except BaseException as error:
            for request in requests:
                self._note_error(request, error)
            raise
        for request, fate in zip(requests, fates, strict=True):
            if isinstance(fate, OrderReport):
                self._note(request.client_order_id, "place", "reported", fate.status.value)
            else:
                self._note_error(request, fate)
        return fates

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        """Resolve, and note what was found."""
        self._note(client_order_id, "resolve", "asking", "")
        found = await self._inner.resolve(symbol, client_order_id, sent_ms=sent_ms)
        never = isinstance(found, NeverArrived)
        self._note(client_order_id, "resolve", "never" if never else "found", "")
        return found

    def _note_error(self, request: OrderRequest, error: BaseException) -> None:
        kinds = {
            VenueRejected: "rejected",
            VenueUnavailable: "unavailable",
            OutcomeUnknown: "unknown",
            Denied: "denied",
        }
        kind = kinds.get(type(error), "abandoned")
        self.unknown += kind == "unknown"
        self._note(request.client_order_id, "place", kind, str(error))

    def _note(self, client_order_id: str, act: str, result: str, words: str) -> None:
        row = {
            "venue": self.venue.value,
            "id": client_order_id,
            "act": act,
            "result": result,
            "words": words[:160],
        }
        self._notes.write(json.dumps(row) + "\n")


class Trader:
    """Trades the symbols of one venue at random until told to stop.

    price: the latest mark. held: the signed quantity, as the account's feed says. now_ms: the
    venue's clock.
    """

    def __init__(
        self,
        venue: Witness,
        instruments: Mapping[str, Instrument],
        *,
        local: LocalTime,
        now_ms: Callable[[], int],
        price: Callable[[str], Decimal | None],
        held: Callable[[str], Decimal],
        seed: int,
    ) -> None:
        self.venue = venue
        self.instruments = instruments
        self.alarms = 0
        self._local = local
        self._now_ms = now_ms
        self._price = price
        self._held = held
        self._seed = seed
        self._numbers = 0
        self._stopping = False
        self._drivers: dict[str, BracketDriver] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin: brackets on every third symbol, single orders on the others."""
        symbols = list(self.instruments)
        bracketed, plain = symbols[::3], [one for one in symbols if one not in symbols[::3]]
        for number, symbol in enumerate(bracketed):
            chance = random.Random(f"{self._seed}-{self.venue.venue}-b{number}")
            self._tasks.append(asyncio.create_task(self._trade_brackets(symbol, chance)))
        for number, symbol in enumerate(plain):
            chance = random.Random(f"{self._seed}-{self.venue.venue}-p{number}")
            self._tasks.append(asyncio.create_task(self._trade(symbol, chance)))

    def observe(self, event: StreamEvent) -> None:
        """Hand what the account's feed says to the brackets that run."""
        for driver in list(self._drivers.values()):
            driver.observe(event)

    async def stop(self, within_s: float) -> list[str]:
        """End what runs, cancel what rests; return the errors that ended a task."""
        self._stopping = True
        await asyncio.wait(self._tasks, timeout=within_s / self._speed)
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for symbol in self.instruments:
            await self._until_done(lambda symbol=symbol: self.venue.cancel_all(symbol))  # type: ignore[misc]
        return [repr(one) for one in ended if isinstance(one, Exception)]

    @property
    def _speed(self) -> float:
        return float(getattr(self._local, "speed", 1.0))

    async def _until_done(self, act: Callable[[], Any]) -> None:
        while True:
            try:
                await act()
                return
            except (VenueUnavailable, OutcomeUnknown):
                await self._local.sleep(FIRST_WAIT_S)
            except VenueRejected:
                return

    # Single orders.

    async def _trade(self, symbol: str, chance: random.Random) -> None:
        resting: list[OrderRequest] = []
        while not self._stopping:
            await self._local.sleep(chance.uniform(20, 90))
            price = self._price(symbol)
            if price is None or self._stopping:
                continue
            try:
                await self._act(symbol, price, resting, chance)
            except (VenueUnavailable, VenueRejected, Denied):
                continue

    async def _act(
        self, symbol: str, price: Decimal, resting: list[OrderRequest], chance: random.Random
    ) -> None:
        held = self._held(symbol)
        if abs(held) * price > MOST_HELD:
            side = Side.SELL if held > 0 else Side.BUY
            request = self._order(symbol, side, OrderType.MARKET, price, reduce_only=True)
            await self._place(request)
            return
        del resting[:-4]
        die = chance.random()
        side = chance.choice([Side.BUY, Side.SELL])
        if resting and die < 0.25:
            await self._cancel(resting.pop(chance.randrange(len(resting))))
        elif resting and die < 0.4:
            await self._amend(chance.choice(resting), price, chance)
        elif die < 0.55:
            await self._place(self._order(symbol, side, OrderType.MARKET, price))
        elif die < 0.65:
            requests = [self._limit(symbol, side, price, chance) for _ in range(2)]
            resting += requests
            await self._place_batch(requests)
        elif die < 0.72:
            away = price * (D("1.004") if side is Side.BUY else D("0.996"))
            await self._place(
                self._order(symbol, side, OrderType.STOP_MARKET, price, trigger_price=away)
            )
        else:
            request = self._limit(symbol, side, price, chance)
            resting.append(request)
            await self._place(request)

    async def _place(self, request: OrderRequest) -> None:
        sent_ms = self._now_ms()
        try:
            await self.venue.place(request)
        except OutcomeUnknown:
            await self._resolve(request, sent_ms)

    async def _place_batch(self, requests: Sequence[OrderRequest]) -> None:
        sent_ms = self._now_ms()
        try:
            fates = await self.venue.place_batch(requests)
        except OutcomeUnknown as unknown:
            fates = (unknown,) * len(requests)
        for request, fate in zip(requests, fates, strict=True):
            if isinstance(fate, OutcomeUnknown):
                await self._resolve(request, sent_ms)

    async def _cancel(self, request: OrderRequest) -> None:
        sent_ms = self._now_ms()
        try:
            await self.venue.cancel(request.symbol, request.client_order_id)
        except OutcomeUnknown:
            await self._resolve(request, sent_ms)

    async def _amend(self, request: OrderRequest, price: Decimal, chance: random.Random) -> None:
        tick = self.instruments[request.symbol].tick_size
        away = D(repr(round(chance.uniform(0.0005, 0.004), 5)))
        new = round_to_tick(price * (1 - away * request.side.sign), tick)
        change = AmendOrder(client_order_id=request.client_order_id, price=new)
        sent_ms = self._now_ms()
        try:
            await self.venue.amend(request.symbol, change)
        except OutcomeUnknown:
            await self._resolve(request, sent_ms)

    async def _resolve(self, request: OrderRequest, sent_ms: int) -> None:
        await self.venue.resolve(request.symbol, request.client_order_id, sent_ms=sent_ms)

    def _limit(
        self, symbol: str, side: Side, price: Decimal, chance: random.Random
    ) -> OrderRequest:
        away = D(repr(round(chance.uniform(0.0002, 0.003), 5)))
        tick = self.instruments[symbol].tick_size
        limit = round_to_tick(price * (1 - away * side.sign), tick)
        tif = chance.choice([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTX, TimeInForce.IOC])
        return self._order(
            symbol, side, OrderType.LIMIT, price, limit_price=limit, time_in_force=tif
        )

    def _order(
        self,
        symbol: str,
        side: Side,
        kind: OrderType,
        price: Decimal,
        *,
        name: str | None = None,
        limit_price: Decimal | None = None,
        trigger_price: Decimal | None = None,
        **terms: Any,
    ) -> OrderRequest:
        rules = self.instruments[symbol]
        least = max(rules.min_quantity, NOTIONAL / price)
        if name is None:
            self._numbers += 1
            name = f"soak-{self.venue.venue.value[:2]}{self._numbers}"
        return OrderRequest(
            client_order_id=ClientOrderId(name),
            symbol=symbol,
            side=side,
            type=kind,
            quantity=ceil_to_step(least, rules.step_size),
            price=limit_price,
            trigger_price=None
            if trigger_price is None
            else round_to_tick(trigger_price, rules.tick_size),
            **terms,
        )

    # Brackets.

    async def _trade_brackets(self, symbol: str, chance: random.Random) -> None:
        while not self._stopping:
            await self._local.sleep(chance.uniform(60, 240))
            price = self._price(symbol)
            if price is None or self._stopping:
                continue
            plan = self._bracket(symbol, price, chance)
            driver = BracketDriver(
                Bracket(plan, self.instruments[symbol]),
                self.venue,
                local=self._local,
                venue_now_ms=self._now_ms,
                alarm=self._alarm,
                settings=DriverSettings(unprotected_s=120.0, linger_s=60.0),
            )
            self._drivers[symbol] = driver
            giving_up = asyncio.create_task(self._give_up(plan.entry))
            try:
                await driver.run()
            finally:
                giving_up.cancel()
                await asyncio.gather(giving_up, return_exceptions=True)
                del self._drivers[symbol]

    def _alarm(self, message: str) -> None:
        self.alarms += 1

    async def _give_up(self, entry: OrderRequest) -> None:
        """Cancel an entry that does not fill."""
        await self._local.sleep(ENTRY_MAY_WAIT_S)
        await self._until_done(lambda: self.venue.cancel(entry.symbol, entry.client_order_id))

    def _bracket(self, symbol: str, price: Decimal, chance: random.Random) -> SubmitBracket:
        self._numbers += 1
        name = f"soak-{self.venue.venue.value[:2]}{self._numbers}b"
        side = chance.choice([Side.BUY, Side.SELL])
        kind = chance.choice([OrderType.MARKET, OrderType.LIMIT])
        near = round_to_tick(price, self.instruments[symbol].tick_size)
        entry = self._order(
            symbol,
            side,
            kind,
            price,
            name=f"{name}-e-1",
            limit_price=near if kind is OrderType.LIMIT else None,
        )
        leg: dict[str, Any] = {
            "reduce_only": True,
            "parent_id": entry.client_order_id,
            "oco_id": name,
        }
        stop = self._order(
            symbol,
            side.opposite,
            OrderType.STOP_MARKET,
            price,
            name=f"{name}-s-1",
            trigger_price=price * (1 - D("0.003") * side.sign),
            purpose=OrderPurpose.STOP_LOSS,
            **leg,
        )
        target = self._order(
            symbol,
            side.opposite,
            OrderType.LIMIT,
            price,
            name=f"{name}-t1-1",
            limit_price=round_to_tick(
                price * (1 + D("0.004") * side.sign), self.instruments[symbol].tick_size
            ),
            purpose=OrderPurpose.TAKE_PROFIT,
            **leg,
        )
        return SubmitBracket(entry=entry, legs=(stop, target))
