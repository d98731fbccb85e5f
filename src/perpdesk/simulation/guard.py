"""Between which prices nothing can happen: a host may skip such bars and get equal events."""

from dataclasses import dataclass
from decimal import Decimal

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import Side
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.settings import ExchangeSettings, LimitFill
from perpdesk.simulation.state import SymbolState, WorkingOrder


@dataclass(frozen=True, slots=True)
class Guard:
    """Bars with last_low < low, high < last_high (and alike on mark) only move the mark.

    None means unbounded. expire_ms: the first bar that opens at or after it must be processed all
    the same. So must a bar with funding while a position is open. A guard holds until the next
    command, the next bar of its symbol that is processed, or any event.
    """

    last_low: Decimal | None
    last_high: Decimal | None
    mark_low: Decimal | None
    mark_high: Decimal | None
    expire_ms: int | None


class _Bounds:
    """The tightest prices below and above."""

    __slots__ = ("high", "low")

    def __init__(self) -> None:
        self.low: Decimal | None = None
        self.high: Decimal | None = None

    def below(self, price: Decimal) -> None:
        self.low = price if self.low is None else max(self.low, price)

    def above(self, price: Decimal) -> None:
        self.high = price if self.high is None else min(self.high, price)


def guard_of(
    state: SymbolState, accounting: Accounting, settings: ExchangeSettings
) -> Guard | None:
    """Return the symbol's guard, None where its next bar must be processed.

    Cross positions that share margin have no fixed liquidation price, so no bar of theirs is quiet.
    """
    if state.signed_quantity and accounting.is_sharing():
        return None
    last, mark = _Bounds(), _Bounds()
    expire_ms: int | None = None
    for order in state.orders.values():
        if not order.rested or order.is_market:
            return None
        if not _bound(order, state, settings, mark if order.watches_mark else last, last):
            return None
        expires = order.request.expire_ms
        if expires is not None:
            expire_ms = expires if expire_ms is None else min(expire_ms, expires)
    if state.signed_quantity:
        price = accounting.liquidation_price(state)
        if price is not None:
            mark.below(price) if state.signed_quantity > ZERO else mark.above(price)
    return Guard(last.low, last.high, mark.low, mark.high, expire_ms)


def _bound(
    order: WorkingOrder,
    state: SymbolState,
    settings: ExchangeSettings,
    watched: _Bounds,
    last: _Bounds,
) -> bool:
    """Tighten the bounds by one order; false where it has to see every bar."""
    buy = order.request.side is Side.BUY
    if order.rests:
        assert order.price is not None
        tick = state.instrument.tick_size if settings.limit_fill is LimitFill.THROUGH else ZERO
        last.below(order.price - tick) if buy else last.above(order.price + tick)
        return True
    level = order.trigger_level(state.instrument.tick_size)
    if level is None:
        # A sleeping trailing stop: it wakes when the market reaches its activation price.
        trailing = order.request.trailing
        if trailing is None or trailing.activation_price is None:
            return False
        wake = trailing.activation_price
        watched.below(wake) if buy else watched.above(wake)
        return True
    watched.above(level) if order.rises_to_trigger() else watched.below(level)
    if order.is_trailing and order.best_price is not None:
        watched.below(order.best_price) if buy else watched.above(order.best_price)
    return True
