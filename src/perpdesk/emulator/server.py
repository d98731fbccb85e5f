"""The emulator on a port: the venues' doors, the control API, and the clock that moves it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from perpdesk.domain.candles import Venue
from perpdesk.emulator.control import Control
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.world import World

_STEPS_AT_ONCE: Final = 20
_PAUSE_S: Final = 0.01
_LONGEST_S: Final = 0.25


class Door(Protocol):
    """One venue's protocol over the world."""

    @property
    def venue(self) -> Venue:
        """Return whose protocol it is."""
        ...

    def owns(self, path: str) -> bool:
        """Tell whether a path belongs to this venue's REST API."""
        ...

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add REST and WebSocket routes."""
        ...

    def failure(self, kind: FaultKind, seconds: float) -> web.Response:
        """Return what the venue answers in trouble: RATE_LIMIT, BAN, FORBIDDEN, UNKNOWN,
        SERVER_ERROR, MAINTENANCE; status, body and headers as the venue has them."""
        ...

    async def close(self) -> None:
        """Cut every socket."""
        ...


class Weather:
    """Middleware: what happens to a REST request on its way in and out."""

    def __init__(self, world: World, doors: Sequence[Door]) -> None:
        self.world = world
        self.doors = doors
        self.banned_until: dict[Venue, float] = {}

    def middleware(self) -> Middleware:
        """Return it in aiohttp's form."""

        @web.middleware
        async def weather(request: web.Request, handler: Handler) -> web.StreamResponse:
            door = next((each for each in self.doors if each.owns(request.path)), None)
            if door is None or request.headers.get("Upgrade", "").lower() == "websocket":
                return await handler(request)
            return await self._pass(door, request, handler)

        return weather

    async def _pass(self, door: Door, request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = await self._on_the_way_in(door, request)
        if refused is not None:
            return refused
        response = await handler(request)
        return await self._on_the_way_out(door, request, response)

    async def _on_the_way_in(self, door: Door, request: web.Request) -> web.StreamResponse | None:
        faults, venue, path = self.world.faults, door.venue, request.path
        left = self.banned_until.get(venue, 0.0) - time.monotonic()
        if left > 0:
            return door.failure(FaultKind.BAN, left)
        if not faults.armed:
            return None
        if faults.active(FaultKind.MAINTENANCE, venue, path) is not None:
            return door.failure(FaultKind.MAINTENANCE, 1)
        if (ban := faults.take(FaultKind.BAN, venue, path)) is not None:
            self.banned_until[venue] = time.monotonic() + ban.value
            return door.failure(FaultKind.BAN, ban.value)
        for kind in (FaultKind.FORBIDDEN, FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR):
            if (fault := faults.take(kind, venue, path)) is not None:
                return door.failure(kind, fault.value)
        for kind in (FaultKind.DELAY, FaultKind.JITTER):
            if (late := faults.take(kind, venue, path)) is not None:
                part = faults.random.random() if kind is FaultKind.JITTER else 1.0
                await asyncio.sleep(late.value * part / 1000)
        if faults.take(FaultKind.DROP_BEFORE, venue, path) is not None:
            return _cut(request)
        return None

    async def _on_the_way_out(
        self, door: Door, request: web.Request, response: web.StreamResponse
    ) -> web.StreamResponse:
        faults, venue, path = self.world.faults, door.venue, request.path
        if not faults.armed:
            return response
        if faults.take(FaultKind.DROP_AFTER, venue, path) is not None:
            return _cut(request)
        if (fault := faults.take(FaultKind.UNKNOWN, venue, path)) is not None:
            return door.failure(FaultKind.UNKNOWN, fault.value)
        if faults.take(FaultKind.HALF_ANSWER, venue, path) is not None and isinstance(
            response, web.Response
        ):
            body = response.body if isinstance(response.body, bytes) else b"<html></html>"
            return web.Response(
                body=body[: max(1, len(body) // 2)], content_type="application/json"
            )
        return response


def _cut(request: web.Request) -> web.Response:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
    return web.Response(status=500)


async def keep_time(world: World) -> None:
    """Let the world follow its clock, a few steps at a time so that clients are heard.

    Where it cannot keep the speed for a moment it runs as fast as it can, and the clock waits.
    """
    while True:
        since = time.monotonic()
        while not (reached := world.catch_up(_STEPS_AT_ONCE)):
            if time.monotonic() - since > _LONGEST_S:
                world.hold_back()
                break
            await asyncio.sleep(0)
        await asyncio.sleep(_PAUSE_S if reached else 0)


@asynccontextmanager
async def serving(
    world: World, doors: Sequence[Door], *, host: str = "127.0.0.1", port: int = 18080
) -> AsyncIterator[str]:
    """Serve until the block ends; yields the address "host:port". Port 0 takes a free one.

    Raises OSError where the port is taken.
    """
    app = web.Application(middlewares=[Weather(world, doors).middleware()])
    for door in doors:
        door.add_routes(app.router)
    Control(world).add_routes(app.router)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    clock: asyncio.Task[None] | None = None
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        taken = server.sockets[0].getsockname()[1]
        clock = asyncio.create_task(keep_time(world))
        yield f"{host}:{taken}"
    finally:
        if clock is not None:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock
        for door in doors:
            await door.close()
        await runner.cleanup()
