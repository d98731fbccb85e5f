"""An order changes only as the transition table says."""

from decimal import Decimal

import pytest

from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.order import (
    TRANSITIONS,
    ClientOrderId,
    Order,
    OrderChange,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    next_status,
)
from perpdesk.domain.signal import PositionSide

D = Decimal
C, S = OrderChange, OrderStatus


def order(quantity: str = "1", status: OrderStatus = S.ACCEPTED) -> Order:
    request = OrderRequest(
        client_order_id=ClientOrderId("a"),
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=D(quantity),
    )
    return Order(request=request, status=status, quantity=D(quantity))


def test_an_order_lives_from_submission_to_its_last_fill() -> None:
    life = order(status=S.INITIALIZED).change(C.SUBMITTED).change(C.ACCEPTED)
    life = life.fill(quantity=D("0.4"), price=D(100))
    assert (life.status, life.leaves_quantity) == (S.PARTIALLY_FILLED, D("0.6"))
    life = life.fill(quantity=D("0.6"), price=D(110))
    assert (life.status, life.leaves_quantity) == (S.FILLED, D(0))
    # 0.4 x 100 + 0.6 x 110
    assert life.average_price == D(106)


def test_a_lost_request_is_resolved_by_asking() -> None:
    lost = order(status=S.SUBMITTED).change(C.LOST)
    assert lost.status is S.UNKNOWN
    assert {lost.change(change).status for change in (C.ACCEPTED, C.REJECTED)} == {
        S.ACCEPTED,
        S.REJECTED,
    }


def test_a_fill_after_a_cancel_is_booked_and_leaves_the_order_canceled() -> None:
    late = order().change(C.CANCELED).fill(quantity=D(1), price=D(100))
    assert (late.status, late.filled_quantity, late.leaves_quantity) == (S.CANCELED, D(1), D(0))


@pytest.mark.parametrize("quantity", ["0", "-1", "1.001"])
def test_an_order_cannot_fill_nothing_or_more_than_its_size(quantity: str) -> None:
    with pytest.raises(InvariantBroken, match="cannot fill"):
        order().fill(quantity=D(quantity), price=D(100))


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("change", C)
def test_what_the_table_does_not_know_is_refused(status: OrderStatus, change: OrderChange) -> None:
    if change in TRANSITIONS.get(status, {}):
        assert next_status(status, change) in S
        return
    with pytest.raises(InvariantBroken, match=f"{status} cannot become {change}"):
        next_status(status, change)


@pytest.mark.parametrize("status", [S.DENIED, S.REJECTED, S.FILLED])
def test_a_final_status_is_final(status: OrderStatus) -> None:
    assert status.is_closed
    assert not TRANSITIONS.get(status)


def test_every_status_is_open_closed_or_on_its_way() -> None:
    waiting = {S.INITIALIZED, S.SUBMITTED, S.UNKNOWN}
    for status in S:
        assert status.is_open + status.is_closed + (status in waiting) == 1


def test_an_order_that_never_filled_has_no_average_price() -> None:
    assert order().average_price is None


def test_a_side_has_a_sign_and_an_opposite() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert Side.BUY.opposite is Side.SELL
    assert Side.opening(PositionSide.SHORT) is Side.SELL
