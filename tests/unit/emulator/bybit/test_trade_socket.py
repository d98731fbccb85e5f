"""Orders over the trade socket."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from tests.unit.emulator.bybit.client import Client, Socket, opened

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.faults import Fault, FaultKind

BTC = {"category": "linear", "symbol": "BTCUSDT"}
BUY = {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}


async def ask(socket: Socket, op: str, request: dict[str, Any], **head: Any) -> dict[str, Any]:
    await say(socket, op, request, **head)
    return await socket.hear()


async def say(socket: Socket, op: str, request: dict[str, Any], **head: Any) -> None:
    header = {"X-BAPI-TIMESTAMP": str(int(time.time() * 1000)), "X-BAPI-RECV-WINDOW": "5000"}
    await socket.say({"header": header, "op": op, "args": [request]} | head)


async def size(client: Client) -> str:
    found: str = (await client.position())["size"]
    return found


async def test_an_order_is_created_amended_and_canceled() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        limit = BUY | {"orderType": "Limit", "price": client.price(-2), "orderLinkId": "t1"}
        answer = await ask(socket, "order.create", limit, reqId="r1")
        assert (answer["reqId"], answer["retCode"], answer["op"]) == ("r1", 0, "order.create")
        assert answer["data"]["orderLinkId"] == "t1"
        assert answer["header"]["X-Bapi-Limit-Status"].isdecimal()
        named = BTC | {"orderLinkId": "t1"}
        assert (await ask(socket, "order.amend", named | {"qty": "0.02"}))["retCode"] == 0
        assert (await ask(socket, "order.cancel", named))["retCode"] == 0
        assert (await ask(socket, "order.cancel", named))["retCode"] == 110010


async def test_batches_work_too() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        batch = {"category": "linear", "request": [BUY, BUY | {"qty": "0"}]}
        answer = await ask(socket, "order.create-batch", batch)
        assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 10001]
        assert len(answer["data"]["list"]) == 2


async def test_authentication_comes_first_and_once() -> None:
    async with opened() as client, client.socket("trade") as socket:
        assert (await ask(socket, "order.create", BUY))["retCode"] == 10005
        await socket.say({"reqId": "a", "op": "auth", "args": client.proof()})
        answer = await socket.hear()
        assert (answer["retCode"], answer["op"], answer["reqId"]) == (0, "auth", "a")
        assert answer["connId"]
        await socket.say({"op": "auth", "args": client.proof()})
        assert (await socket.hear())["retCode"] == 20001
        await socket.say({"op": "auth", "args": ["nobody", 0, ""]})
        assert (await socket.hear())["retCode"] == 20001


async def test_a_wrong_key_is_refused() -> None:
    async with opened() as client, client.socket("trade") as socket:
        await socket.say({"op": "auth", "args": ["nobody", client.proof()[1], "x"]})
        assert (await socket.hear())["retCode"] == 10003


async def test_a_key_that_reads_may_not_enter() -> None:
    async with opened() as client:
        accounts = client.world.venues[Venue.BYBIT].accounts
        accounts.add(accounts.by_id["demo"], ApiKey(key="r", secret="s", can_trade=False))
        client.key, client.secret = "r", "s"
        async with client.socket("trade") as socket:
            await socket.say({"op": "auth", "args": client.proof()})
            assert (await socket.hear())["retCode"] == 10005


async def test_a_request_id_is_used_once_and_is_short() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        assert (await ask(socket, "order.create", BUY, reqId="r1"))["retCode"] == 0
        assert (await ask(socket, "order.create", BUY, reqId="r1"))["retCode"] == 20006
        assert (await ask(socket, "order.create", BUY, reqId="x" * 37))["retCode"] == 10001
        assert await size(client) == "0.01"


async def test_a_stale_stamp_is_refused() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        header = {"X-BAPI-TIMESTAMP": str(int(time.time() * 1000) - 20_000)}
        assert (await ask(socket, "order.create", BUY, header=header))["retCode"] == 10002
        assert (await ask(socket, "order.create", BUY, header={}))["retCode"] == 10001


async def test_an_unknown_op_is_refused() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        assert (await ask(socket, "order.dance", BUY))["retCode"] == 10404
        assert (await ask(socket, "order.create", BUY, args=[]))["retCode"] == 10001


async def test_a_ping_is_answered_as_the_trade_socket_does() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        await socket.say({"op": "ping"})
        answer = await socket.hear()
        assert (answer["op"], answer["retCode"]) == ("pong", 0)
        assert answer["data"][0].isdecimal()


async def test_orders_are_counted_here_too() -> None:
    async with opened(limits=Limits(order=2)) as client, client.private(path="trade") as socket:
        codes = [(await ask(socket, "order.create", BUY))["retCode"] for _ in range(3)]
        assert codes == [0, 0, 10006]


@pytest.mark.parametrize(
    ("kind", "held"), [(FaultKind.DROP_BEFORE, "0"), (FaultKind.DROP_AFTER, "0.01")]
)
async def test_a_connection_breaks_before_or_after_the_order(kind: FaultKind, held: str) -> None:
    async with opened() as client:
        async with client.private(path="trade") as socket:
            client.world.faults.arm(Fault(kind=kind, left=1, path="/v5/trade/*"))
            await say(socket, "order.create", BUY)
            message = await socket.ws.receive(timeout=3)
            assert message.type in (
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.ERROR,
            )
        assert await size(client) == held


async def test_an_unknown_outcome_was_carried_out() -> None:
    async with opened() as client, client.private(path="trade") as socket:
        client.world.faults.arm(Fault(kind=FaultKind.UNKNOWN, left=1, path="/v5/trade/*"))
        assert (await ask(socket, "order.create", BUY))["retCode"] == 10016
        assert await size(client) == "0.01"


async def test_the_socket_stays_open_while_nothing_is_said() -> None:
    async with opened() as client:
        url = f"http://{client.address}/v5/trade?max_active_time=30s"
        async with client.session.ws_connect(url) as ws:
            await asyncio.sleep(0.01)
            assert not ws.closed
