"""A small Bybit client of the tests' own: signs by the book, knows nothing of the door."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import aiohttp
from tests.unit.emulator.builders import world_of
from yarl import URL

from perpdesk.domain.candles import Venue
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

MANY = Limits(order=1_000, query=1_000, setting=1_000, slow=1_000, log=1_000, ip_calls=100_000)


def sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


class Socket:
    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.heard: list[dict[str, Any]] = []

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.ws.send_str(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        message = await self.ws.receive(timeout=3)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: dict[str, Any] = json.loads(message.data)
        self.heard.append(found)
        return found

    async def hear_until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = await self.hear()
            if wanted(message):
                return message

    async def row(self, topic: str, **fields: str) -> dict[str, Any]:
        """Return the next row of a topic that has these fields."""

        def fits(message: dict[str, Any]) -> bool:
            if message.get("topic") != topic:
                return False
            row = message["data"][0]
            return all(row[name] == value for name, value in fields.items())

        row: dict[str, Any] = (await self.hear_until(fits))["data"][0]
        return row

    async def subscribe(self, *topics: str) -> dict[str, Any]:
        await self.say({"op": "subscribe", "req_id": "s1", "args": list(topics)})
        return await self.hear_until(lambda message: message.get("op") == "subscribe")


class Client:
    def __init__(self, session: aiohttp.ClientSession, address: str, door: BybitDoor) -> None:
        self.session = session
        self.address = address
        self.door = door
        self.world = door.world
        self.key, self.secret = DEMO_KEY, DEMO_SECRET
        self.headers: Mapping[str, str] = {}

    async def send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        stamp: int | None = None,
        window: str = "5000",
        tampered: bool = False,
    ) -> dict[str, Any]:
        stamp_text = str(int(time.time() * 1000) if stamp is None else stamp)
        query = "&".join(f"{name}={value}" for name, value in (params or {}).items())
        body = "" if method == "GET" else json.dumps(params or {})
        payload = query if method == "GET" else body
        text = f"{stamp_text}{self.key}{window}{payload}"
        headers = {
            "X-BAPI-API-KEY": self.key,
            "X-BAPI-TIMESTAMP": stamp_text,
            "X-BAPI-RECV-WINDOW": window,
            "X-BAPI-SIGN": sign(self.secret, text + ("x" if tampered else "")),
        }
        url = f"http://{self.address}/v5/{path}" + (f"?{query}" if query and not body else "")
        async with self.session.request(
            method, URL(url, encoded=True), data=body or None, headers=headers
        ) as response:
            self.headers = response.headers
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        return await self.send("GET", path, {"category": "linear"} | params)

    async def post(self, path: str, **params: Any) -> dict[str, Any]:
        return await self.send("POST", path, {"category": "linear"} | params)

    async def rows(self, path: str, **params: Any) -> list[Any]:
        answer = await self.get(path, **params)
        assert answer["retCode"] == 0, answer
        rows: list[Any] = answer["result"]["list"]
        return rows

    async def order(self, side: str, quantity: str, **params: Any) -> dict[str, Any]:
        """Place an order of BTCUSDT: a limit order if it has a price, else a market order."""
        asked = {"symbol": "BTCUSDT", "side": side, "qty": quantity}
        asked["orderType"] = "Limit" if "price" in params else "Market"
        return await self.post("order/create", **asked, **params)

    async def position(self) -> dict[str, Any]:
        row: dict[str, Any] = (await self.rows("position/list", symbol="BTCUSDT"))[0]
        return row

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[Socket]:
        async with self.session.ws_connect(f"http://{self.address}/v5/{path}") as ws:
            yield Socket(ws)

    @asynccontextmanager
    async def private(self, *topics: str, path: str = "private") -> AsyncIterator[Socket]:
        async with self.socket(path) as socket:
            await socket.say({"op": "auth", "req_id": "a1", "args": self.proof()})
            answer = await socket.hear()
            assert answer.get("success") or answer.get("retCode") == 0, answer
            if topics:
                assert (await socket.subscribe(*topics))["success"]
            yield socket

    def proof(self, ahead_ms: int = 5_000) -> list[Any]:
        expires = int(time.time() * 1000) + ahead_ms
        return [self.key, expires, sign(self.secret, f"GET/realtime{expires}")]

    async def advance(self, ms: int) -> None:
        """Move time, and let the sockets be written to."""
        self.world.advance(ms)
        await asyncio.sleep(0)

    def price(self, offset_pct: float = 0.0) -> str:
        """Return a price so far from the last one, on whole dollars."""
        last = float(self.world.venues[Venue.BYBIT].markets["BTCUSDT"].last_price)
        return str(round(last * (1 + offset_pct / 100)))


@asynccontextmanager
async def opened(world: World | None = None, limits: Limits = MANY) -> AsyncIterator[Client]:
    world = world or world_of(Venue.BYBIT)
    door = BybitDoor(world, limits)
    async with (
        serving(world, [door], port=0) as address,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, address, door)
