"""/v5/trade: orders over a WebSocket. Source: reference/exchanges.md 2.2 and 4.2.

The same handlers as REST. Faults of requests strike here too, under /v5/trade/<op>: a connection
that breaks before or after the order is carried out, an unknown outcome (10016), a rate limit.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.auth import DEFAULT_WINDOW_MS, Gate
from perpdesk.emulator.bybit.calls import Call, Handler, checked
from perpdesk.emulator.bybit.errors import BybitError, parameter
from perpdesk.emulator.bybit.messages import encoded
from perpdesk.emulator.bybit.order_rest import OrderRest
from perpdesk.emulator.bybit.rates import Budget, Pool, Standing
from perpdesk.emulator.bybit.topics import Connections
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.bybit.traders import Traders
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

_KEPT_IDS: Final = 10_000


class _Session:
    """One authenticated connection, or one that is yet to be."""

    def __init__(self, connection: str, address: str) -> None:
        self.connection = connection
        self.address = address
        self.key: ApiKey | None = None
        self.trader: Trader | None = None
        self.seen: dict[str, None] = {}


class TradeSocket:
    """Takes orders."""

    def __init__(
        self,
        world: World,
        gate: Gate,
        traders: Traders,
        connections: Connections,
        orders: OrderRest,
        budget: Budget,
    ) -> None:
        self.world = world
        self.gate = gate
        self.traders = traders
        self.connections = connections
        self.budget = budget
        self.handlers: dict[str, Handler] = {}
        for name in orders.acts:
            self.handlers[f"order.{name}"] = orders.single(name)
            self.handlers[f"order.{name}-batch"] = orders.batch(name)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection."""
        session = _Session(self.connections.connection_id(), request.remote or "")

        async def say(socket: ClientSocket, asked: Mapping[str, Any]) -> None:
            answer = self._answer(session, socket, asked)
            if answer is not None:
                socket.reply(encoded(answer | {"connId": session.connection}))

        return await self.connections.serve(request, say)

    def _answer(
        self, session: _Session, socket: ClientSocket, asked: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        op = str(asked.get("op", ""))
        head = {"reqId": asked["reqId"]} if "reqId" in asked else {}
        if op == "ping":
            stamp = str(self.gate.server_ms)
            return head | {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [stamp]}
        try:
            if op == "auth":
                self._authenticate(session, asked)
                return head | {"retCode": 0, "retMsg": "OK", "op": op}
            return self._order(session, socket, asked, op, head)
        except BybitError as error:
            refused = {"retCode": error.code, "retMsg": error.words, "op": op}
            return head | refused | ({} if op == "auth" else {"data": {}, "retExtInfo": {}})

    def _authenticate(self, session: _Session, asked: Mapping[str, Any]) -> None:
        if session.trader is not None:
            raise BybitError(errors.ALREADY_AUTHENTICATED)
        args = asked.get("args")
        if not isinstance(args, list) or len(args) != 3:
            raise parameter("auth needs key, expires and signature")
        key, account = self.gate.of_socket(str(args[0]), args[1], str(args[2]), session.address)
        if not key.can_trade:
            raise BybitError(errors.PERMISSION)
        session.key, session.trader = key, self.traders.of(account)

    def _order(
        self,
        session: _Session,
        socket: ClientSocket,
        asked: Mapping[str, Any],
        op: str,
        head: dict[str, Any],
    ) -> dict[str, Any] | None:
        if session.trader is None or session.key is None:
            raise BybitError(errors.PERMISSION, "Request not authorized")
        handle = self.handlers.get(op)
        if handle is None:
            raise BybitError(errors.UNKNOWN_OP)
        self._check_id(session, asked)
        header = checked(asked.get("header") or {})
        self._check_stamp(header)
        path, faults = f"/v5/trade/{op}", self.world.faults
        if faults.take(FaultKind.DROP_BEFORE, Venue.BYBIT, path) is not None:
            socket.abort()
            return None
        args = asked.get("args")
        if not isinstance(args, list) or len(args) != 1:
            raise parameter("args must hold one request")
        standing, call = self._call(session, path, checked(args[0]), op)
        answer = self._carried_out(handle, call)
        self.traders.attach()
        if faults.take(FaultKind.DROP_AFTER, Venue.BYBIT, path) is not None:
            socket.abort()
            return None
        if faults.take(FaultKind.UNKNOWN, Venue.BYBIT, path) is not None:
            raise BybitError(errors.SERVER)
        now = self.gate.server_ms
        limits = standing.headers(int(header.get("X-BAPI-TIMESTAMP", now)))
        return head | {
            **answer,
            "op": op,
            "retExtInfo": call.ext,
            "header": limits | {"Traceid": session.connection, "Timenow": str(now)},
        }

    def _call(
        self, session: _Session, path: str, params: dict[str, Any], op: str
    ) -> tuple[Standing, Call]:
        assert session.key is not None
        asked = params.get("request")
        count = len(asked) if op.endswith("-batch") and isinstance(asked, list) else 1
        standing, granted = self.budget.spend(session.key.key, path, Pool.ORDER, count)
        struck = self.world.faults.take(FaultKind.RATE_LIMIT, Venue.BYBIT, path) is not None
        if not granted or struck:
            raise BybitError(errors.RATE)
        return standing, Call(
            path=path,
            params=params,
            account=session.trader,
            key=session.key,
            granted=granted,
        )

    @staticmethod
    def _carried_out(handle: Handler, call: Call) -> dict[str, Any]:
        try:
            return {"retCode": 0, "retMsg": "OK", "data": handle(call)}
        except BybitError as error:
            return {"retCode": error.code, "retMsg": error.words, "data": {}}

    @staticmethod
    def _check_id(session: _Session, asked: Mapping[str, Any]) -> None:
        if "reqId" not in asked:
            return
        request_id = str(asked["reqId"])
        if len(request_id) > 36:
            raise parameter("reqId: 36 characters at most")
        if request_id in session.seen:
            raise BybitError(errors.DUPLICATE_REQUEST_ID)
        session.seen[request_id] = None
        if len(session.seen) > _KEPT_IDS:
            del session.seen[next(iter(session.seen))]

    def _check_stamp(self, header: Mapping[str, Any]) -> None:
        stamp = str(header.get("X-BAPI-TIMESTAMP", ""))
        window = str(header.get("X-BAPI-RECV-WINDOW") or DEFAULT_WINDOW_MS)
        if not stamp.isdecimal() or not window.isdecimal():
            raise parameter("X-BAPI-TIMESTAMP is missing")
        self.gate.check_stamp(int(stamp), int(window))
