"""How often one may call."""

import time

from tests.unit.emulator.bybit.client import Client, opened

from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.faults import Fault, FaultKind


async def test_the_eleventh_order_within_a_second_is_refused() -> None:
    async with opened(limits=Limits()) as client:
        codes = [(await rest_away(client))["retCode"] for _ in range(11)]
        assert codes == [0] * 10 + [10006]
        reset = int(client.headers["X-Bapi-Limit-Reset-Timestamp"])
        assert reset > int(time.time() * 1000) - 200
        assert client.headers["X-Bapi-Limit"] == "10"
        assert client.headers["X-Bapi-Limit-Status"] == "0"


async def rest_away(client: Client) -> dict[str, object]:
    return await client.order("Buy", "0.001", price=client.price(-2))


async def test_the_headers_count_down() -> None:
    async with opened(limits=Limits()) as client:
        left = []
        for _ in range(3):
            await client.get("order/realtime", symbol="BTCUSDT")
            left.append(client.headers["X-Bapi-Limit-Status"])
        assert left == ["49", "48", "47"]


async def test_each_endpoint_is_counted_by_itself() -> None:
    async with opened(limits=Limits(order=1)) as client:
        assert (await rest_away(client))["retCode"] == 0
        assert (await client.post("order/cancel-all", symbol="BTCUSDT"))["retCode"] == 0
        assert (await client.post("order/cancel-all", symbol="BTCUSDT"))["retCode"] == 10006


async def test_what_exceeds_the_limit_of_a_batch_fails_one_by_one() -> None:
    async with opened(limits=Limits(order=3)) as client:
        order = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001"}
        answer = await client.post(
            "order/create-batch", request=[order | {"price": client.price(-2)}] * 5
        )
        codes = [each["code"] for each in answer["retExtInfo"]["list"]]
        assert codes == [0, 0, 0, 10006, 10006]
        ids = [row["orderId"] != "" for row in answer["result"]["list"]]
        assert ids == [True, True, True, False, False]


async def test_too_many_calls_of_an_address_are_forbidden() -> None:
    async with opened(limits=Limits(ip_calls=3)) as client:
        url = f"http://{client.address}/v5/market/time"
        found = []
        for _ in range(4):
            async with client.session.get(url) as response:
                found.append((response.status, await response.text()))
        assert [status for status, _ in found] == [200, 200, 200, 403]
        assert found[-1][1] == "access too frequent"


async def test_a_rate_limit_on_purpose_names_a_reset_that_lies_ahead_for_the_client() -> None:
    async with opened() as client:
        stamp = int(time.time() * 1000) - 3_000
        await client.send("GET", "account/info", stamp=stamp)
        client.world.faults.arm(Fault(kind=FaultKind.RATE_LIMIT, left=1, value=2))
        answer = await client.send("GET", "account/info", stamp=stamp)
        assert answer["retCode"] == 10006
        ahead_ms = int(client.headers["X-Bapi-Limit-Reset-Timestamp"]) - stamp
        assert 1_900 <= ahead_ms <= 4_000
