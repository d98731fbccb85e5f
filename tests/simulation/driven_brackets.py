"""A bracket at an emulated venue, run by its driver over the account's own feed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from tests.contract.venue_benches import eventually
from tests.simulation.fault_benches import Bench, order, stop

from perpdesk.domain.events import SubmitBracket
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderType, Side
from perpdesk.domain.ports import Feed
from perpdesk.domain.streams import AccountSynchronized, StreamEvent
from perpdesk.venues.bracket_driver import BracketDriver
from perpdesk.venues.brackets import Bracket

D = Decimal
ENTRY, STOP, TARGET, EXIT = "desk-a-e-1", "desk-a-s-1", "desk-a-t1-1", "desk-a-e-x-1"


@dataclass(slots=True, kw_only=True)
class Driven:
    """A bracket that runs. alarms: what a person was told. events: what the feed said."""

    bench: Bench
    bracket: Bracket
    driver: BracketDriver
    running: asyncio.Task[None]
    alarms: list[str]
    events: list[StreamEvent] = field(default_factory=list)

    def stops(self) -> dict[str, Decimal]:
        """Return the stops that wait at the venue: what they would close, by client id."""
        return {
            record.client_id: record.leaves
            for record in self.bench.account.open_orders()
            if record.is_waiting
        }

    @property
    def is_protected(self) -> bool:
        """Tell whether one stop at the venue covers just what is held."""
        held = self.bench.held
        return held > 0 and list(self.stops().values()) == [held]


def long_of(
    bench: Bench, quantity: str = "0.010", *, entry_price: Decimal | None = None
) -> SubmitBracket:
    """Return a long with a stop far below: at market, or at a limit."""
    parent = ClientOrderId(ENTRY)
    entry = order(
        ENTRY,
        type=OrderType.MARKET if entry_price is None else OrderType.LIMIT,
        price=entry_price,
        quantity=D(quantity),
    )
    protective = stop(
        bench,
        STOP,
        quantity=D(quantity),
        parent_id=parent,
        purpose=OrderPurpose.STOP_LOSS,
    )
    return SubmitBracket(entry=entry, legs=(protective,))


def with_target(bench: Bench, plan: SubmitBracket) -> SubmitBracket:
    """Return the bracket with a target for all of it, far above."""
    target = order(
        TARGET,
        side=Side.SELL,
        type=OrderType.LIMIT,
        price=bench.price + 800,
        quantity=plan.entry.quantity,
        reduce_only=True,
        parent_id=plan.entry.client_order_id,
        purpose=OrderPurpose.TAKE_PROFIT,
    )
    legs: tuple[OrderRequest, ...] = (*plan.legs, target)
    return SubmitBracket(entry=plan.entry, legs=legs)


@asynccontextmanager
async def driven(bench: Bench, plan: SubmitBracket) -> AsyncIterator[Driven]:
    """Run a bracket until the block ends."""
    bracket = Bracket(plan, bench.market.instrument)
    alarms: list[str] = []
    driver = BracketDriver(
        bracket,
        bench.trading,
        local=bench.local,
        venue_now_ms=bench.now_ms,
        alarm=alarms.append,
    )
    async with bench.streams.account() as feed:
        events: list[StreamEvent] = []
        hearing = asyncio.create_task(_hear(feed, driver, events))
        await eventually(lambda: any(isinstance(one, AccountSynchronized) for one in events))
        running = asyncio.create_task(driver.run())
        try:
            yield Driven(
                bench=bench,
                bracket=bracket,
                driver=driver,
                running=running,
                alarms=alarms,
                events=events,
            )
        finally:
            for task in (running, hearing):
                task.cancel()
            await asyncio.gather(running, hearing, return_exceptions=True)


async def _hear(feed: Feed, driver: BracketDriver, events: list[StreamEvent]) -> None:
    async for event in feed:
        events.append(event)
        driver.observe(event)
