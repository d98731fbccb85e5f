"""Everything of one key at one address, built together and closed together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from perpdesk.domain.instrument import Instrument
from perpdesk.venues.bybit.account import BybitAccount
from perpdesk.venues.bybit.calls import POOLS
from perpdesk.venues.bybit.history import BybitHistory
from perpdesk.venues.bybit.order_checks import OrderChecks
from perpdesk.venues.bybit.reference import BybitReference
from perpdesk.venues.bybit.rest import BybitTrading
from perpdesk.venues.bybit.stream import BybitStreams
from perpdesk.venues.bybit.trailing import TrailingStops
from perpdesk.venues.bybit.trailing_orders import TrailingOrders
from perpdesk.venues.bybit.transport import Timeouts, Transport
from perpdesk.venues.clock import LocalTime, SystemTime, VenueClock
from perpdesk.venues.endpoints import Credentials, Endpoints
from perpdesk.venues.pipe import PipeSettings
from perpdesk.venues.rate_limit import RateBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class BybitVenue:
    """Bybit as seen through one key; each part implements a port of `domain/ports.py`."""

    reference: BybitReference
    history: BybitHistory
    trading: BybitTrading
    streams: BybitStreams
    clock: VenueClock
    budget: RateBudget
    transport: Transport

    async def measure_clock(self) -> int:
        """Measure the venue's clock and return the offset; do it every few minutes."""
        return await self.transport.measure_clock()

    async def close(self) -> None:
        """End threads and connections. Feeds are closed by leaving their contexts, before this."""
        await self.transport.close()


def connect(
    endpoints: Endpoints,
    credentials: Credentials | None = None,
    *,
    instruments: Callable[[], Mapping[str, Instrument]] = dict,
    mark_price: Callable[[str], Decimal | None] = lambda symbol: None,
    on_rules_changed: Callable[[str], None] = lambda symbol: None,
    local: LocalTime | None = None,
    budget: RateBudget | None = None,
    clock: VenueClock | None = None,
    timeouts: Timeouts | None = None,
    pipes: PipeSettings | None = None,
) -> BybitVenue:
    """Return the venue; nothing is sent yet. Call inside the running event loop.

    credentials: None for public data alone. instruments, mark_price: what orders are judged by
    before they are sent; without them the venue judges alone. on_rules_changed: told a symbol whose
    rules should be asked for anew, because Bybit judges by others. budget: shared by every key of
    this process, since the address' limit is one. clock: shared too; measured by `measure_clock`.
    """
    clock = clock or VenueClock(local or SystemTime())
    budget = budget or RateBudget(POOLS, clock.local)
    transport = Transport(
        endpoints.rest, credentials, clock=clock, budget=budget, timeouts=timeouts
    )
    stops = TrailingStops()
    account = BybitAccount(transport, stops)
    checks = OrderChecks(instruments, mark_price)
    trailing = TrailingOrders(transport, account, stops, checks)
    reference = BybitReference(transport)
    history = BybitHistory(transport, reference)
    return BybitVenue(
        reference=reference,
        history=history,
        trading=BybitTrading(transport, account, trailing, checks, on_rules_changed),
        streams=BybitStreams(
            endpoints,
            credentials,
            history=history,
            account=account,
            clock=clock,
            settings=pipes,
        ),
        clock=clock,
        budget=budget,
        transport=transport,
    )
