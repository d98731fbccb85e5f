"""Orders a second through the emulator's doors, beside requests a second of an echo.

usage: python -m benchmarks.contestants.venue_orders serve
       python -m benchmarks.contestants.venue_orders run ADDRESS binance|bybit|echo SECONDS
`serve` opens both doors of an emulator, with limits that nobody meets, and a door that answers with
what it is sent. `run` sends, over kept connections and eight at a time, signed orders that rest and
their cancels (or the same bodies to the echo), and prints a line with requests a second.
"""

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from typing import Any, Final

import aiohttp
from aiohttp import web

from benchmarks.contestants.venue_soak_world import BEGIN_MS, Plan, tapes_of
from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance import limits as binance_limits
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.server import Door, serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

AT_ONCE: Final = 8
MANY: Final = 10**9
SYMBOL: Final = "ADAUSDT"
PRICE, QUANTITY = "1.9000", "10"
PLAN: Final = Plan(hours=1, symbols=18, weather=0, seed=1, speed=1)


class Echo:
    """A door that answers with what it is sent."""

    venue = Venue.BINANCE

    def owns(self, path: str) -> bool:
        """Own nothing: no fault is meant for it."""
        return False

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the route."""
        router.add_route("*", "/echo", self._answer)

    def failure(self, kind: Any, seconds: float) -> web.Response:
        """Return what nobody asks for."""
        return web.Response(status=500)

    async def close(self) -> None:
        """Do nothing."""

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read() or request.query_string.encode()
        return web.Response(body=body, content_type="application/json")


def _uncounted(*_: Any) -> None:
    """Stand in for the count of orders."""


async def serve() -> None:
    """Serve both venues and the echo."""
    # Orders are counted by looking at all of the last minute: cheap up to the limit, not beyond it.
    binance_limits.Limits.count_orders = _uncounted  # type: ignore[method-assign,assignment]
    world = World(tapes_of(PLAN), start_ms=BEGIN_MS, speed=1, step_ms=250)
    world.open_demo_accounts()
    limits = Limits(order=MANY, query=MANY, setting=MANY, slow=MANY, log=MANY, ip_calls=MANY)
    doors: list[Door] = [
        BinanceDoor(world, weight_limit=MANY),
        BybitDoor(world, limits),
        Echo(),
    ]
    async with serving(world, doors, port=0) as address:
        print(json.dumps({"address": address}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _signature(text: str) -> str:
    return hmac.new(DEMO_SECRET.encode(), text.encode(), sha256).hexdigest()


Request = tuple[str, str, bytes | None, dict[str, str]]
"""Method, path with query, body, headers."""


def binance_order(name: str, *, cancels: bool) -> Request:
    """Return a signed order, or its cancel."""
    terms = f"symbol={SYMBOL}&"
    if cancels:
        terms += f"origClientOrderId={name}"
    else:
        terms += f"side=BUY&type=LIMIT&timeInForce=GTC&price={PRICE}&quantity={QUANTITY}"
        terms += f"&newClientOrderId={name}"
    terms += f"&recvWindow=5000&timestamp={time.time_ns() // 1_000_000}"
    path = f"/fapi/v1/order?{terms}&signature={_signature(terms)}"
    return "DELETE" if cancels else "POST", path, None, {"X-MBX-APIKEY": DEMO_KEY}


def bybit_order(name: str, *, cancels: bool) -> Request:
    """Return a signed order, or its cancel."""
    terms = {"category": "linear", "symbol": SYMBOL, "orderLinkId": name}
    if not cancels:
        terms |= {
            "side": "Buy",
            "orderType": "Limit",
            "timeInForce": "GTC",
            "price": PRICE,
            "qty": QUANTITY,
        }
    body, stamp = json.dumps(terms), str(time.time_ns() // 1_000_000)
    headers = {
        "Content-Type": "application/json",
        "X-BAPI-API-KEY": DEMO_KEY,
        "X-BAPI-TIMESTAMP": stamp,
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": _signature(f"{stamp}{DEMO_KEY}5000{body}"),
    }
    path = "/v5/order/cancel" if cancels else "/v5/order/create"
    return "POST", path, body.encode(), headers


def echoed(name: str, *, cancels: bool) -> Request:
    """Return what Bybit would get, for the echo."""
    _, _, body, headers = bybit_order(name, cancels=cancels)
    return "POST", "/echo", body, headers


CONTESTANTS: Final[dict[str, Callable[..., Request]]] = {
    "binance": binance_order,
    "bybit": bybit_order,
    "echo": echoed,
}


async def run(address: str, name: str, seconds: float) -> dict[str, float]:
    """Send orders and cancels for so long; return requests a second and how long one took."""
    make = CONTESTANTS[name]
    numbers = count(1)
    took: list[float] = []
    until = time.monotonic() + seconds

    async def send(session: aiohttp.ClientSession, order_id: str, *, cancels: bool) -> None:
        method, path, body, headers = make(order_id, cancels=cancels)
        began = time.monotonic()
        async with session.request(method, path, data=body, headers=headers) as answer:
            text = await answer.text()
        took.append(time.monotonic() - began)
        refused = name == "bybit" and json.loads(text)["retCode"] != 0
        if answer.status != 200 or refused:
            raise RuntimeError(f"{name} answered {answer.status}: {text}")

    async def trade(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            order_id = f"bench-{next(numbers)}"
            await send(session, order_id, cancels=False)
            await send(session, order_id, cancels=True)

    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(f"http://{address}", connector=connector) as session:
        began = time.monotonic()
        await asyncio.gather(*(trade(session) for _ in range(AT_ONCE)))
        passed = time.monotonic() - began
    took.sort()
    return {
        "requests_s": len(took) / passed,
        "orders_s": len(took) / 2 / passed,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        print(json.dumps(asyncio.run(run(sys.argv[2], sys.argv[3], float(sys.argv[4])))))
