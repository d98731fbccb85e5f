import re
from decimal import Decimal

import orjson
import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback
from tests.unit.emulator.builders import NOON_MS

from perpdesk.domain.candles import DAY_MS, Venue
from perpdesk.emulator.faults import Fault, FaultKind

ORDER = "/fapi/v1/order"


def near(door: Loopback, factor: str) -> str:
    return str((door.price * Decimal(factor)).quantize(Decimal("0.1")))


async def test_a_limit_order_rests_and_can_be_asked_for_by_either_id(door: Loopback) -> None:
    order = await door.order(price=near(door, "0.98"), newClientOrderId="mine")
    assert (order["status"], order["clientOrderId"], order["executedQty"]) == (
        "NEW",
        "mine",
        "0.000",
    )
    by_id = await door.ok("GET", ORDER, symbol=SYMBOL, orderId=order["orderId"])
    by_name = await door.ok("GET", ORDER, symbol=SYMBOL, origClientOrderId="mine")
    assert by_id == by_name
    assert by_id["time"] == NOON_MS


async def test_ack_tells_nothing_of_the_fill_and_result_does(door: Loopback) -> None:
    market = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
    ack = await door.ok("POST", ORDER, **market)
    result = await door.ok("POST", ORDER, **market, newOrderRespType="RESULT")
    assert (ack["status"], ack["executedQty"]) == ("NEW", "0.000")
    assert (result["status"], result["executedQty"]) == ("FILLED", "0.010")


async def test_a_market_order_pays_the_best_price_of_the_book(door: Loopback) -> None:
    book = await door.public("/fapi/v1/depth", symbol=SYMBOL, limit=5)
    await door.market_order("BUY")
    await door.market_order("SELL", "0.020")
    fills = await door.ok("GET", "/fapi/v1/userTrades", symbol=SYMBOL)
    assert [fill["price"] for fill in fills] == [book["asks"][0][0], book["bids"][0][0]]
    assert [fill["buyer"] for fill in fills] == [True, False]
    # 0.05 % taker on 0.010 at the ask, truncated at 1e-8.
    assert Decimal(fills[0]["commission"]) == Decimal(fills[0]["price"]) * Decimal("0.000005")


BASE = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
MARKET = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
REFUSALS = [
    ({**BASE, "symbol": "NOUSDT", "price": "40000"}, -1121),
    ({**BASE, "side": "HOLD", "price": "40000"}, -1117),
    ({**BASE, "type": "ICEBERG", "price": "40000"}, -1116),
    ({**BASE, "type": "STOP_MARKET", "stopPrice": "40000"}, -4120),
    ({**BASE, "type": "TRAILING_STOP_MARKET", "callbackRate": "1"}, -4120),
    ({**BASE, "timeInForce": "DAY", "price": "40000"}, -1115),
    ({**BASE}, -1102),
    ({"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "40000"}, -1102),
    ({"symbol": SYMBOL, "side": "BUY", "type": "MARKET"}, -1102),
    ({**MARKET, "price": "40000"}, -1106),
    ({**MARKET, "timeInForce": "GTC"}, -1106),
    ({**MARKET, "quantity": "0.0001"}, -1111),
    ({**MARKET, "quantity": "0"}, -4003),
    ({**MARKET, "quantity": "abc"}, -1102),
    ({**MARKET, "quantity": "5000"}, -4005),
    ({**MARKET, "quantity": "0.001"}, -4164),
    ({**MARKET, "quantity": "50"}, -2019),
    ({**MARKET, "reduceOnly": "true"}, -2022),
    ({**MARKET, "newClientOrderId": "with space"}, -4015),
    ({**MARKET, "newClientOrderId": "x" * 37}, -4015),
    ({**MARKET, "positionSide": "LONG"}, -4061),
    ({**BASE, "price": "40000.05"}, -4014),
    ({**BASE, "price": "40000.005"}, -1111),
    ({**BASE, "price": "90000"}, -4016),
    ({**BASE, "side": "SELL", "price": "20000"}, -4024),
    ({**BASE, "timeInForce": "GTX", "price": "44000"}, -5022),
    ({**BASE, "timeInForce": "FOK", "price": "40000"}, -5021),
    ({**BASE, "timeInForce": "GTD", "price": "40000"}, -1102),
    ({**BASE, "timeInForce": "GTD", "price": "40000", "goodTillDate": NOON_MS + 599_999}, -5040),
]


@pytest.mark.parametrize(("params", "code"), REFUSALS)
async def test_an_order_is_refused_with_the_venues_code(
    door: Loopback, params: dict[str, object], code: int
) -> None:
    band = {"90000": "1.2", "20000": "0.8", "44000": "1.01", "40000": "0.98"}
    if params.get("price") in band:
        params = params | {"price": near(door, band[str(params["price"])])}
    assert await door.code("POST", ORDER, **params) == code
    assert door.account.open_orders() == []


async def test_an_order_may_be_good_till_a_date_ten_minutes_ahead(door: Loopback) -> None:
    order = await door.order(
        price=near(door, "0.98"), timeInForce="GTD", goodTillDate=NOON_MS + 600_000
    )
    assert order["goodTillDate"] == NOON_MS + 600_000
    door.world.advance(601_000)
    told = await door.ok("GET", ORDER, symbol=SYMBOL, orderId=order["orderId"])
    assert told["status"] in ("EXPIRED", "FILLED")


async def test_an_id_is_taken_only_while_its_order_is_open(door: Loopback) -> None:
    price = near(door, "0.98")
    first = await door.order(price=price, newClientOrderId="again")
    assert await door.code("POST", ORDER, **BASE, price=price, newClientOrderId="again") == -4116
    await door.ok("DELETE", ORDER, symbol=SYMBOL, origClientOrderId="again")
    second = await door.order(price=price, newClientOrderId="again")
    assert second["orderId"] != first["orderId"]
    latest = await door.ok("GET", ORDER, symbol=SYMBOL, origClientOrderId="again")
    assert latest["orderId"] == second["orderId"]


async def test_an_order_is_amended_in_price_and_quantity_together(door: Loopback) -> None:
    price, lower = near(door, "0.98"), near(door, "0.97")
    await door.order(price=price, newClientOrderId="a")
    change = {"symbol": SYMBOL, "side": "BUY", "origClientOrderId": "a"}
    assert await door.code("PUT", ORDER, **change, price=lower) == -1102
    assert await door.code("PUT", ORDER, **change, price=price, quantity="0.010") == -5027
    row = await door.ok("PUT", ORDER, **change, price=lower, quantity="0.020")
    assert (Decimal(row["price"]), row["origQty"]) == (Decimal(lower), "0.020")
    unknown = change | {"origClientOrderId": "b", "price": lower, "quantity": "0.010"}
    assert await door.code("PUT", ORDER, **unknown) == -2013


async def test_a_post_only_order_that_an_amendment_would_let_take_is_canceled(
    door: Loopback,
) -> None:
    await door.order(price=near(door, "0.98"), timeInForce="GTX", newClientOrderId="a")
    row = await door.ok(
        "PUT",
        ORDER,
        symbol=SYMBOL,
        side="BUY",
        origClientOrderId="a",
        price=near(door, "1.01"),
        quantity="0.010",
    )
    assert row["status"] == "CANCELED"


async def test_what_is_not_open_cannot_be_canceled(door: Loopback) -> None:
    order = await door.market_order("BUY")
    known = {"symbol": SYMBOL, "orderId": order["orderId"]}
    assert await door.code("DELETE", ORDER, **known) == -2011
    assert await door.code("DELETE", ORDER, symbol=SYMBOL, orderId=1) == -2011
    assert await door.code("GET", ORDER, symbol=SYMBOL, orderId=1) == -2013
    assert await door.code("GET", "/fapi/v1/openOrder", **known) == -2013


async def test_an_unfilled_canceled_order_is_forgotten_after_three_days(door: Loopback) -> None:
    order = await door.order(price=near(door, "0.98"))
    await door.ok("DELETE", ORDER, symbol=SYMBOL, orderId=order["orderId"])
    record = door.account.orders[order["orderId"]]
    record.updated_ms -= 3 * DAY_MS
    assert (await door.ok("GET", ORDER, symbol=SYMBOL, orderId=order["orderId"]))["orderId"]
    record.updated_ms -= 2
    assert await door.code("GET", ORDER, symbol=SYMBOL, orderId=order["orderId"]) == -2013


async def test_a_batch_mixes_orders_and_refusals(door: Loopback) -> None:
    orders = [
        {**BASE, "price": near(door, "0.98"), "newClientOrderId": "b1"},
        {**BASE, "price": near(door, "0.97"), "type": "STOP_MARKET"},
        {**BASE, "price": near(door, "0.97"), "newClientOrderId": "b2"},
    ]
    path = "/fapi/v1/batchOrders"
    answer = await door.ask("POST", path, batchOrders=orjson.dumps(orders).decode())
    first, second, third = answer.body
    assert (first["clientOrderId"], third["clientOrderId"]) == ("b1", "b2")
    assert second["code"] == -4120
    assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "5"
    assert answer.headers["X-MBX-ORDER-COUNT-1M"] == "1"
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "5"
    gone = await door.ok(
        "DELETE", path, symbol=SYMBOL, origClientOrderIdList='["b1","unknown","b2"]'
    )
    assert [row.get("status", row.get("code")) for row in gone] == ["CANCELED", -2011, "CANCELED"]


async def test_six_orders_are_no_batch(door: Loopback) -> None:
    orders = orjson.dumps([BASE] * 6).decode()
    assert await door.code("POST", "/fapi/v1/batchOrders", batchOrders=orders) == -1130


async def test_the_dead_mans_switch_cancels_when_nobody_renews_it(door: Loopback) -> None:
    await door.order(price=near(door, "0.98"))
    path = "/fapi/v1/countdownCancelAll"
    told = await door.ok("POST", path, symbol=SYMBOL, countdownTime=10_000)
    assert told == {"symbol": SYMBOL, "countdownTime": "10000"}
    door.world.advance(9_000)
    assert len(door.account.open_orders()) == 1
    door.world.advance(1_000)
    assert door.account.open_orders() == []


async def test_the_dead_mans_switch_can_be_disarmed(door: Loopback) -> None:
    await door.order(price=near(door, "0.95"))
    for wait_ms in (10_000, 0):
        await door.ok("POST", "/fapi/v1/countdownCancelAll", symbol=SYMBOL, countdownTime=wait_ms)
    door.world.advance(11_000)
    assert len(door.account.open_orders()) == 1


async def test_a_test_order_is_judged_and_not_placed(door: Loopback) -> None:
    await door.ok("POST", "/fapi/v1/order/test", **MARKET)
    assert await door.code("POST", "/fapi/v1/order/test", **MARKET | {"quantity": "0.001"}) == -4164
    assert door.account.orders == {}


async def test_hedge_mode_can_be_set_and_orders_are_then_refused(door: Loopback) -> None:
    path = "/fapi/v1/positionSide/dual"
    assert await door.code("POST", path, dualSidePosition="false") == -4059
    await door.ok("POST", path, dualSidePosition="true")
    assert await door.ok("GET", path) == {"dualSidePosition": True}
    refused = await door.ask("POST", ORDER, **MARKET | {"positionSide": "LONG"})
    assert refused.body["code"] == -4061
    assert "nets positions" in refused.body["msg"]


async def test_position_mode_stays_while_something_is_open(door: Loopback) -> None:
    path = "/fapi/v1/positionSide/dual"
    order = await door.order(price=near(door, "0.98"))
    assert await door.code("POST", path, dualSidePosition="true") == -4067
    await door.ok("DELETE", ORDER, symbol=SYMBOL, orderId=order["orderId"])
    await door.market_order("BUY")
    assert await door.code("POST", path, dualSidePosition="true") == -4068


async def test_leverage_and_margin_type_refuse_in_the_venues_terms(door: Loopback) -> None:
    leverage, kind = "/fapi/v1/leverage", "/fapi/v1/marginType"
    assert await door.code("POST", leverage, symbol=SYMBOL, leverage=126) == -4028
    told = await door.ok("POST", leverage, symbol=SYMBOL, leverage=10)
    assert told["leverage"] == 10
    assert re.fullmatch(r"\d+", told["maxNotionalValue"])
    assert await door.code("POST", kind, symbol=SYMBOL, marginType="CROSSED") == -4046
    await door.ok("POST", kind, symbol=SYMBOL, marginType="ISOLATED")
    order = await door.order(price=near(door, "0.98"))
    assert await door.code("POST", kind, symbol=SYMBOL, marginType="CROSSED") == -4047
    await door.ok("DELETE", ORDER, symbol=SYMBOL, orderId=order["orderId"])
    await door.market_order("BUY")
    assert await door.code("POST", kind, symbol=SYMBOL, marginType="CROSSED") == -4048
    assert await door.code("POST", leverage, symbol=SYMBOL, leverage=5) == -4161
    moved = await door.ok("POST", "/fapi/v1/positionMargin", symbol=SYMBOL, amount="10", type=1)
    assert (moved["amount"], moved["type"]) == (10, 1)
    rows = await door.ok("GET", "/fapi/v1/positionMargin/history", symbol=SYMBOL)
    assert [row["amount"] for row in rows] == ["10.00000000"]


async def test_an_order_may_be_denied_falsely_once(door: Loopback) -> None:
    order = await door.order(price=near(door, "0.98"))
    door.world.faults.arm(Fault(kind=FaultKind.NOT_FOUND, left=1))
    known = {"symbol": SYMBOL, "orderId": order["orderId"]}
    assert await door.code("GET", ORDER, **known) == -2013
    assert (await door.ok("GET", ORDER, **known))["status"] == "NEW"


async def test_the_journal_holds_every_request_that_changes_something(door: Loopback) -> None:
    await door.order(price=near(door, "0.98"), newClientOrderId="a")
    await door.code("DELETE", ORDER, symbol=SYMBOL, orderId=1)
    asked = [entry for entry in door.world.journal if entry.what.startswith("request")]
    assert [(entry.what, entry.facts["method"]) for entry in asked] == [
        ("request accepted", "POST"),
        ("request refused", "DELETE"),
    ]
    assert asked[0].facts["newClientOrderId"] == "a"
    assert "signature" not in asked[0].facts
    assert asked[1].facts["code"] == "-2011"


async def test_orders_and_fills_page_by_id_and_time(door: Loopback) -> None:
    for side in ("BUY", "SELL", "BUY"):
        await door.market_order(side)
        door.world.advance(1_000)
    trades = await door.ok("GET", "/fapi/v1/userTrades", symbol=SYMBOL)
    assert [row["side"] for row in trades] == ["BUY", "SELL", "BUY"]
    from_second = await door.ok(
        "GET", "/fapi/v1/userTrades", symbol=SYMBOL, fromId=trades[1]["id"], limit=1
    )
    assert [row["id"] for row in from_second] == [trades[1]["id"]]
    later = await door.ok("GET", "/fapi/v1/allOrders", symbol=SYMBOL, startTime=NOON_MS + 1_000)
    assert len(later) == 2
    too_wide = {"symbol": SYMBOL, "startTime": NOON_MS - 8 * DAY_MS, "endTime": NOON_MS}
    assert await door.code("GET", "/fapi/v1/userTrades", **too_wide) == -4166


async def test_a_part_of_an_order_fills_at_a_time_where_the_market_is_thin(door: Loopback) -> None:
    door.world.faults.arm(Fault(kind=FaultKind.PARTIAL_FILLS, venue=Venue.BINANCE, value=0.5))
    door.world.advance(1_000)
    order = await door.market_order("BUY")
    assert (order["status"], order["executedQty"]) == ("PARTIALLY_FILLED", "0.005")
