"""The identities of DESIGN 5.12, as executable checks."""

from typing import TYPE_CHECKING

from perpdesk.domain.account import MarginMode
from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.numbers import ATOM, ZERO

if TYPE_CHECKING:
    from perpdesk.simulation.exchange import Exchange


def check_invariants(exchange: "Exchange") -> None:
    """Raise InvariantBroken, naming the identity, unless all hold."""
    ledger = exchange.ledger
    total = ledger.audited_sum()
    _require(total == ledger.cash, f"the ledger sums to {total}, cash is {ledger.cash}")
    account = exchange.account()
    _require(
        account.equity == account.cash + account.unrealized
        and account.free_margin == account.equity - account.used_margin
        and account.available == max(ZERO, account.free_margin),
        "equity, free or available margin contradict their definitions",
    )
    reserved = ZERO
    for state in exchange.symbols.values():
        _require(
            bool(state.signed_quantity) == bool(state.entry_value)
            and (state.signed_quantity > ZERO) == (state.entry_value > ZERO),
            f"{state.symbol}: quantity {state.signed_quantity} with value {state.entry_value}",
        )
        _require(
            state.signed_quantity % state.instrument.step_size == ZERO,
            f"{state.symbol}: position {state.signed_quantity} is off the step grid",
        )
        _require(
            bool(state.signed_quantity) or abs(state.isolated_margin) < ATOM,
            f"{state.symbol}: flat, yet {state.isolated_margin} of margin is set aside",
        )
        _require(
            state.margin_mode is MarginMode.ISOLATED or not state.isolated_margin,
            f"{state.symbol}: cross, yet {state.isolated_margin} of margin is set aside",
        )
        for order in state.orders.values():
            _require(
                ZERO <= order.filled < order.quantity or order.request.close_position,
                f"{order.request.client_order_id}: {order.filled} filled of {order.quantity}",
            )
            reserved += order.reserved
    _require(
        reserved == exchange.accounting.reserved,
        f"orders hold {reserved}, the account counts {exchange.accounting.reserved}",
    )


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise InvariantBroken(words)
