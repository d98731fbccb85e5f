"""A scripted venue on a loopback port: real HTTP and real sockets, and it says what it is told."""

import asyncio
import hashlib
import hmac
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import SecretStr

from perpdesk.venues.bybit.connect import BybitVenue, connect
from perpdesk.venues.bybit.transport import Timeouts
from perpdesk.venues.endpoints import Credentials, loopback
from perpdesk.venues.pipe import PipeSettings

KEY = Credentials(key="demo-key", secret=SecretStr("demo-secret"))
NOW_MS = 1_790_000_000_000
Reply = dict[str, Any] | web.StreamResponse | Callable[["Request"], Any]


class Request:
    """One call as it was received."""

    def __init__(
        self, path: str, query: dict[str, str], body: str, headers: dict[str, str]
    ) -> None:
        self.path = path
        self.query = query
        self.body = body
        self.headers = headers

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_by(self, credentials: Credentials, raw_query: str) -> bool:
        told = self.headers
        signed = (
            told["X-BAPI-TIMESTAMP"]
            + credentials.key
            + told["X-BAPI-RECV-WINDOW"]
            + (self.body or raw_query)
        )
        secret = credentials.secret.get_secret_value()
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        return digest == told["X-BAPI-SIGN"]


def envelope(result: Any = None, code: int = 0, message: str = "OK", **more: Any) -> dict[str, Any]:
    return {
        "retCode": code,
        "retMsg": message,
        "result": {} if result is None else result,
        "retExtInfo": {},
        "time": NOW_MS,
        **more,
    }


def listing(*rows: Any, **more: Any) -> dict[str, Any]:
    return envelope({"list": list(rows), "category": "linear", "nextPageCursor": "", **more})


class ScriptedVenue:
    """Answers each path with its next reply; the last one stays.

    requests: what came. topics: what was subscribed to. sockets: that are open.
    """

    def __init__(self) -> None:
        self.replies: dict[str, deque[Reply]] = defaultdict(deque)
        self.requests: list[Request] = []
        self.signatures: list[bool] = []
        self.topics: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.auth_reply: dict[str, Any] = {"success": True, "ret_msg": "", "op": "auth"}
        self.subscribe_error = ""
        self.subscribed = asyncio.Event()
        self.on_subscribe: Callable[[str], list[dict[str, Any]]] = lambda topic: []
        self.port = 0

    def answer(self, path: str, *replies: Reply) -> None:
        self.replies[path] = deque(replies)

    def received(self, path: str) -> list[Request]:
        return [one for one in self.requests if one.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        told = Request(request.path, dict(request.query), body, dict(request.headers))
        self.requests.append(told)
        if "X-BAPI-SIGN" in request.headers:
            self.signatures.append(told.is_signed_by(KEY, request.rel_url.raw_query_string))
        waiting = self.replies[request.path]
        if not waiting:
            return web.json_response(envelope(code=10017, message="Route not found."))
        reply = waiting.popleft() if len(waiting) > 1 else waiting[0]
        if callable(reply) and not isinstance(reply, web.StreamResponse):
            reply = reply(told)
            if asyncio.iscoroutine(reply):
                reply = await reply
        return reply if isinstance(reply, web.StreamResponse) else web.json_response(reply)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self.connections += 1
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            await self._hear(socket, json.loads(frame.data))
        self.sockets.remove(socket)
        return socket

    async def _hear(self, socket: web.WebSocketResponse, told: dict[str, Any]) -> None:
        if told["op"] == "ping":
            await socket.send_json({"success": True, "ret_msg": "pong", "op": "ping"})
        elif told["op"] == "auth":
            await socket.send_json(self.auth_reply)
        elif told["op"] == "subscribe":
            error = self.subscribe_error
            await socket.send_json(
                {
                    "success": not error,
                    "ret_msg": error,
                    "op": "subscribe",
                    "req_id": told["req_id"],
                }
            )
            for topic in told["args"]:
                self.topics.append(topic)
                for message in self.on_subscribe(topic):
                    await socket.send_json(message)
            self.subscribed.set()

    async def push(self, *messages: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            for message in messages:
                await socket.send_json(message)

    async def cut(self) -> None:
        """Close every socket without a word."""
        self.subscribed.clear()
        for socket in list(self.sockets):
            transport = socket._req.transport if socket._req else None
            if transport is not None:
                transport.abort()


@asynccontextmanager
async def running(venue: ScriptedVenue) -> AsyncIterator[ScriptedVenue]:
    app = web.Application()
    app.router.add_get("/v5/public/linear", venue.socket)
    app.router.add_get("/v5/private", venue.socket)
    app.router.add_route("*", "/{path:.*}", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.port = runner.addresses[0][1]
    try:
        yield venue
    finally:
        await runner.cleanup()


QUICK = PipeSettings(silence_s=5.0, backoff_s=0.02, backoff_max_s=0.05, resync_s=5.0)


@asynccontextmanager
async def connected(venue: ScriptedVenue, **options: Any) -> AsyncIterator[BybitVenue]:
    endpoints = loopback(f"127.0.0.1:{venue.port}")["bybit"]
    options.setdefault("credentials", KEY)
    options.setdefault("timeouts", Timeouts(connect_s=3.0, read_s=1.0, total_s=5.0))
    options.setdefault("pipes", QUICK)
    bybit = connect(endpoints, **options)
    try:
        yield bybit
    finally:
        await bybit.close()
