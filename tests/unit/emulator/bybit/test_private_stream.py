"""The private stream: who may listen, what is told, and when."""

import asyncio
import time

import pytest
from tests.unit.emulator.bybit.client import opened, sign

from perpdesk.domain.candles import HOUR_MS
from perpdesk.emulator.faults import Fault, FaultKind

BTC = {"symbol": "BTCUSDT"}


async def test_authentication_is_answered_as_private_sockets_do() -> None:
    async with opened() as client, client.socket("private") as socket:
        await socket.say({"req_id": "1", "op": "auth", "args": client.proof()})
        answer = await socket.hear()
        assert (answer["success"], answer["ret_msg"], answer["op"]) == (True, "", "auth")
        assert answer["conn_id"]


async def test_a_ping_is_answered_with_a_pong() -> None:
    async with opened() as client, client.socket("private") as socket:
        await socket.say({"req_id": 3, "op": "ping"})
        answer = await socket.hear()
        assert (answer["op"], answer["req_id"]) == ("pong", 3)
        assert answer["args"][0].isdecimal()


@pytest.mark.parametrize("wrong", ["late", "signature", "key", "args"])
async def test_a_wrong_authentication_is_refused(wrong: str) -> None:
    async with opened() as client, client.socket("private") as socket:
        proof = client.proof(-10_000 if wrong == "late" else 5_000)
        if wrong == "signature":
            proof[2] = sign("other", f"GET/realtime{proof[1]}")
        if wrong == "key":
            proof[0] = "nobody"
        await socket.say({"op": "auth", "args": proof[:2] if wrong == "args" else proof})
        assert (await socket.hear())["success"] is False


async def test_nothing_is_told_to_strangers() -> None:
    async with opened() as client, client.socket("private") as socket:
        answer = await socket.subscribe("order")
        assert answer["success"] is False


async def test_there_is_no_snapshot_on_subscribing() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        async with client.private("order", "position", "wallet", "execution") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.ws.receive(), 0.05)


async def test_the_answer_comes_first_and_the_order_a_little_later() -> None:
    async with opened() as client, client.private("order") as socket:
        heard = asyncio.create_task(socket.hear())
        await client.order("Buy", "0.01", price=client.price(-2))
        answered = time.monotonic()
        await heard
        assert time.monotonic() >= answered


async def test_a_fill_is_told_in_every_topic_that_it_concerns() -> None:
    topics = ("order", "execution", "execution.fast", "position", "wallet")
    async with opened() as client, client.private(*topics) as socket:
        placed = await client.order("Buy", "0.01", orderLinkId="m1")
        row = await socket.row("execution", orderLinkId="m1")
        assert row["orderId"] == placed["result"]["orderId"]
        assert (row["execType"], row["execQty"], row["isMaker"]) == ("Trade", "0.01", False)
        fast = await socket.row("execution.fast")
        assert fast["execId"] == row["execId"]
        assert "execFee" not in fast
        done = await socket.row("order", orderStatus="Filled")
        assert (done["category"], done["cumExecQty"]) == ("linear", "0.01")
        position = await socket.row("position")
        assert (position["size"], position["entryPrice"]) == ("0.01", row["execPrice"])
        wallet = (await socket.row("wallet"))["coin"][0]
        assert float(wallet["walletBalance"]) == pytest.approx(10_000 - float(row["execFee"]))


async def test_execution_of_the_stream_is_that_of_rest() -> None:
    async with opened() as client, client.private("execution") as socket:
        await client.order("Buy", "0.01")
        assert [await socket.row("execution")] == await client.rows("execution/list", **BTC)


async def test_a_position_is_told_on_every_order_changed_or_not() -> None:
    async with opened() as client, client.private("position") as socket:
        await client.order("Buy", "0.01", price=client.price(-2), orderLinkId="a")
        first = await socket.row("position")
        await client.post("order/cancel", **BTC, orderLinkId="a")
        second = await socket.row("position")
        assert (first["size"], second["size"]) == ("0", "0")
        assert second["seq"] > first["seq"]


async def test_categories_are_told_under_their_own_name_and_not_mixed() -> None:
    async with opened() as client, client.private("order.linear", "execution.linear") as socket:
        mixed = await socket.subscribe("order")
        assert mixed["success"] is False
        await client.order("Buy", "0.01")
        assert (await socket.row("order.linear"))["symbol"] == "BTCUSDT"
        assert (await socket.row("execution.linear"))["symbol"] == "BTCUSDT"


async def test_an_unknown_topic_is_refused() -> None:
    async with opened() as client, client.private() as socket:
        answer = await socket.subscribe("orders")
        assert answer["success"] is False


async def test_funding_is_told_as_an_execution() -> None:
    async with opened() as client, client.private("execution", "wallet") as socket:
        await client.order("Buy", "0.1")
        client.world.advance(4 * HOUR_MS + 1_000)
        row = await socket.row("execution", execType="Funding")
        assert float(row["execFee"]) > 0


async def test_another_accounts_orders_are_none_of_ours() -> None:
    async with opened() as client:
        body = {
            "venue": "bybit",
            "account": "other",
            "key": "other-key",
            "secret": "s",
            "capital": "500",
        }
        url = f"http://{client.address}/emulator/accounts"
        async with client.session.post(url, json=body) as response:
            assert response.status == 200
        async with client.private("order") as socket:
            client.key, client.secret = "other-key", "s"
            assert (await client.order("Buy", "0.01", orderLinkId="theirs"))["retCode"] == 0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.ws.receive(), 0.05)


async def test_a_refused_order_is_not_told() -> None:
    async with opened() as client, client.private("order") as socket:
        assert (await client.order("Buy", "20"))["retCode"] == 110007
        await client.order("Buy", "0.01", orderLinkId="good")
        assert (await socket.row("order"))["orderLinkId"] == "good"


async def test_events_can_come_twice_and_out_of_order_on_purpose() -> None:
    async with opened() as client, client.private("order", "execution") as socket:
        faults = client.world.faults
        faults.arm(Fault(kind=FaultKind.DUPLICATE, path="execution", left=1))
        faults.arm(Fault(kind=FaultKind.REORDER, path="order", left=1))
        await client.order("Buy", "0.01")
        found = [await socket.hear() for _ in range(4)]
        told = [(message["topic"], message["data"][0].get("orderStatus", "")) for message in found]
        # In order: New, the execution, Filled.
        assert told == [("execution", ""), ("order", "New"), ("execution", ""), ("order", "Filled")]


async def test_disconnected_cancel_all_waits_for_its_window() -> None:
    async with opened() as client:
        answer = await client.post("order/disconnected-cancel-all", timeWindow=2)
        assert answer["retCode"] == 10001
        answer = await client.post("order/disconnected-cancel-all", timeWindow=10)
        assert (answer["retCode"], answer["retMsg"]) == (0, "success")
        info = (await client.get("account/info"))["result"]
        assert (info["dcpStatus"], info["timeWindow"]) == ("ON", 10)


async def test_when_the_last_socket_has_gone_for_too_long_everything_is_canceled() -> None:
    async with opened() as client:
        door = client.door
        (trader,) = door.traders.by_id.values()
        async with client.private("order"):
            await client.order("Buy", "0.01", price=client.price(-1))
            trader.dcp_window_s = 1
            # Somebody still listens: nothing happens.
            door.private.cancel_unless_back(trader)
            assert len(await client.rows("order/realtime", **BTC)) == 1
        await asyncio.sleep(0.01)
        door.private.cancel_unless_back(trader)
        assert await client.rows("order/realtime", **BTC) == []
