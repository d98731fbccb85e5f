"""Who listens to what: topics and their sockets, and the connection that both streams share."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import WSMsgType, web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.bybit.messages import encoded
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

IDLE_S: Final = 600
ACKNOWLEDGE_S: Final = 0.004
"""Subscriptions are acknowledged a little late: an SDK registers them only after sending."""

Say = Callable[[ClientSocket, Mapping[str, Any]], Awaitable[None]]


class Topics:
    """Sockets by topic. A text is made once and sent to all."""

    def __init__(self) -> None:
        self.sockets: dict[str, set[ClientSocket]] = defaultdict(set)

    def add(self, topic: str, socket: ClientSocket) -> None:
        """Subscribe a socket."""
        self.sockets[topic].add(socket)
        socket.topics.add(topic)

    def remove(self, topic: str, socket: ClientSocket) -> None:
        """Unsubscribe a socket; a topic without listeners is gone."""
        socket.topics.discard(topic)
        listeners = self.sockets.get(topic)
        if listeners is not None:
            listeners.discard(socket)
            if not listeners:
                del self.sockets[topic]

    def leave(self, socket: ClientSocket) -> None:
        """Unsubscribe a socket from everything."""
        for topic in list(socket.topics):
            self.remove(topic, socket)

    def send(self, topic: str, message: object) -> None:
        """Send a message to whoever listens."""
        listeners = self.sockets.get(topic)
        if listeners:
            text = encoded(message)
            for socket in list(listeners):
                socket.send(topic, text)


class Connections:
    """All sockets of the door: opened, served until they end, cut together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open: set[ClientSocket] = set()
        self._next_id = 1

    def connection_id(self) -> str:
        """Return a new connection's id."""
        self._next_id += 1
        return f"emulator-{self._next_id:06d}"

    async def serve(self, request: web.Request, say: Say) -> web.StreamResponse:
        """Serve one connection; `say` is told every message that is a JSON object."""
        if self.world.faults.active(FaultKind.MAINTENANCE, Venue.BYBIT, request.path) is not None:
            return web.Response(status=503, text="maintenance")
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        socket = ClientSocket(ws, request, Venue.BYBIT, self.world.faults)
        self.open.add(socket)
        try:
            await self._listen(ws, socket, say, _idle_s(request))
        finally:
            self.open.discard(socket)
            await socket.close()
        return ws

    async def _listen(
        self, ws: web.WebSocketResponse, socket: ClientSocket, say: Say, idle_s: float
    ) -> None:
        while True:
            try:
                message = await ws.receive(timeout=idle_s)
            except TimeoutError:
                await ws.close()
                return
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                return
            if message.type is WSMsgType.ERROR:
                return
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                asked = orjson.loads(message.data)
            except orjson.JSONDecodeError:
                asked = None
            if isinstance(asked, dict):
                await say(socket, asked)
            else:
                socket.reply(encoded({"success": False, "ret_msg": "Params Error"}))

    def cut(self) -> None:
        """Cut every socket without a goodbye."""
        for socket in list(self.open):
            socket.abort()


def reply(
    asked: Mapping[str, Any], connection: str, *, op: str, success: bool = True, words: str = ""
) -> str:
    """Return an answer; req_id comes back as it came, with its type."""
    answer = {"success": success, "ret_msg": words, "conn_id": connection}
    if "req_id" in asked:
        answer["req_id"] = asked["req_id"]
    return encoded(answer | {"op": op})


def _idle_s(request: web.Request) -> float:
    """Return the idle cut: `?max_active_time=30s` to 600s, ten minutes unless said."""
    given = request.query.get("max_active_time", "").lower()
    number, unit = given[:-1], given[-1:]
    if not number.isdecimal() or unit not in ("s", "m"):
        return IDLE_S
    return min(IDLE_S, max(30, int(number) * (60 if unit == "m" else 1)))
