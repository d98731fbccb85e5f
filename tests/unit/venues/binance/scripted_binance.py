"""A venue on loopback that says what a test tells it to say, over real HTTP and real websockets."""

import asyncio
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import WSMsgType, web
from pydantic import SecretStr

from perpdesk.venues.endpoints import Credentials, Endpoints

KEY, SECRET = "key", "secret"
CREDENTIALS = Credentials(key=KEY, secret=SecretStr(SECRET))
PATIENCE_S = 5.0


@dataclass
class Reply:
    """An answer with a status of its own. cut: before the answer, or within its body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    cut: str = ""


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    is_signed: bool


Script = Any | Reply | Callable[[dict[str, str]], Any]


class ScriptedBinance:
    """Serves scripts: the last one of a path stays, those before it are used once."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.sockets: dict[str, list[web.WebSocketResponse]] = defaultdict(list)
        self.socket_urls: list[str] = []
        self.lead_ms = 0
        self._scripts: dict[str, list[Script]] = {}
        self.now_ms: Callable[[], int] = lambda: 0
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        app = web.Application()
        app.router.add_route("GET", "/{route:public|market|private}/{form:ws|stream}", self._socket)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for sockets in self.sockets.values():
            for socket in sockets:
                await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def endpoints(self) -> Endpoints:
        host = f"127.0.0.1:{self.port}"
        return Endpoints(
            rest=f"http://{host}",
            stream=f"ws://{host}",
            private_stream=f"ws://{host}",
            order_entry=f"ws://{host}/ws-fapi/v1",
        )

    def on(self, call: str, *scripts: Script) -> None:
        """Script the answers to "METHOD path" in their order."""
        self._scripts[call] = list(scripts)

    def calls(self, call: str) -> list[Seen]:
        """Return the requests of "METHOD path" that arrived."""
        return [one for one in self.seen if f"{one.method} {one.path}" == call]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        path = request.path.removeprefix("/")
        parameters = dict(parse_qsl(request.query_string)) | dict(parse_qsl(body))
        signed = "signature" in parameters
        if signed:
            _check_signature(request.query_string or body)
        self.seen.append(
            Seen(request.method, path, parameters, dict(request.headers), is_signed=signed)
        )
        if path == "fapi/v1/time" and "GET fapi/v1/time" not in self._scripts:
            return web.json_response({"serverTime": self.now_ms() + self.lead_ms})
        call = f"{request.method} {path}"
        scripts = self._scripts.get(call)
        if not scripts:
            return web.json_response({"code": -1, "msg": f"no script for {call}"}, status=404)
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        found = script(parameters) if callable(script) else script
        return await _send(request, found if isinstance(found, Reply) else Reply(body=found))

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.socket_urls.append(str(request.rel_url))
        self.sockets[request.match_info["route"]].append(socket)
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        return socket

    async def connected(self, route: str, count: int = 1) -> web.WebSocketResponse:
        """Return the newest socket of a route, once `count` have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sockets[route]) < count:
                await asyncio.sleep(0.002)
        return self.sockets[route][-1]

    async def until_called(self, call: str, count: int = 1) -> None:
        """Wait until a request has arrived `count` times."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.calls(call)) < count:
                await asyncio.sleep(0.002)

    async def say(self, route: str, data: Any, stream: str | None = None) -> None:
        """Push a message on the newest socket of a route."""
        message = data if stream is None else {"stream": stream, "data": data}
        await self.sockets[route][-1].send_str(json.dumps(message))


async def _send(request: web.Request, reply: Reply) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    if reply.cut == "before":
        transport.close()
        return web.Response()
    text = json.dumps(reply.body) if reply.text is None else reply.text
    if reply.cut == "within":
        response = web.StreamResponse(headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        transport.close()
        return response
    return web.Response(
        text=text, status=reply.status, headers=reply.headers, content_type="application/json"
    )


def _check_signature(sent: str) -> None:
    payload, _, signature = sent.rpartition("&signature=")
    forms = {payload, unquote(payload)}
    expected = {
        hmac.new(SECRET.encode(), form.encode(), hashlib.sha256).hexdigest() for form in forms
    }
    assert signature in expected, f"the signature does not fit {payload}"
