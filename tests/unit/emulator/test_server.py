"""The control API over HTTP, and what bad weather does to a request."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.unit.emulator.builders import NOON_MS, world_of

from perpdesk.domain.candles import Venue
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import World


class CountingDoor:
    """A venue with one request that does something."""

    venue = Venue.BINANCE

    def __init__(self) -> None:
        self.done = 0

    def owns(self, path: str) -> bool:
        return path == "/order"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/order", self._order)

    async def _order(self, _: web.Request) -> web.Response:
        self.done += 1
        return web.json_response({"accepted": True})

    def failure(self, kind: FaultKind, seconds: float) -> web.Response:
        return web.json_response({"failure": kind.value, "seconds": round(seconds)}, status=503)

    async def close(self) -> None:
        return None


@pytest.fixture
def world() -> World:
    return world_of()


@pytest.fixture
def door() -> CountingDoor:
    return CountingDoor()


@pytest.fixture
async def client(world: World, door: CountingDoor) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serving(world, [door], port=0) as address,
        aiohttp.ClientSession(f"http://{address}") as session,
    ):
        yield session


async def post(client: aiohttp.ClientSession, path: str, **body: Any) -> Any:
    async with client.post(path, json=body) as answer:
        return await answer.json()


async def test_time_stands_still_until_it_is_moved(client: aiohttp.ClientSession) -> None:
    await asyncio.sleep(0.05)
    assert (await post(client, "/emulator/advance", ms=90_000))["now_ms"] == NOON_MS + 90_000


async def test_others_are_heard_while_time_is_moved_by_hand(
    client: aiohttp.ClientSession, world: World
) -> None:
    moving = asyncio.create_task(post(client, "/emulator/advance", ms=8 * 3_600_000))
    heard = 0
    while not moving.done():
        async with client.get("/emulator") as answer:
            heard += (await answer.json())["now_ms"] < NOON_MS + 8 * 3_600_000
    assert (await moving)["now_ms"] == NOON_MS + 8 * 3_600_000
    assert heard > 1


async def test_a_speed_that_cannot_be_kept_is_not_owed(
    client: aiohttp.ClientSession, world: World
) -> None:
    await post(client, "/emulator/speed", speed=100_000)
    for _ in range(5):
        await asyncio.sleep(0.1)
        assert world.clock.now_ms() - world.now_ms < 60_000 * 1000
    before = world.now_ms
    after = await post(client, "/emulator/speed", speed=1)
    assert after["now_ms"] - before < 2 * 3_600_000
    now_ms = world.now_ms
    await asyncio.sleep(0.2)
    assert world.now_ms - now_ms < 2_000


async def test_time_runs_at_the_speed_that_is_set(
    client: aiohttp.ClientSession, world: World
) -> None:
    await post(client, "/emulator/speed", speed=100_000)
    while world.now_ms < NOON_MS + 60_000:
        await asyncio.sleep(0.005)
    assert (await post(client, "/emulator/speed", speed=0))["speed"] == 0


@pytest.mark.parametrize(
    ("kind", "done"),
    [("server-error", 0), ("rate-limit", 0), ("unknown", 1)],
)
async def test_a_failure_is_answered_in_the_venues_words_and_did_something_or_not(
    client: aiohttp.ClientSession, door: CountingDoor, kind: str, done: int
) -> None:
    await post(client, "/emulator/faults", kind=kind, left=1, value=3)
    assert await post(client, "/order") == {"failure": kind, "seconds": 3}
    assert door.done == done
    assert await post(client, "/order") == {"accepted": True}


@pytest.mark.parametrize(("kind", "done"), [("drop-before", 0), ("drop-after", 1)])
async def test_a_cut_connection_leaves_the_client_without_an_answer(
    client: aiohttp.ClientSession, door: CountingDoor, kind: str, done: int
) -> None:
    await post(client, "/emulator/faults", kind=kind, left=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(client, "/order")
    assert door.done == done


async def test_a_ban_lasts_for_its_time_whatever_is_asked(
    client: aiohttp.ClientSession, door: CountingDoor
) -> None:
    await post(client, "/emulator/faults", kind="ban", left=1, value=0.05)
    assert (await post(client, "/order"))["failure"] == "ban"
    assert (await post(client, "/order"))["failure"] == "ban"
    await asyncio.sleep(0.06)
    assert await post(client, "/order") == {"accepted": True}


async def test_half_an_answer_is_no_json(client: aiohttp.ClientSession, door: CountingDoor) -> None:
    await post(client, "/emulator/faults", kind="half-answer", left=1)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        await post(client, "/order")
    assert door.done == 1


async def test_maintenance_ends_with_virtual_time(client: aiohttp.ClientSession) -> None:
    await post(client, "/emulator/faults", kind="maintenance", seconds=30)
    assert (await post(client, "/order"))["failure"] == "maintenance"
    await post(client, "/emulator/advance", ms=31_000)
    assert await post(client, "/order") == {"accepted": True}


async def test_an_order_by_hand_and_the_journal(client: aiohttp.ClientSession) -> None:
    placed = await post(
        client, "/emulator/orders", venue="bybit", symbol="BTCUSDT", side="SELL", quantity="0.01"
    )
    assert placed["status"] == "FILLED"
    async with client.get("/emulator/journal?what=OrderFilled") as answer:
        (entry,) = (await answer.json())["entries"]
    assert (entry["venue"], entry["client_id"]) == ("bybit", placed["client_id"])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/emulator/faults", {"kind": "rain"}, "'drop-after'"),
        ("/emulator/faults", {"kind": "delay", "venu": "bybit"}, "venu: Extra inputs"),
        ("/emulator/faults", {"kind": "delay", "probability": 5}, "probability: Input should be"),
        ("/emulator/speed", {"speed": 1e9}, "less than or equal to 100000"),
        ("/emulator/speed", {"speed": -60}, "greater than or equal to 0"),
        ("/emulator/advance", {"ms": -1}, "greater than or equal to 0"),
        ("/emulator/orders", {"venue": "bybit"}, "symbol: Field required"),
        ("/emulator/deposit", {"venue": "bybit", "amount": "x"}, "amount: Input should be a valid"),
        ("/emulator/deposit", {"venue": "bybit", "account": "me", "amount": 1}, "there are demo"),
        ("/emulator/symbols", {"venue": "bybit", "symbol": "NOPE"}, "there are BTCUSDT, ETHUSDT"),
        (
            "/emulator/symbols",
            {"venue": "bybit", "symbol": "BTCUSDT", "status": "asleep"},
            "'trading' or 'closed'",
        ),
        (
            "/emulator/symbols",
            {"venue": "bybit", "symbol": "BTCUSDT", "color": "1"},
            "color: Extra inputs",
        ),
        (
            "/emulator/symbols",
            {"venue": "bybit", "symbol": "BTCUSDT", "tick_size": "0"},
            "tick_size: Input should be greater than 0",
        ),
    ],
)
async def test_a_wrong_control_request_is_told_what_was_wrong(
    client: aiohttp.ClientSession, path: str, body: dict[str, Any], said: str
) -> None:
    async with client.post(path, json=body) as answer:
        assert answer.status == 400
        assert said in (await answer.json())["error"]
