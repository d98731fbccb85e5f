"""Whether the account can carry what an order would open: margin, fees and the tier's leverage."""

from decimal import Decimal

from perpdesk.domain.numbers import ZERO, floor_to_step, plain
from perpdesk.domain.order import Side
from perpdesk.domain.order_rules import Refusal, Rule, check_position_size, refusal
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.state import SymbolState


def opening_fault(
    accounting: Accounting,
    state: SymbolState,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    ts_ms: int,
    *,
    reserved: Decimal = ZERO,
    resting: bool = False,
) -> Refusal | None:
    """Return why a trade may not open what it would open, None if it may or opens nothing.

    reserved: quote that the order holds already; a full account does not stop an order that holds
    enough. resting: the order met its price in the book, so a mark that has moved on counts no
    more. An order that crosses zero may use what closing sets free.
    """
    opening = state.opening_quantity(side, quantity)
    if not opening:
        return None
    crosses = opening != quantity
    loss = ZERO if resting else None
    missing = accounting.cost_of(state, side, opening, price, ts_ms, open_loss=loss) - reserved
    if missing > ZERO:
        free = accounting.free_for_orders()
        if crosses:
            free += accounting.freed_by_closing(state, price, ts_ms)
        if missing > free:
            return _too_dear(state, opening, missing + reserved, max(ZERO, free) + reserved)
    notional = opening * price
    if not crosses:
        notional += abs(state.signed_quantity) * price
    return check_position_size(state.instrument, state.leverage, notional=notional)


def _too_dear(state: SymbolState, opening: Decimal, cost: Decimal, free: Decimal) -> Refusal:
    largest = floor_to_step(opening * free / cost, state.instrument.step_size)
    return refusal(
        state.instrument.venue,
        Rule.MARGIN,
        f"opening {plain(opening)} needs {plain(cost)} of margin and fees, {plain(free)} is free; "
        f"the largest affordable quantity is {plain(largest)}",
    )
