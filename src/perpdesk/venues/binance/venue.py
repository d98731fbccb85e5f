"""Binance, bound together: one connection pool, one clock, one budget behind every port."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from perpdesk.domain.instrument import Instrument
from perpdesk.venues.binance.history import BinanceHistory
from perpdesk.venues.binance.names import OrderNames
from perpdesk.venues.binance.reference import BinanceReference
from perpdesk.venues.binance.rest import POOLS, BinanceRest
from perpdesk.venues.binance.stream import BinanceStreams
from perpdesk.venues.binance.trading import BinanceTrading
from perpdesk.venues.clock import LocalTime, SystemTime, VenueClock
from perpdesk.venues.endpoints import Credentials, Endpoints
from perpdesk.venues.pipe import PipeSettings
from perpdesk.venues.rate_limit import RateBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceVenue:
    """Everything that speaks to one leg of Binance. Close it."""

    reference: BinanceReference
    history: BinanceHistory
    trading: BinanceTrading
    streams: BinanceStreams
    clock: VenueClock
    budget: RateBudget
    rest: BinanceRest

    async def close(self) -> None:
        """Close the connections; feeds are closed by those who opened them."""
        await self.rest.close()


def no_mark_price(symbol: str) -> Decimal | None:
    """Return that no mark price is known: rules that need one are left to Binance."""
    return None


def no_instruments() -> Mapping[str, Instrument]:
    """Return that no rules are known: orders are left to Binance to judge."""
    return {}


async def connect(
    endpoints: Endpoints,
    credentials: Credentials | None,
    *,
    instruments: Callable[[], Mapping[str, Instrument]] = no_instruments,
    mark_price: Callable[[str], Decimal | None] = no_mark_price,
    on_rules_changed: Callable[[str], None] = lambda symbol: None,
    local: LocalTime | None = None,
    budget: RateBudget | None = None,
    pipe: PipeSettings | None = None,
    spot_rest: str | None = None,
) -> BinanceVenue:
    """Bind the adapter to a host and measure its clock.

    instruments: the rules known now, asked for with every order. on_rules_changed: told a symbol
    whose rules should be asked for anew, because Binance judges by others. budget: shared by all
    legs that call from this address. spot_rest: where /sapi lives, if not where it is known to be.
    Raises UsageRefused for a bad address, VenueUnavailable where the host does not answer.
    """
    clock = VenueClock(local or SystemTime())
    shared = budget or RateBudget(POOLS, clock.local)
    rest = BinanceRest(endpoints, credentials, clock=clock, budget=shared, spot_rest=spot_rest)
    try:
        await rest.measure_clock()
    except BaseException:
        await rest.close()
        raise
    history = BinanceHistory(rest)
    trading = BinanceTrading(
        rest,
        OrderNames(),
        instruments=instruments,
        mark_price=mark_price,
        on_rules_changed=on_rules_changed,
    )
    return BinanceVenue(
        reference=BinanceReference(rest),
        history=history,
        trading=trading,
        streams=BinanceStreams(rest, history, trading, settings=pipe or PipeSettings()),
        clock=clock,
        budget=shared,
        rest=rest,
    )
