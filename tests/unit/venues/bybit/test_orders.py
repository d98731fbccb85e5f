"""Orders: what is sent, and what the answers are taken for."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.bybit.rows import execution_row, order_row
from tests.unit.venues.bybit.scripted_venue import (
    Request,
    ScriptedVenue,
    envelope,
    listing,
)

from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    WorkingPrice,
)
from perpdesk.domain.ports import NeverArrived, TradingVenue
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.bybit.connect import BybitVenue
from perpdesk.venues.bybit.order_parameters import order_parameters

D = Decimal
DESK_1 = ClientOrderId("desk-1")
OTHER = ClientOrderId("other")
LIMIT = OrderRequest(
    client_order_id=DESK_1,
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    quantity=D("0.01"),
    price=D("60000"),
)


def test_it_is_a_trading_venue(bybit: BybitVenue) -> None:
    port: TradingVenue = bybit.trading
    assert port.venue is Venue.BYBIT


# What is sent.


@pytest.mark.parametrize(
    ("order_type", "side", "direction", "kind"),
    [
        (OrderType.STOP_MARKET, Side.BUY, 1, "Market"),
        (OrderType.STOP_MARKET, Side.SELL, 2, "Market"),
        (OrderType.STOP_LIMIT, Side.SELL, 2, "Limit"),
        (OrderType.TAKE_PROFIT_MARKET, Side.BUY, 2, "Market"),
        (OrderType.TAKE_PROFIT_MARKET, Side.SELL, 1, "Market"),
        (OrderType.TAKE_PROFIT_LIMIT, Side.SELL, 1, "Limit"),
    ],
)
def test_conditional_order_says_from_which_side_its_trigger_is_reached(
    order_type: OrderType, side: Side, direction: int, kind: str
) -> None:
    order = replace(
        LIMIT,
        type=order_type,
        side=side,
        trigger_price=D("59000.0"),
        working_price=WorkingPrice.MARK,
        reduce_only=True,
    )
    told = order_parameters(order)
    assert (told["triggerDirection"], told["orderType"]) == (direction, kind)
    assert (told["triggerPrice"], told["triggerBy"]) == ("59000", "MarkPrice")
    assert told["reduceOnly"] is True
    assert told.get("price") == ("60000" if kind == "Limit" else None)


def test_closing_the_position_is_quantity_zero_with_both_flags() -> None:
    order = replace(LIMIT, type=OrderType.MARKET, quantity=None, price=None, close_position=True)
    told = order_parameters(order)
    assert (told["qty"], told["reduceOnly"], told["closeOnTrigger"]) == ("0", True, True)


def test_post_only_is_spelled_as_bybit_spells_it() -> None:
    told = order_parameters(replace(LIMIT, time_in_force=TimeInForce.GTX))
    assert told["timeInForce"] == "PostOnly"


@pytest.mark.parametrize("name", ["", "a:b", "x" * 37])
def test_client_id_outside_the_alphabet_is_denied(name: str) -> None:
    with pytest.raises(Denied, match="1 to 36"):
        order_parameters(replace(LIMIT, client_order_id=ClientOrderId(name)))


async def test_order_off_the_tick_is_denied_with_the_nearest_legal_price(
    venue: ScriptedVenue, ruled: BybitVenue
) -> None:
    with pytest.raises(Denied, match=r"60000\.05.*nearest is 60000\.1"):
        await ruled.trading.place(replace(LIMIT, price=D("60000.05")))
    assert venue.requests == []


async def test_symbol_with_a_typo_is_denied_with_the_nearest(ruled: BybitVenue) -> None:
    with pytest.raises(Denied, match="Did you mean BTCUSDT"):
        await ruled.trading.place(replace(LIMIT, symbol="BTCUSD"))


# What became of it.


async def test_duplicate_id_is_the_order_that_is_there(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/order/create", envelope(code=110072, message="OrderLinkedID is duplicate"))
    venue.answer("/v5/order/realtime", listing(order_row(orderStatus="PartiallyFilled")))
    report = await bybit.trading.place(LIMIT)
    assert (report.status, report.order_id) == (OrderStatus.PARTIALLY_FILLED, "o-1")


async def test_order_is_sought_in_the_open_ones_the_history_and_the_executions(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/order/realtime", listing())
    venue.answer("/v5/order/history", listing())
    venue.answer(
        "/v5/execution/list",
        listing(
            execution_row("t-2", execTime="2", leavesQty="0", orderQty="1", execQty="0.6"),
            execution_row("t-1", execTime="1", leavesQty="0.6", orderQty="1", execPrice="110"),
        ),
    )
    report = await bybit.trading.find("BTCUSDT", DESK_1)
    assert report is not None
    assert (report.status, report.quantity, report.filled_quantity) == (
        OrderStatus.FILLED,
        D(1),
        D(1),
    )
    assert report.average_price == D(104)  # (0.4 x 110 + 0.6 x 100) / 1
    asked = [request.query for request in venue.requests]
    assert all(query["orderLinkId"] == "desk-1" for query in asked)


async def test_order_that_nobody_knows_is_not_found(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    for path in ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list"):
        venue.answer(path, listing())
    assert await bybit.trading.find("BTCUSDT", DESK_1) is None


async def test_order_never_seen_long_after_it_was_sent_never_arrived(
    venue: ScriptedVenue, hasty: BybitVenue
) -> None:
    for path in ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list"):
        venue.answer(path, listing())
    long_ago = hasty.clock.now_ms() - 60_000
    found = await hasty.trading.resolve("BTCUSDT", DESK_1, sent_ms=long_ago)
    assert found == NeverArrived(client_order_id=DESK_1)
    assert len(venue.received("/v5/order/realtime")) == 2


async def test_cancel_is_read_back_until_it_shows(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/order/cancel", envelope({"orderId": "o-1"}))
    closed = order_row(orderStatus="Cancelled", cancelType="CancelByUser")
    venue.answer("/v5/order/realtime", listing(order_row()), listing(closed))
    report = await bybit.trading.cancel("BTCUSDT", DESK_1)
    assert (report.status, report.reason) == (OrderStatus.CANCELED, "CancelByUser")


@pytest.mark.parametrize("code", [110001, 110008, 110010])
async def test_cancel_of_what_is_not_open_is_refused(
    venue: ScriptedVenue, bybit: BybitVenue, code: int
) -> None:
    venue.answer("/v5/order/cancel", envelope(code=code, message="not open"))
    with pytest.raises(VenueRejected) as caught:
        await bybit.trading.cancel("BTCUSDT", DESK_1)
    assert caught.value.code == str(code)


async def test_amend_sends_what_changes_and_reads_it_back(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/order/amend", envelope({"orderId": "o-1"}))
    venue.answer("/v5/order/realtime", listing(order_row(price="101.50")))
    change = AmendOrder(client_order_id=DESK_1, price=D("101.5"))
    report = await bybit.trading.amend("BTCUSDT", change)
    assert report.price == D("101.5")
    assert venue.received("/v5/order/amend")[0].json == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderLinkId": "desk-1",
        "price": "101.5",
    }


async def test_each_order_of_a_batch_has_its_own_fate(
    venue: ScriptedVenue, ruled: BybitVenue
) -> None:
    requests = [replace(LIMIT, client_order_id=ClientOrderId(f"b-{n}")) for n in range(5)]
    requests[1] = replace(requests[1], quantity=D("0.0005"))  # our own rules refuse it
    answer = listing(*({"orderId": f"o-{n}"} for n in (0, 2, 3, 4)))
    verdicts = [
        {"code": 0, "msg": "OK"},
        {"code": 110007, "msg": "ab not enough"},
        {"code": 10000, "msg": "Server Timeout"},
        {"code": 10006, "msg": "Too many visits"},
    ]
    venue.answer("/v5/order/create-batch", {**answer, "retExtInfo": {"list": verdicts}})
    fates = await ruled.trading.place_batch(requests)
    assert isinstance(fates[0], OrderReport)
    assert fates[0].order_id == "o-0"
    codes = [getattr(fate, "code", type(fate)) for fate in fates[1:]]
    assert codes == ["10001", "110007", OutcomeUnknown, "not-accepted"]
    sent = venue.received("/v5/order/create-batch")[0].json["request"]
    assert [one["orderLinkId"] for one in sent] == ["b-0", "b-2", "b-3", "b-4"]


async def test_batches_hold_at_most_twenty(venue: ScriptedVenue, hasty: BybitVenue) -> None:
    def accept(request: Request) -> dict[str, Any]:
        count = len(request.json["request"])
        rows = [{"orderId": f"o-{n}"} for n in range(count)]
        return {**listing(*rows), "retExtInfo": {"list": [{"code": 0, "msg": "OK"}] * count}}

    venue.answer("/v5/order/create-batch", accept)
    requests = [replace(LIMIT, client_order_id=ClientOrderId(f"b-{n}")) for n in range(23)]
    fates = await hasty.trading.place_batch(requests)
    sizes = [len(one.json["request"]) for one in venue.received("/v5/order/create-batch")]
    assert sizes == [20, 3]
    assert all(isinstance(fate, OrderReport) for fate in fates)


async def test_unclear_batch_leaves_every_order_unknown(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/order/create-batch", envelope(code=10016, message="Server error."))
    fates = await bybit.trading.place_batch(
        [LIMIT, replace(LIMIT, client_order_id=ClientOrderId("x"))]
    )
    assert [type(fate) for fate in fates] == [OutcomeUnknown, OutcomeUnknown]


async def test_a_duplicate_id_whose_order_cannot_be_read_is_unknown(
    venue: ScriptedVenue, hasty: BybitVenue
) -> None:
    venue.answer("/v5/order/create", envelope(code=110072, message="OrderLinkedID is duplicate"))
    venue.answer("/v5/order/realtime", envelope(code=10016, message="Server error."))
    with pytest.raises(OutcomeUnknown):
        await hasty.trading.place(LIMIT)


async def test_an_order_that_waited_before_it_was_sent_is_not_given_up_too_early(
    venue: ScriptedVenue, hasty: BybitVenue
) -> None:
    called_ms = hasty.clock.now_ms()
    hasty.budget.retry_after(30)
    venue.answer("/v5/order/create", envelope(code=10016, message="Server error."))
    with pytest.raises(OutcomeUnknown):
        await hasty.trading.place(LIMIT)
    signed_ms = int(venue.received("/v5/order/create")[0].headers["X-BAPI-TIMESTAMP"])
    assert signed_ms > called_ms + 25_000
    for path in ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list"):
        venue.answer(path, listing())
    found = await hasty.trading.resolve("BTCUSDT", LIMIT.client_order_id, sent_ms=called_ms)
    assert isinstance(found, NeverArrived)
    assert hasty.clock.now_ms() > signed_ms + 7_000


async def test_a_verdict_that_makes_no_sense_leaves_its_order_unknown_and_the_others_told(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    acknowledged = [{"orderId": "o-1"}, {"orderId": "o-2"}]
    verdicts = {"list": [{"code": 0, "msg": "OK"}, {"msg": "?"}]}
    venue.answer(
        "/v5/order/create-batch", envelope({"list": acknowledged}) | {"retExtInfo": verdicts}
    )
    first, second = await bybit.trading.place_batch([LIMIT, replace(LIMIT, client_order_id=OTHER)])
    assert isinstance(first, OrderReport)
    assert isinstance(second, OutcomeUnknown)


async def test_an_acknowledged_cancel_that_cannot_be_read_back_is_unknown(
    venue: ScriptedVenue, hasty: BybitVenue
) -> None:
    venue.answer("/v5/order/cancel", envelope({"orderId": "o-1", "orderLinkId": "desk-1"}))
    venue.answer("/v5/order/realtime", envelope(code=10005, message="Permission denied."))
    with pytest.raises(OutcomeUnknown):
        await hasty.trading.cancel("BTCUSDT", DESK_1)
