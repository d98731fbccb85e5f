"""Bybit's door: routes, and what surrounds every request.

Category linear only. What the real venue has and this one has not: other categories, hedge trading,
portfolio margin, an index of its own (mark stands in), books deeper than the emulated one.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.account_rest import AccountRest
from perpdesk.emulator.bybit.auth import Gate, wall_ms
from perpdesk.emulator.bybit.calls import Call, Endpoint, checked
from perpdesk.emulator.bybit.errors import BybitError, parameter
from perpdesk.emulator.bybit.market_rest import MarketRest
from perpdesk.emulator.bybit.messages import envelope
from perpdesk.emulator.bybit.order_rest import OrderRest
from perpdesk.emulator.bybit.position_rest import PositionRest
from perpdesk.emulator.bybit.private_stream import PrivateStream
from perpdesk.emulator.bybit.public_stream import PublicStream
from perpdesk.emulator.bybit.rates import Budget, Limits
from perpdesk.emulator.bybit.topics import Connections, reply
from perpdesk.emulator.bybit.trade_socket import TradeSocket
from perpdesk.emulator.bybit.traders import Traders
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.market import MarketStep
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

_TOO_FREQUENT: Final = "access too frequent"


class BybitDoor:
    """Bybit v5 over a world. limits: how many calls it takes."""

    venue: Final = Venue.BYBIT

    def __init__(self, world: World, limits: Limits | None = None) -> None:
        self.world = world
        self.gate = Gate(world)
        self.budget = Budget(limits or Limits())
        self.connections = Connections(world)
        self.traders = Traders(world)
        self.public = PublicStream(world, self.connections)
        self.private = PrivateStream(world, self.gate, self.traders, self.connections)
        self.traders.on_liquidation = self.public.liquidated
        orders = OrderRest(world)
        self.trade = TradeSocket(
            world, self.gate, self.traders, self.connections, orders, self.budget
        )
        self.endpoints: list[Endpoint] = [
            *MarketRest(world, self.gate).endpoints(),
            *orders.endpoints(),
            *PositionRest(world).endpoints(),
            *AccountRest(world).endpoints(),
        ]
        self._client_ahead_ms = 0
        self._is_odd = False
        self.traders.meet()
        world.venues[Venue.BYBIT].listeners.append(self._on_step)

    # The door.

    def owns(self, path: str) -> bool:
        """Tell whether a path belongs to this venue."""
        return path.startswith("/v5/")

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add REST and WebSocket routes."""
        for endpoint in self.endpoints:
            router.add_route(endpoint.method, endpoint.path, self._answering(endpoint))
        router.add_get("/v5/public/linear", self.public.connect)
        router.add_get("/v5/private", self.private.connect)
        router.add_get("/v5/trade", self.trade.connect)
        for quiet in ("/v5/public/spot", "/v5/public/misc/status"):
            router.add_get(quiet, self._quiet)

    async def close(self) -> None:
        """Cut every socket."""
        self.connections.cut()

    def _on_step(self, steps: list[MarketStep]) -> None:
        self.traders.meet()
        self.traders.attach()
        if self.world.faults.active(FaultKind.MAINTENANCE, self.venue) is not None:
            self.connections.cut()
            return
        self.public.publish(steps)
        self.private.flush()

    async def _quiet(self, request: web.Request) -> web.StreamResponse:
        """Serve a stream that never says anything but that it is there."""
        connection = self.connections.connection_id()

        async def say(socket: ClientSocket, asked: Mapping[str, Any]) -> None:
            op = str(asked.get("op", ""))
            socket.reply(reply(asked, connection, op=op, words="pong" if op == "ping" else ""))

        return await self.connections.serve(request, say)

    # Requests.

    def _answering(self, endpoint: Endpoint) -> Any:
        async def handler(request: web.Request) -> web.Response:
            if not self.budget.admits(request.remote or ""):
                return web.Response(status=403, text=_TOO_FREQUENT)
            body = await request.read() if endpoint.method == "POST" else b""
            headers: dict[str, str] = {}
            call = Call(path=endpoint.path, params={})
            try:
                self._let_in(endpoint, call, request, body, headers)
                result = endpoint.handle(call)
                self.traders.attach()
            except BybitError as error:
                self._note(endpoint, call, error)
                answer = envelope(
                    error.result, now_ms=self.gate.server_ms, code=error.code, words=error.words
                )
            else:
                self._note(endpoint, call)
                answer = envelope(
                    result, now_ms=self.gate.server_ms, words=call.words, ext=call.ext
                )
            return _json(answer, headers=headers)

        return handler

    def _let_in(
        self,
        endpoint: Endpoint,
        call: Call,
        request: web.Request,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        """Fill in the call that a request makes; `headers` gets the rate headers."""
        if endpoint.pool is None:
            call.params = dict(request.query)
            return
        query = request.raw_path.partition("?")[2]
        payload = body.decode(errors="replace") if endpoint.method == "POST" else query
        key, account = self.gate.of_request(request.headers, payload, request.remote or "")
        call.key, call.account = key, self.traders.of(account)
        call.params = _body(body) if endpoint.method == "POST" else dict(request.query)
        if endpoint.changes and not key.can_trade:
            raise BybitError(errors.PERMISSION)
        stamp = int(request.headers["X-BAPI-TIMESTAMP"])
        self._client_ahead_ms = stamp - wall_ms()
        asked = call.params.get("request")
        count = len(asked) if endpoint.is_batch and isinstance(asked, list) else 1
        standing, call.granted = self.budget.spend(key.key, endpoint.path, endpoint.pool, count)
        headers |= standing.headers(stamp)
        if not call.granted:
            raise BybitError(errors.RATE)

    def _note(self, endpoint: Endpoint, call: Call, error: BybitError | None = None) -> None:
        """Write down a request that changes something, unless its orders are written down."""
        if not endpoint.changes or call.account is None or call.is_noted:
            return
        facts = {name: str(value) for name, value in call.params.items() if name != "category"}
        facts |= {"path": call.path, "client_id": facts.pop("orderLinkId", "")}
        if error is not None:
            facts |= {"code": str(error.code), "reason": error.words}
        what = "request accepted" if error is None else "request refused"
        self.world.note(self.venue, call.account.account.account_id, what, facts)

    # Trouble.

    def failure(self, kind: FaultKind, seconds: float) -> web.Response:
        """Return what the venue answers in trouble."""
        match kind:
            case FaultKind.BAN | FaultKind.FORBIDDEN:
                return web.Response(status=403, text=_TOO_FREQUENT)
            case FaultKind.RATE_LIMIT:
                reset = wall_ms() + self._client_ahead_ms + max(1, int(seconds * 1000))
                limited = self._failed(errors.RATE)
                limited.headers["X-Bapi-Limit"] = str(self.budget.limits.order)
                limited.headers["X-Bapi-Limit-Status"] = "0"
                limited.headers["X-Bapi-Limit-Reset-Timestamp"] = str(reset)
                return limited
            case FaultKind.UNKNOWN:
                # Two codes for the same: nobody says whether it was carried out.
                self._is_odd = not self._is_odd
                return self._failed(errors.SERVER if self._is_odd else errors.TIMEOUT)
            case FaultKind.SERVER_ERROR:
                return web.Response(status=500, text="Internal Server Error")
        return web.Response(status=503, text="Service Unavailable")

    def _failed(self, code: int) -> web.Response:
        words = BybitError(code).words
        return _json(envelope({}, now_ms=self.gate.server_ms, code=code, words=words))


def _body(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise parameter("the body is not JSON") from None
    return checked(found)


def _json(value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), content_type="application/json", headers=headers or {}
    )
