from typing import Any

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Heard, Loopback

from perpdesk.emulator.binance.auth import sign

PATH = "/ws-fapi/v1"


async def call(heard: Heard, method: str, params: dict[str, Any]) -> Any:
    await heard.ws.send_json({"id": "r1", "method": method, "params": params})
    answer = await heard.ws.receive_json(timeout=5)
    assert answer["id"] == "r1"
    return answer


def signed(door: Loopback, **params: Any) -> dict[str, Any]:
    """All params sorted by name, exchanges.md 2.1."""
    params |= {"apiKey": door.key, "timestamp": door.world.now_ms}
    text = "&".join(f"{name}={params[name]}" for name in sorted(params))
    return params | {"signature": sign(door.secret, text)}


async def test_orders_live_as_by_rest(door: Loopback) -> None:
    price = str(door.price - 500)
    known = {"symbol": SYMBOL, "origClientOrderId": "w1"}
    async with door.socket(PATH) as heard:
        order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "newClientOrderId": "w1"}
        placed = await call(
            heard,
            "order.place",
            signed(door, symbol=SYMBOL, quantity="0.010", price=price, **order),
        )
        assert (placed["status"], placed["result"]["status"]) == (200, "NEW")
        assert [row["rateLimitType"] for row in placed["rateLimits"]] == [
            "ORDERS",
            "ORDERS",
            "REQUEST_WEIGHT",
        ]
        changed = await call(
            heard,
            "order.modify",
            signed(door, **known, side="BUY", quantity="0.020", price=price),
        )
        assert changed["result"]["origQty"] == "0.020"
        asked = await call(heard, "order.status", signed(door, **known))
        assert asked["result"]["origQty"] == "0.020"
        gone = await call(heard, "order.cancel", signed(door, **known))
        assert gone["result"]["status"] == "CANCELED"
        again = await call(heard, "order.cancel", signed(door, **known))
        assert (again["status"], again["error"]["code"]) == (400, -2011)


async def test_conditional_orders_and_the_account(door: Loopback) -> None:
    async with door.socket(PATH) as heard:
        stop = {"side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL"}
        await door.market_order("BUY")
        placed = await call(
            heard,
            "algoOrder.place",
            signed(
                door,
                symbol=SYMBOL,
                quantity="0.010",
                triggerPrice=str(door.price - 500),
                clientAlgoId="wa",
                **stop,
            ),
        )
        assert placed["result"]["algoStatus"] == "NEW"
        gone = await call(heard, "algoOrder.cancel", signed(door, clientAlgoId="wa"))
        assert gone["result"]["algoStatus"] == "CANCELED"
        status = await call(heard, "v2/account.status", signed(door))
        assert status["result"]["positions"][0]["positionAmt"] == "0.010"
        balance = await call(heard, "v2/account.balance", signed(door))
        assert balance["result"][0]["asset"] == "USDT"
        position = await call(heard, "account.position", signed(door, symbol=SYMBOL))
        assert position["result"][0]["marginType"] == "cross"


async def test_listen_keys_are_those_of_rest(door: Loopback) -> None:
    async with door.socket(PATH) as heard:
        started = await call(heard, "userDataStream.start", {"apiKey": door.key})
        assert started["result"]["listenKey"] == await door.listen_key()
        assert (await call(heard, "userDataStream.ping", {"apiKey": door.key}))["status"] == 200
        assert (await call(heard, "userDataStream.stop", {"apiKey": door.key}))["result"] == {}
        lost = await call(heard, "userDataStream.ping", {"apiKey": door.key})
        assert lost["error"]["code"] == -1125


async def test_prices_need_no_key(door: Loopback) -> None:
    async with door.socket(PATH) as heard:
        price = await call(heard, "ticker.price", {"symbol": SYMBOL})
        book = await call(heard, "ticker.book", {"symbol": SYMBOL})
        depth = await call(heard, "depth", {"symbol": SYMBOL, "limit": 5})
    assert float(price["result"]["price"]) == float(door.price)
    assert book["result"]["bidPrice"] == depth["result"]["bids"][0][0]


async def test_a_wrong_signature_is_refused(door: Loopback) -> None:
    async with door.socket(PATH) as heard:
        params = signed(door) | {"signature": "0" * 64}
        answer = await call(heard, "account.status", params)
    assert (answer["status"], answer["error"]["code"]) == (400, -1022)


@pytest.mark.parametrize(
    ("method", "code"), [("session.logon", -4056), ("order.dance", -1000), ("order.place", -2014)]
)
async def test_what_cannot_be_done_is_said(door: Loopback, method: str, code: int) -> None:
    async with door.socket(PATH) as heard:
        answer = await call(heard, method, {})
    assert answer["error"]["code"] == code


async def test_nonsense_is_answered(door: Loopback) -> None:
    async with door.socket(PATH) as heard:
        await heard.ws.send_str("{")
        answer = await heard.ws.receive_json(timeout=5)
    assert (answer["id"], answer["status"]) == (None, 400)
