"""Whatever a client sends, it is answered as the venue answers: never by a broken door."""

import random

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback, door_open

NAMES = [
    "symbol",
    "pair",
    "interval",
    "startTime",
    "endTime",
    "limit",
    "fromId",
    "orderId",
    "origClientOrderId",
    "side",
    "type",
    "quantity",
    "price",
    "timeInForce",
    "goodTillDate",
    "reduceOnly",
    "closePosition",
    "newClientOrderId",
    "triggerPrice",
    "callbackRate",
    "activatePrice",
    "workingType",
    "clientAlgoId",
    "algoId",
    "algoType",
    "leverage",
    "marginType",
    "amount",
    "dualSidePosition",
    "multiAssetsMargin",
    "batchOrders",
    "orderIdList",
    "countdownTime",
    "period",
    "contractType",
    "incomeType",
    "page",
    "positionSide",
    "priceMatch",
    "newOrderRespType",
    "recvWindow",
]
VALUES = (
    "",
    "0",
    "-1",
    "1",
    "5",
    "0.010",
    "1e5",
    "NaN",
    "Infinity",
    "999999999999999999",
    "99999999999999999999999999999999",
    "0.00000000000000000000001",
    "42000.1",
    "100000000000000000000000000000",
    SYMBOL,
    "BUY",
    "SELL",
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TRAILING_STOP_MARKET",
    "CONDITIONAL",
    "GTC",
    "GTX",
    "GTD",
    "1m",
    "1M",
    "1w",
    "1h",
    "5m",
    "PERPETUAL",
    "true",
    "false",
    "ISOLATED",
    "QUEUE",
    "OPPONENT_20",
    "RESULT",
    "[]",
    "[1,2]",
    "{}",
    '[{"symbol":1}]',
    '[{"symbol":null,"side":[],"type":{}}]',
    "1704067200000",
    "\x00",
    "ü",
    "%",
    "a b",
)
LIKELY = {
    "symbol": [SYMBOL],
    "pair": [SYMBOL],
    "side": ["BUY", "SELL"],
    "type": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TRAILING_STOP_MARKET", "1", "2"],
    "interval": ["1m", "1h", "1d", "1w", "1M"],
    "algoType": ["CONDITIONAL"],
    "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    "quantity": ["0.010", "1", "0.5"],
}


@pytest.mark.parametrize("seed", range(4))
async def test_random_parameters_never_break_the_door(seed: int) -> None:
    chance = random.Random(seed)
    async with door_open(weight_limit=10**9) as door:
        for method, path in await endpoints(door):
            for _ in range(12):
                params = {
                    name: chance.choice(LIKELY.get(name, VALUES))
                    if chance.random() < 0.7
                    else chance.choice(VALUES)
                    for name in chance.sample(NAMES, chance.randint(0, len(NAMES) // 2))
                }
                for name in ("symbol", "pair", "side", "type", "quantity", "interval"):
                    if chance.random() < 0.6:
                        params[name] = chance.choice(LIKELY[name])
                answer = await door.ask(method, path, **params)
                assert answer.status in (200, 400, 401, 429), (method, path, params, answer)
                if answer.status != 200:
                    assert set(answer.body) == {"code", "msg"}
            door.world.advance(10_000)
        door.account.exchange.check_invariants()


async def endpoints(door: Loopback) -> list[tuple[str, str]]:
    paths = (
        "GET /fapi/v1/klines|GET /fapi/v1/markPriceKlines|GET /fapi/v1/premiumIndexKlines|"
        "GET /fapi/v1/continuousKlines|GET /fapi/v1/aggTrades|GET /fapi/v1/trades|"
        "GET /fapi/v1/historicalTrades|GET /fapi/v1/depth|GET /fapi/v1/fundingRate|"
        "GET /futures/data/openInterestHist|GET /fapi/v1/ticker/24hr|POST /fapi/v1/order|"
        "PUT /fapi/v1/order|DELETE /fapi/v1/order|GET /fapi/v1/order|POST /fapi/v1/batchOrders|"
        "PUT /fapi/v1/batchOrders|DELETE /fapi/v1/batchOrders|GET /fapi/v1/allOrders|"
        "GET /fapi/v1/userTrades|POST /fapi/v1/countdownCancelAll|POST /fapi/v1/algoOrder|"
        "GET /fapi/v1/algoOrder|DELETE /fapi/v1/algoOrder|GET /fapi/v1/allAlgoOrders|"
        "POST /fapi/v1/leverage|POST /fapi/v1/marginType|POST /fapi/v1/positionMargin|"
        "POST /fapi/v1/positionSide/dual|GET /fapi/v1/income|GET /fapi/v3/positionRisk|"
        "GET /fapi/v2/account|GET /fapi/v1/forceOrders|GET /fapi/v1/adlQuantile"
    )
    return [(line.split()[0], line.split()[1]) for line in paths.split("|")]


async def test_broken_bytes_are_refused(door: Loopback) -> None:
    for body in (b"\xff\xfe", b"a=%ff&signature=x", b"&&&===", b"signature=", b"{"):
        async with door.session.post(
            f"http://{door.address}/fapi/v1/order", data=body, headers={"X-MBX-APIKEY": door.key}
        ) as response:
            assert response.status in (400, 401)
            assert set(await response.json()) == {"code", "msg"}
