"""From a confirmed signal to order requests, with ids derived from the signal."""

from decimal import Decimal
from typing import Final

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ONE, ZERO, floor_to_step
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
    WorkingPrice,
)
from perpdesk.domain.signal import EntryType, PositionSide, Signal
from perpdesk.trading.pending import end_ms_of

_TYPES: Final = {
    EntryType.MARKET: OrderType.MARKET,
    EntryType.LIMIT: OrderType.LIMIT,
    EntryType.STOP: OrderType.STOP_MARKET,
}


def client_order_id(desk: str, signal_id: str, leg: str, attempt: int = 1) -> ClientOrderId:
    """Return desk + signal + leg + attempt: at most 36 characters that both venues take."""
    name = f"{desk}-{signal_id}-{leg}-{attempt}"
    assert len(name) <= 36, name
    return ClientOrderId(name)


def entry_request(desk: str, signal: Signal, quantity: Decimal) -> OrderRequest:
    """Return the entry order; limit and stop entries expire when the signal does."""
    waits = signal.entry is not EntryType.MARKET
    return OrderRequest(
        client_order_id=client_order_id(desk, signal.id, "e"),
        symbol=signal.symbol,
        side=Side.opening(signal.side),
        type=_TYPES[signal.entry],
        quantity=quantity,
        price=signal.entry_price if signal.entry is EntryType.LIMIT else None,
        trigger_price=signal.entry_price if signal.entry is EntryType.STOP else None,
        time_in_force=TimeInForce.GTD if waits else TimeInForce.GTC,
        expire_ms=end_ms_of(signal) if waits else None,
        purpose=OrderPurpose.ENTRY,
    )


def bracket_legs(
    desk: str,
    signal: Signal,
    entry: OrderRequest,
    instrument: Instrument,
    *,
    stop_watches: WorkingPrice,
) -> tuple[OrderRequest, ...]:
    """Return the stop and the targets that protect `entry`: all reduce-only, children of it.

    Targets share the quantity by their fractions, rounded down to the step; what rounding leaves
    goes to the last one where the fractions add up to 1. A share too small to trade joins it too.
    """
    assert entry.quantity is not None
    legs: list[OrderRequest] = []
    if signal.stop_loss is not None:
        legs.append(
            OrderRequest(
                client_order_id=client_order_id(desk, signal.id, "s"),
                symbol=signal.symbol,
                side=entry.side.opposite,
                type=OrderType.STOP_MARKET,
                quantity=entry.quantity,
                trigger_price=signal.stop_loss,
                working_price=stop_watches,
                reduce_only=True,
                parent_id=entry.client_order_id,
                purpose=OrderPurpose.STOP_LOSS,
            )
        )
    shares = _target_quantities(signal, entry.quantity, instrument)
    for number, (target, quantity) in enumerate(
        zip(signal.take_profits, shares, strict=True), start=1
    ):
        if quantity:
            legs.append(
                OrderRequest(
                    client_order_id=client_order_id(desk, signal.id, f"t{number}"),
                    symbol=signal.symbol,
                    side=entry.side.opposite,
                    type=OrderType.LIMIT,
                    quantity=quantity,
                    price=target.price,
                    reduce_only=True,
                    parent_id=entry.client_order_id,
                    purpose=OrderPurpose.TAKE_PROFIT,
                )
            )
    return tuple(legs)


def _target_quantities(signal: Signal, quantity: Decimal, instrument: Instrument) -> list[Decimal]:
    targets = signal.take_profits
    shares = [floor_to_step(quantity * each.fraction, instrument.step_size) for each in targets]
    shares = [share if share >= instrument.min_quantity else ZERO for share in shares]
    if targets and sum((each.fraction for each in targets), ZERO) == ONE:
        shares[-1] += quantity - sum(shares, ZERO)
    return shares


def close_request(
    desk: str, signal_id: str, symbol: str, side: PositionSide, quantity: Decimal
) -> OrderRequest:
    """Return the market order that closes `quantity` of a position on `side`, reduce-only."""
    return OrderRequest(
        client_order_id=client_order_id(desk, signal_id, "x"),
        symbol=symbol,
        side=Side.opening(side).opposite,
        type=OrderType.MARKET,
        quantity=quantity,
        reduce_only=True,
        purpose=OrderPurpose.EXIT,
    )
