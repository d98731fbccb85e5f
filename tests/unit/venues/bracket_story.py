"""Plans and reports for tests of brackets: a long of 1.0 with a stop and a target."""

from decimal import Decimal
from typing import Any

from tests.unit.simulation.market import instrument_of
from tests.unit.simulation.trial import BTC, BUY, SELL, request_of

from perpdesk.domain.candles import Venue
from perpdesk.domain.events import SubmitBracket
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
)
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.brackets import Alarm, Bracket, BracketCommand, Cancel, Place

D = Decimal
ENTRY, STOP, TARGET = "desk-sig-e-1", "desk-sig-s-1", "desk-sig-t1-1"
INSTRUMENT = instrument_of(Venue.BINANCE)


def leg(name: str, quantity: str, **terms: Any) -> OrderRequest:
    return request_of(
        name,
        SELL,
        quantity,
        reduce_only=True,
        parent_id=ClientOrderId(ENTRY),
        oco_id="desk-sig",
        **terms,
    )


def stop_leg(quantity: str = "1", trigger: str = "95") -> OrderRequest:
    return leg(
        STOP,
        quantity,
        kind=OrderType.STOP_MARKET,
        trigger=trigger,
        purpose=OrderPurpose.STOP_LOSS,
    )


def target_leg(quantity: str = "1", price: str = "110", name: str = TARGET) -> OrderRequest:
    return leg(name, quantity, kind=OrderType.LIMIT, price=price, purpose=OrderPurpose.TAKE_PROFIT)


def entry_of(quantity: str = "1", **terms: Any) -> OrderRequest:
    return request_of(ENTRY, BUY, quantity, **terms)


def bracket_of(*legs: OrderRequest, entry: OrderRequest | None = None) -> Bracket:
    """Return a bracket; without legs named, one stop and one target for all of it."""
    plan = SubmitBracket(entry=entry or entry_of(), legs=legs or (stop_leg(), target_leg()))
    return Bracket(plan, INSTRUMENT)


def report(
    request: OrderRequest, status: OrderStatus, filled: str | Decimal = ZERO, at_ms: int = 1
) -> OrderReport:
    assert request.quantity is not None
    return OrderReport(
        symbol=request.symbol,
        client_order_id=request.client_order_id,
        order_id=OrderId(f"venue-{request.client_order_id}"),
        status=status,
        side=request.side,
        type=request.type,
        quantity=request.quantity,
        filled_quantity=Decimal(filled),
        price=request.price,
        trigger_price=request.trigger_price,
        reduce_only=request.reduce_only,
        ts_event_ms=at_ms,
    )


def fill(request: OrderRequest, trade_id: str, quantity: str | Decimal) -> FillReport:
    return FillReport(
        symbol=request.symbol,
        trade_id=trade_id,
        order_id=OrderId(f"venue-{request.client_order_id}"),
        client_order_id=request.client_order_id,
        side=request.side,
        quantity=Decimal(quantity),
        price=D(100),
        liquidity=Liquidity.TAKER,
        fee=ZERO,
        fee_asset="USDT",
        realized_pnl=None,
        ts_event_ms=1,
    )


def told(commands: list[BracketCommand]) -> list[str]:
    """Return commands in words."""
    words = []
    for command in commands:
        match command:
            case Place(request=request):
                assert request.quantity is not None
                words.append(
                    f"place {request.client_order_id} {request.type} {plain(request.quantity)}"
                )
            case Cancel(client_order_id=order_id):
                words.append(f"cancel {order_id}")
            case Alarm():
                words.append("alarm")
    return words


def placed(commands: list[BracketCommand]) -> dict[str, OrderRequest]:
    """Return what is to be placed, by client id."""
    return {
        command.request.client_order_id: command.request
        for command in commands
        if isinstance(command, Place)
    }


__all__ = [
    "BTC",
    "ENTRY",
    "INSTRUMENT",
    "STOP",
    "TARGET",
    "D",
    "bracket_of",
    "entry_of",
    "fill",
    "leg",
    "placed",
    "report",
    "stop_leg",
    "target_leg",
    "told",
]  # fmt: skip
