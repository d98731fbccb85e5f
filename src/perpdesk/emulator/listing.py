"""What a venue does to a symbol while others trade it: other filters, or the end of trading.

Nobody is told: clients learn of it by asking for the rules again, or by a refusal.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.numbers import ZERO
from perpdesk.emulator.market import Market
from perpdesk.emulator.world import World

FILTERS: Final = (
    "tick_size",
    "step_size",
    "min_quantity",
    "min_notional",
    "max_limit_quantity",
    "max_market_quantity",
)


def change_filters(
    world: World, venue: Venue, symbol: str, filters: Mapping[str, Decimal]
) -> Market:
    """Put other filters in force; orders that rest are left as they are.

    filters: by the names in `FILTERS`. Raises KeyError for a symbol or filter that is not known.
    """
    for name, value in filters.items():
        if name not in FILTERS:
            raise KeyError(name)
        if value <= ZERO:
            raise ValueError(f"{name} must be positive, not {value}")
    market = world.venues[venue].markets[symbol]
    changed: dict[str, Any] = dict(filters)
    market.change_rules(replace(market.instrument, **changed))
    for account in world.venues[venue].accounts.by_id.values():
        account.exchange.symbols[symbol].instrument = market.instrument
    facts = {name: str(value) for name, value in filters.items()}
    world.note(venue, "", "filters changed", {"symbol": symbol, **facts})
    return market


def set_trading(world: World, venue: Venue, symbol: str, *, is_open: bool) -> Market:
    """Open or close a symbol for orders. Closing cancels what rests; positions stay as they are.

    Raises KeyError for a symbol that is not known.
    """
    market = world.venues[venue].markets[symbol]
    market.is_open = is_open
    world.note(venue, "", "symbol opened" if is_open else "symbol closed", {"symbol": symbol})
    if not is_open:
        for account in world.venues[venue].accounts.by_id.values():
            for record in account.open_orders(symbol):
                if record.is_open:
                    account.cancel(record, now_ms=world.now_ms)
    return market
