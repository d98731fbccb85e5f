"""The door: Binance's REST, streams and WebSocket API over the emulated world.

A request goes to dispatch.py and from there to the endpoint of one of the *_rest.py files; streams
are fed at each step of the world by streams.py (market) and user_stream.py (account). REST answers
and stream messages are written by *_rows.py and user_events.py.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance.account_rest import AccountRest
from perpdesk.emulator.binance.algo_rest import AlgoRest
from perpdesk.emulator.binance.auth import Gate, split_signature
from perpdesk.emulator.binance.calls import Call, Endpoint, Security
from perpdesk.emulator.binance.dispatch import Dispatcher, Proof
from perpdesk.emulator.binance.errors import ApiError, failure, json_response
from perpdesk.emulator.binance.limits import WEIGHT_LIMIT, Limits
from perpdesk.emulator.binance.market_rest import MarketRest
from perpdesk.emulator.binance.settings_rest import SettingsRest
from perpdesk.emulator.binance.streams import MOST_MESSAGES, Line, MarketStreams, Pace, answer
from perpdesk.emulator.binance.trade_rest import TradeRest
from perpdesk.emulator.binance.user_stream import UserLine, UserStreams
from perpdesk.emulator.binance.ws_api import WsApi
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.market import MarketStep
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

_REST_ROOTS: Final = ("/fapi/", "/futures/data/", "/sapi/", "/api/")
_WS_API: Final = "/ws-fapi/v1"
PING_S: Final = 180.0
LARGEST_MESSAGE: Final = 4 * 1024 * 1024


class BinanceDoor:
    """Implements `server.Door`. weight_limit: request weight a minute before 429.

    most_messages: what a socket may send in a second before it is cut. ping_s: how often sockets
    are pinged. wall: the wall's clock, in seconds since the epoch.
    """

    def __init__(
        self,
        world: World,
        *,
        weight_limit: int = WEIGHT_LIMIT,
        most_messages: int = MOST_MESSAGES,
        ping_s: float = PING_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._world = world
        self._ping_s = ping_s
        self._most_messages = most_messages
        self._weight_limit = weight_limit
        self._venue = world.venues[Venue.BINANCE]
        self._gate = Gate(world, wall)
        self._trades = TradeRest(world)
        self._streams = MarketStreams(self._venue.markets, world.faults)
        self._users = UserStreams(world, self._streams.put_liquidation)
        self._dispatcher = Dispatcher(
            world, self._gate, Limits(weight_limit, wall, self._gate.venue_ms), self._endpoints()
        )
        self._ws_api = WsApi(self._dispatcher)
        self._sockets: set[ClientSocket] = set()
        self._venue.listeners.append(self._on_step)

    @property
    def venue(self) -> Venue:
        """Return whose protocol it is."""
        return Venue.BINANCE

    def owns(self, path: str) -> bool:
        """Tell whether a path belongs to this venue's REST API."""
        return path.startswith(_REST_ROOTS)

    def failure(self, kind: FaultKind, seconds: float) -> web.Response:
        """Return what the venue answers in trouble."""
        venue_ms = self._gate.venue_ms()
        return failure(kind, seconds, weight_limit=self._weight_limit, venue_ms=venue_ms)

    async def close(self) -> None:
        """Cut every socket."""
        for socket in list(self._sockets):
            socket.abort()
            await socket.close()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add REST and WebSocket routes."""
        for root in _REST_ROOTS:
            router.add_route("*", root + "{tail:.*}", self._rest)
        router.add_get(_WS_API, self._serve_api)
        for kind in ("ws", "stream"):
            router.add_get(f"/{kind}", self._serve_market)
            router.add_get(f"/{kind}/{{names:.*}}", self._serve_market)
            router.add_get(f"/{{route:public|market}}/{kind}", self._serve_market)
            router.add_get(f"/{{route:public|market}}/{kind}/{{names:.*}}", self._serve_market)
            router.add_get(f"/private/{kind}", self._serve_user)
            router.add_get(f"/private/{kind}/{{names:.*}}", self._serve_user)

    def _endpoints(self) -> list[Endpoint]:
        market = MarketRest(self._gate.tell_time, self._weight_limit)
        return [
            *market.endpoints(),
            *self._trades.endpoints(),
            *AlgoRest(self._world).endpoints(),
            *AccountRest().endpoints(),
            *SettingsRest().endpoints(),
            *self._listen_key_endpoints(),
        ]

    # Time.

    def _on_step(self, steps: list[MarketStep]) -> None:
        self._trades.on_step()
        self._users.on_step()
        self._streams.on_step(steps)
        if self._sockets and self._is_closed():
            for socket in self._sockets:
                socket.abort()

    def _is_closed(self) -> bool:
        return self._world.faults.active(FaultKind.MAINTENANCE, Venue.BINANCE) is not None

    # Listen keys.

    def _listen_key_endpoints(self) -> list[Endpoint]:
        acts: dict[str, Callable[[Call], object]] = {
            "POST": lambda call: {"listenKey": self._users.create(call.account)},
            "PUT": self._extend,
            "DELETE": self._end,
        }
        return [
            Endpoint(method=method, path="/fapi/v1/listenKey", act=act, security=Security.KEY)
            for method, act in acts.items()
        ]

    def _extend(self, call: Call) -> object:
        key = self._users.extend(call.account)
        if key is None:
            raise ApiError(-1125)
        return {"listenKey": key}

    def _end(self, call: Call) -> object:
        self._users.end(call.account)
        return {}

    # REST.

    async def _rest(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode("utf-8", "replace")
        query = request.raw_path.partition("?")[2]
        address = request.remote or ""
        values = dict(parse_qsl(body, keep_blank_values=True))
        values |= parse_qsl(query, keep_blank_values=True)
        payload, signature = "", values.pop("signature", "")
        counted: str | None = None
        status, more, answered = 200, {}, None
        try:
            if signature:
                payload, signature = split_signature(query, body)
            proof = Proof(
                key=request.headers.get("X-MBX-APIKEY", ""),
                payload=payload,
                signature=signature,
                address=address,
            )
            answered, counted = self._dispatcher.run(request.method, request.path, values, proof)
        except ApiError as error:
            status, more, answered = error.status, error.headers, error.body()
        headers = self._dispatcher.limits.headers(address, counted) | more
        return json_response(answered, status, headers)

    # WebSockets.

    async def _serve_market(self, request: web.Request) -> web.StreamResponse:
        combined = request.path.split("/")[1 if "route" not in request.match_info else 2]
        names = [each for each in request.match_info.get("names", "").split("/") if each]
        names += [each for each in request.query.get("streams", "").split("/") if each]
        route = request.match_info.get("route", "")

        async def talk(socket: ClientSocket, ws: web.WebSocketResponse) -> None:
            line = Line(socket, route=route, combined=combined == "stream")
            socket.on_close.append(lambda: self._streams.drop(line))
            for name in names:
                self._streams.add(line, name)
            await self._answer_all(line, ws)

        return await self._serve(request, talk)

    async def _serve_user(self, request: web.Request) -> web.StreamResponse:
        wanted = _listen_keys(request)
        if not wanted or any(self._users.find(key) is None for key, _ in wanted):
            return json_response(ApiError(-1125).body(), 400)
        combined = request.path.startswith("/private/stream")

        async def talk(socket: ClientSocket, ws: web.WebSocketResponse) -> None:
            for key, events in wanted:
                line = UserLine(socket=socket, combined=combined, events=events)
                self._listen(key, line)
            # Market streams are asked for in vain here: no feed is carried on this route.
            silent = Line(socket, route="private", combined=combined)
            await self._answer_all(silent, ws)

        return await self._serve(request, talk)

    async def _answer_all(self, line: Line, ws: web.WebSocketResponse) -> None:
        """Answer control messages as long as they keep to the pace."""
        pace = Pace(self._most_messages)

        def act(text: str) -> None:
            if pace.allows(time.monotonic()):
                line.socket.reply(answer(self._streams, line, text))
            else:
                line.socket.abort()

        await _each_text(ws, act)

    def _listen(self, key: str, line: UserLine) -> None:
        """Let a line hear a key, if it still lives."""
        known = self._users.find(key)
        if known is not None:
            known.lines[line] = None
            line.socket.on_close.append(lambda: self._users.drop(line))

    async def _serve_api(self, request: web.Request) -> web.StreamResponse:
        address = request.remote or ""

        async def talk(socket: ClientSocket, ws: web.WebSocketResponse) -> None:
            await _each_text(ws, lambda text: socket.reply(self._ws_api.answer(text, address)))

        return await self._serve(request, talk)

    async def _serve(
        self,
        request: web.Request,
        talk: Callable[[ClientSocket, web.WebSocketResponse], Awaitable[None]],
    ) -> web.StreamResponse:
        """Open a socket, let it talk, and clean up however it ends."""
        if self._is_closed():
            return self.failure(FaultKind.MAINTENANCE, 1)
        ws = web.WebSocketResponse(heartbeat=self._ping_s, max_msg_size=LARGEST_MESSAGE)
        if not ws.can_prepare(request).ok:
            return json_response(ApiError(-5000, request.path, request.method).body(), 404)
        await ws.prepare(request)
        socket = ClientSocket(ws, request, Venue.BINANCE, self._world.faults)
        self._sockets.add(socket)
        try:
            await talk(socket, ws)
        except ConnectionError:
            socket.abort()
        finally:
            self._sockets.discard(socket)
            await socket.close()
        return ws


async def _each_text(ws: web.WebSocketResponse, act: Callable[[str], None]) -> None:
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            act(message.data)


def _listen_keys(request: web.Request) -> list[tuple[str, frozenset[str] | None]]:
    """Return the keys of a private socket, each with the events wanted of it (None: all).

    `events` belongs to the key before it.
    """
    path_key = request.match_info.get("names", "").strip("/")
    found: list[tuple[str, frozenset[str] | None]] = [(path_key, None)] if path_key else []
    for name, value in request.query.items():
        if name == "listenKey":
            found.append((value, None))
        elif name == "events" and found:
            found[-1] = (found[-1][0], frozenset(value.split("/")))
    return found
