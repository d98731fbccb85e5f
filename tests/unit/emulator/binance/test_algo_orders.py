from decimal import Decimal
from typing import Any

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback

from perpdesk.domain.candles import HOUR_MS
from perpdesk.emulator.binance.order_rows import ALGO_IDS
from perpdesk.emulator.faults import Fault, FaultKind

ALGO = "/fapi/v1/algoOrder"


def away(door: Loopback, distance: str) -> str:
    return str((door.price + Decimal(distance)).quantize(Decimal("0.1")))


async def stop(door: Loopback, **params: object) -> Any:
    usual: dict[str, object] = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0.010",
    }
    return await door.ok("POST", ALGO, **(usual | params))


async def until_closed(door: Loopback, algo_id: int) -> Any:
    """The conditional order as it ended, within twelve hours; listen keys are kept alive."""
    record = door.account.orders[algo_id - ALGO_IDS]
    for minute in range(12 * 60):
        if not record.is_open:
            return await door.ok("GET", ALGO, algoId=algo_id)
        door.world.advance(60_000)
        if minute % 30 == 0:
            await door.listen_key()
    raise AssertionError("nothing happened")


async def test_a_stop_lives_in_a_namespace_of_its_own(door: Loopback) -> None:
    await door.market_order("BUY")
    row = await stop(door, triggerPrice=away(door, "-3000"), clientAlgoId="sl", reduceOnly="true")
    assert (row["algoStatus"], row["clientAlgoId"], row["reduceOnly"]) == ("NEW", "sl", True)
    assert await door.ok("GET", "/fapi/v1/openOrders", symbol=SYMBOL) == []
    assert await door.code("GET", "/fapi/v1/order", symbol=SYMBOL, origClientOrderId="sl") == -2013
    waiting = await door.ok("GET", "/fapi/v1/openAlgoOrders", symbol=SYMBOL)
    assert [each["algoId"] for each in waiting] == [row["algoId"]]


async def test_cancel_all_orders_leaves_stops_alone(door: Loopback) -> None:
    await door.market_order("BUY")
    await stop(door, triggerPrice=away(door, "-3000"))
    await door.order(price=away(door, "-1000"))
    await door.ok("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
    assert len(await door.ok("GET", "/fapi/v1/openAlgoOrders")) == 1
    await door.ok("DELETE", "/fapi/v1/algoOpenOrders", symbol=SYMBOL)
    assert await door.ok("GET", "/fapi/v1/openAlgoOrders") == []


async def test_a_stop_that_triggers_becomes_an_order_and_is_finished(door: Loopback) -> None:
    await door.market_order("BUY")
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        placed = await stop(door, triggerPrice=away(door, "-20"), clientAlgoId="sl")
        done = await until_closed(door, placed["algoId"])
        messages = await heard.all()
    assert done["algoStatus"] == "FINISHED"
    assert done["actualQty"] == "0.010"
    algo = [each["o"] for each in messages if each["e"] == "ALGO_UPDATE"]
    assert [each["X"] for each in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    assert algo[-1]["ai"] == done["actualOrderId"]
    child = [each["o"] for each in messages if each["e"] == "ORDER_TRADE_UPDATE"]
    assert [(each["x"], each["X"]) for each in child] == [("NEW", "NEW"), ("TRADE", "FILLED")]
    assert {str(each["i"]) for each in child} == {done["actualOrderId"]}
    assert (
        child[-1]["rp"]
        == (await door.ok("GET", "/fapi/v1/userTrades", symbol=SYMBOL))[-1]["realizedPnl"]
    )
    normal = await door.ok("GET", "/fapi/v1/order", symbol=SYMBOL, orderId=done["actualOrderId"])
    assert (normal["status"], normal["type"], normal["clientOrderId"]) == ("FILLED", "MARKET", "sl")


async def test_a_canceled_stop_says_so(door: Loopback) -> None:
    await door.market_order("BUY")
    key = await door.listen_key()
    async with door.socket(f"/private/ws/{key}") as heard:
        row = await stop(door, triggerPrice=away(door, "-3000"))
        gone = await door.ok("DELETE", ALGO, algoId=row["algoId"])
        messages = await heard.all()
    assert gone["algoStatus"] == "CANCELED"
    assert [each["o"]["X"] for each in messages] == ["NEW", "CANCELED"]
    assert await door.code("DELETE", ALGO, algoId=row["algoId"]) == -2011
    assert (await door.ok("GET", ALGO, algoId=row["algoId"]))["algoStatus"] == "CANCELED"


async def test_a_stop_limit_rests_once_triggered_and_is_canceled_as_an_order(
    door: Loopback,
) -> None:
    await door.market_order("BUY")
    row = await stop(
        door,
        type="STOP",
        triggerPrice=away(door, "-20"),
        price=away(door, "500"),
        timeInForce="GTC",
    )
    for _ in range(600):
        door.world.advance(60_000)
        if (await door.ok("GET", ALGO, algoId=row["algoId"]))["algoStatus"] == "TRIGGERED":
            break
    told = await door.ok("GET", ALGO, algoId=row["algoId"])
    assert await door.code("DELETE", ALGO, algoId=row["algoId"]) == -2011
    resting = await door.ok("GET", "/fapi/v1/openOrders", symbol=SYMBOL)
    assert [str(each["orderId"]) for each in resting] == [told["actualOrderId"]]
    assert resting[0]["type"] == "LIMIT"
    await door.ok("DELETE", "/fapi/v1/order", symbol=SYMBOL, orderId=told["actualOrderId"])
    assert (await door.ok("GET", ALGO, algoId=row["algoId"]))["algoStatus"] == "FINISHED"


async def test_a_stop_that_the_account_cannot_carry_is_rejected_when_it_triggers(
    door: Loopback,
) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        row = await stop(door, quantity="50", triggerPrice=away(door, "-20"))
        done = await until_closed(door, row["algoId"])
        messages = await heard.all()
    assert done["algoStatus"] == "REJECTED"
    assert done["actualOrderId"] == ""
    assert [each["e"] for each in messages] == ["ALGO_UPDATE"] * 3
    assert messages[-1]["o"]["X"] == "REJECTED"
    assert "margin" in messages[-1]["o"]["rm"]


async def test_a_trailing_stop_follows_and_fills(door: Loopback) -> None:
    await door.market_order("BUY")
    row = await stop(door, type="TRAILING_STOP_MARKET", callbackRate="0.2", reduceOnly="true")
    assert (row["callbackRate"], row["activatePrice"]) == ("0.2", "")
    assert (await until_closed(door, row["algoId"]))["algoStatus"] == "FINISHED"


CLOSING = {"triggerPrice": "-100", "closePosition": "true", "quantity": ""}
REFUSALS: list[tuple[dict[str, object], int]] = [
    ({"triggerPrice": "+100"}, -2021),
    ({"type": "TAKE_PROFIT_MARKET", "triggerPrice": "-100"}, -2021),
    ({"type": "TRAILING_STOP_MARKET", "callbackRate": "1", "activatePrice": "-100"}, -2021),
    ({"type": "TRAILING_STOP_MARKET", "callbackRate": "0.05"}, -2007),
    ({"type": "TRAILING_STOP_MARKET", "callbackRate": "21"}, -2007),
    ({"type": "TRAILING_STOP_MARKET"}, -1102),
    ({}, -1102),
    ({"type": "STOP", "triggerPrice": "-100"}, -1102),
    ({"triggerPrice": "-100", "price": "-100"}, -1106),
    ({"type": "LIMIT", "triggerPrice": "-100"}, -1116),
    ({"triggerPrice": "-100", "closePosition": "true"}, -4137),
    (
        {"triggerPrice": "-100", "closePosition": "true", "quantity": "", "reduceOnly": "true"},
        -4138,
    ),
    ({"triggerPrice": "-100", "algoType": "TWAP"}, -1130),
    ({"triggerPrice": "-100", "workingType": "INDEX"}, -1130),
    ({"triggerPrice": "-100", "clientAlgoId": "a b"}, -4015),
    ({"triggerPrice": "-100", "positionSide": "SHORT"}, -4061),
]


@pytest.mark.parametrize(("changed", "code"), REFUSALS)
async def test_a_conditional_order_is_refused_with_the_venues_code(
    door: Loopback, changed: dict[str, object], code: int
) -> None:
    await door.market_order("BUY")
    params: dict[str, object] = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0.010",
        **changed,
    }
    for name in ("triggerPrice", "price", "activatePrice"):
        if name in params:
            params[name] = away(door, str(params[name]))
    assert await door.code("POST", ALGO, **params) == code


async def test_a_stop_may_close_the_whole_position(door: Loopback) -> None:
    await door.market_order("BUY", "0.030")
    row = await door.ok(
        "POST",
        ALGO,
        algoType="CONDITIONAL",
        symbol=SYMBOL,
        side="SELL",
        type="STOP_MARKET",
        triggerPrice=away(door, "-20"),
        closePosition="true",
    )
    assert row["closePosition"] is True
    done = await until_closed(door, row["algoId"])
    assert (done["algoStatus"], done["actualQty"]) == ("FINISHED", "0.030")


async def test_an_id_of_a_stop_is_taken_only_while_it_waits(door: Loopback) -> None:
    await door.market_order("BUY")
    trigger = away(door, "-3000")
    row = await stop(door, triggerPrice=trigger, clientAlgoId="sl")
    again: dict[str, object] = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0.010",
        "triggerPrice": trigger,
        "clientAlgoId": "sl",
    }
    assert await door.code("POST", ALGO, **again) == -4116
    await door.ok("DELETE", ALGO, algoId=row["algoId"])
    assert (await door.ok("POST", ALGO, **again))["algoId"] != row["algoId"]


@pytest.mark.parametrize(("value", "code"), [(0, -2021), (4120, -4120)])
async def test_stops_can_be_refused_on_purpose(door: Loopback, value: float, code: int) -> None:
    await door.market_order("BUY")
    door.world.faults.arm(Fault(kind=FaultKind.STOP_REFUSED, left=1, value=value))
    refused = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0.010",
        "triggerPrice": away(door, "-3000"),
    }
    assert await door.code("POST", ALGO, **refused) == code
    assert (await door.ok("POST", ALGO, **refused))["algoStatus"] == "NEW"


async def test_stops_trigger_on_mark_where_asked(door: Loopback) -> None:
    await door.market_order("BUY")
    row = await stop(door, triggerPrice=away(door, "-200"), workingType="MARK_PRICE")
    assert row["workingType"] == "MARK_PRICE"
    door.world.advance(HOUR_MS)
    assert (await door.ok("GET", ALGO, algoId=row["algoId"]))["workingType"] == "MARK_PRICE"
