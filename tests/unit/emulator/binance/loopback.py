"""A small client of the door over real sockets, and the world behind it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
from tests.unit.emulator.builders import NOON_MS, tapes_of
from yarl import URL

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.binance.auth import sign
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.binance.limits import WEIGHT_LIMIT
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

SYMBOL = "BTCUSDT"
WALL_S = 1_800_000_000.0
"""The wall's clock stands still, so that no minute ends within a test."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


class Loopback:
    """Calls the door as a bot would, by the wire alone."""

    def __init__(self, world: World, address: str, session: aiohttp.ClientSession) -> None:
        self.world = world
        self.address = address
        self.session = session
        self.key, self.secret = DEMO_KEY, DEMO_SECRET

    @property
    def account(self) -> Account:
        return self.world.venues[Venue.BINANCE].accounts.by_id["demo"]

    @property
    def price(self) -> Any:
        return self.world.venues[Venue.BINANCE].markets[SYMBOL].last_price

    async def send(self, method: str, path: str, text: str = "", **headers: str) -> Answer:
        url = f"http://{self.address}{path}" + (f"?{text}" if text else "")
        headers = {"X-MBX-APIKEY": self.key, **headers}
        async with self.session.request(
            method, URL(url, encoded=True), headers=headers
        ) as response:
            return Answer(response.status, await response.json(), dict(response.headers))

    async def public(self, path: str, **params: object) -> Any:
        answer = await self.send("GET", path, urlencode(params))
        assert answer.status == 200, answer.body
        return answer.body

    async def ask(self, method: str, path: str, **params: object) -> Answer:
        """A signed call."""
        params.setdefault("timestamp", self.world.now_ms)
        text = urlencode(params)
        return await self.send(method, path, f"{text}&signature={sign(self.secret, text)}")

    async def ok(self, method: str, path: str, **params: object) -> Any:
        answer = await self.ask(method, path, **params)
        assert answer.status == 200, answer.body
        return answer.body

    async def code(self, method: str, path: str, **params: object) -> int:
        """The code of a refusal."""
        answer = await self.ask(method, path, **params)
        assert answer.status != 200, answer.body
        return int(answer.body["code"])

    async def order(self, **params: object) -> Any:
        return await self.ok("POST", "/fapi/v1/order", **(_LIMIT | params))

    async def market_order(self, side: str, quantity: str = "0.010") -> Any:
        return await self.ok(
            "POST",
            "/fapi/v1/order",
            symbol=SYMBOL,
            side=side,
            type="MARKET",
            quantity=quantity,
            newOrderRespType="RESULT",
        )

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator["Heard"]:
        async with self.session.ws_connect(f"ws://{self.address}{path}") as ws:
            yield Heard(ws)

    async def listen_key(self) -> str:
        return str((await self.send("POST", "/fapi/v1/listenKey")).body["listenKey"])


_LIMIT: dict[str, object] = {
    "symbol": SYMBOL,
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.010",
}


class Heard:
    """A socket. `all` takes what has come by now: a request of our own marks the end."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def ask(self, method: str, *params: object) -> Any:
        await self.ws.send_json({"method": method, "params": params, "id": 1})
        return await self.ws.receive_json(timeout=5)

    async def all(self) -> list[Any]:
        await self.ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": "end"})
        found: list[Any] = []
        while True:
            message = await self.ws.receive_json(timeout=5)
            if message.get("id") == "end" if isinstance(message, dict) else False:
                return found
            found.append(message)


def modern_world(*, start_ms: int, step_ms: int, speed: float) -> World:
    """A world under the filters that exchanges.md 3.1 prints: tick 0.10, notional 100."""
    tapes = [
        replace(
            tape,
            instrument=replace(
                tape.instrument, tick_size=Decimal("0.10"), min_notional=Decimal(100)
            ),
        )
        if tape.symbol == SYMBOL
        else tape
        for tape in tapes_of(Venue.BINANCE)
    ]
    world = World({Venue.BINANCE: tapes}, start_ms=start_ms, step_ms=step_ms, speed=speed)
    world.open_demo_accounts()
    return world


@asynccontextmanager
async def door_open(
    *,
    start_ms: int = NOON_MS,
    step_ms: int = 1_000,
    weight_limit: int = WEIGHT_LIMIT,
    speed: float = 0.0,
) -> AsyncIterator[Loopback]:
    world = modern_world(start_ms=start_ms, step_ms=step_ms, speed=speed)
    door = BinanceDoor(world, weight_limit=weight_limit, most_messages=10_000, wall=lambda: WALL_S)
    async with serving(world, [door], port=0) as address, aiohttp.ClientSession() as session:
        yield Loopback(world, address, session)
