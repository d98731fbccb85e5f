"""What the venue answers in trouble, as the server's weather calls for it."""

from typing import Any

import pytest
from tests.unit.emulator.builders import world_of
from tests.unit.emulator.bybit.client import Client, opened

from perpdesk.domain.candles import Venue
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.faults import Fault, FaultKind


async def ask(client: Client) -> tuple[int, str]:
    async with client.session.get(f"http://{client.address}/v5/market/time") as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (FaultKind.BAN, 403, "access too frequent"),
        (FaultKind.FORBIDDEN, 403, "access too frequent"),
        (FaultKind.SERVER_ERROR, 500, "Internal"),
        (FaultKind.MAINTENANCE, 503, "Unavailable"),
        (FaultKind.RATE_LIMIT, 200, '"retCode":10006'),
    ],
)
async def test_trouble_looks_as_it_does_at_the_venue(
    kind: FaultKind, status: int, words: str
) -> None:
    async with opened() as client:
        client.world.faults.arm(Fault(kind=kind, value=60))
        found = await ask(client)
        assert found[0] == status
        assert words in found[1]


async def test_an_unknown_outcome_was_carried_out() -> None:
    async with opened() as client:
        codes = []
        for number in range(2):
            client.world.faults.arm(Fault(kind=FaultKind.UNKNOWN, left=1, path="*/create"))
            answer = await client.order("Buy", "0.01", orderLinkId=f"u{number}")
            codes.append(answer["retCode"])
        assert sorted(codes) == [10000, 10016]
        assert (await client.position())["size"] == "0.02"


def test_the_door_owns_its_own_paths_alone() -> None:
    door = BybitDoor(world_of(Venue.BYBIT))
    assert door.owns("/v5/market/time")
    assert not door.owns("/fapi/v1/time")


async def test_an_unknown_path_is_not_found() -> None:
    async with opened() as client:
        url = f"http://{client.address}/v5/nothing"
        assert (await client.session.head(url)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"symbol": ["BTCUSDT"]},
        {"request": ["order"]},
        {"request": [{"symbol": {}}]},
        {"request": {}},
        {"utaDemoApplyMoney": [1]},
    ],
)
@pytest.mark.parametrize("path", ["order/create-batch", "order/cancel-all", "order/create"])
async def test_nonsense_is_refused_and_breaks_nothing(path: str, body: dict[str, object]) -> None:
    async with opened() as client:
        assert (await client.post(path, **body))["retCode"] == 10001


@pytest.mark.parametrize("path", ["public/linear", "private", "trade"])
async def test_nonsense_on_a_socket_is_answered_and_the_socket_lives_on(path: str) -> None:
    nonsense: list[dict[str, Any]] = [
        {"op": "subscribe", "args": [{"a": 1}]},
        {"op": "subscribe", "args": "order"},
        {"op": "order.create", "header": [1], "args": [1]},
        {"op": 5},
        {"args": None},
    ]
    async with opened() as client, client.socket(path) as socket:
        if path != "public/linear":
            await socket.say({"op": "auth", "args": client.proof()})
            await socket.hear()
        for message in nonsense:
            await socket.say(message)
            answer = await socket.hear()
            assert answer.get("success") is False or answer.get("retCode")
        await socket.ws.send_bytes(b"ping")
        await socket.say({"op": "ping"})
        assert "pong" in str(await socket.hear())
