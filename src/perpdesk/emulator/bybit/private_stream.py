"""/v5/private: orders, executions, positions and wallet, told a few milliseconds after the answer.

There is no snapshot on subscribing. Source: reference/exchanges.md 2.2 and 4.2.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit.auth import Gate
from perpdesk.emulator.bybit.errors import BybitError
from perpdesk.emulator.bybit.messages import encoded
from perpdesk.emulator.bybit.topics import ACKNOWLEDGE_S, Connections, Topics, reply
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.bybit.traders import Traders
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

_PLAIN: Final = ("order", "execution", "position", "wallet", "greeks", "dcp.future", "dcp.linear")
_FAST: Final = "execution.fast"
NAMES: Final = {
    **{name: name for name in (*_PLAIN, _FAST)},
    **{f"{name}.linear": name for name in ("order", "execution", "position", _FAST)},
    **dict.fromkeys(
        (f"{name}.{kind}" for name in _PLAIN[:3] for kind in ("spot", "inverse", "option")), ""
    ),
}
"""What may be subscribed, and which rows come by it; other categories are accepted and silent."""


class PrivateStream:
    """Publishes what happens to accounts. flush: sends what has gathered."""

    def __init__(
        self, world: World, gate: Gate, traders: Traders, connections: Connections
    ) -> None:
        self.world = world
        self.gate = gate
        self.traders = traders
        self.connections = connections
        self.topics: dict[str, Topics] = defaultdict(Topics)
        self._sessions: dict[str, int] = defaultdict(int)
        self._next_id = 1
        self._flush_due = False
        traders.on_new = self._watch

    def _watch(self, trader: Trader) -> None:
        account_id = trader.account.account_id

        def is_watched(base: str) -> bool:
            topics = self.topics.get(account_id)
            return topics is not None and any(NAMES.get(name) == base for name in topics.sockets)

        trader.is_watched = is_watched
        trader.wake = self._wake

    # Sending.

    def _wake(self) -> None:
        """Flush soon: the answer to the request that made the change goes first."""
        if self._flush_due:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Time is moved by hand outside of a server: nobody listens.
            return
        self._flush_due = True
        loop.call_later(ACKNOWLEDGE_S, self.flush)

    def flush(self) -> None:
        """Send what has gathered."""
        self._flush_due = False
        for account_id, trader in self.traders.by_id.items():
            if trader.outbox:
                topics = self.topics[account_id]
                for base, row in trader.take_outbox():
                    self._send(topics, base, row)

    def _send(self, topics: Topics, base: str, row: Mapping[str, Any]) -> None:
        for name in list(topics.sockets):
            if NAMES.get(name) != base:
                continue
            message: dict[str, Any] = {"topic": name, "creationTime": self.world.now_ms}
            if base != _FAST:
                self._next_id += 1
                message["id"] = f"emulator_{self._next_id}"
            topics.send(name, message | {"data": [row]})

    # Connections.

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection."""
        connection = self.connections.connection_id()
        address = request.remote or ""
        bound: list[Trader] = []

        async def say(socket: ClientSocket, asked: Mapping[str, Any]) -> None:
            op = str(asked.get("op", ""))
            if op == "ping":
                socket.reply(self._pong(asked, connection))
            elif op == "auth":
                trader = self._authenticated(socket, asked, connection, address)
                if trader is not None and not bound:
                    bound.append(trader)
                    self._enter(trader, socket)
            elif not bound:
                words = "Request not authorized"
                socket.reply(reply(asked, connection, op=op, success=False, words=words))
            else:
                await asyncio.sleep(ACKNOWLEDGE_S)
                self._change(self.topics[bound[0].account.account_id], socket, asked, connection)

        return await self.connections.serve(request, say)

    def _pong(self, asked: Mapping[str, Any], connection: str) -> str:
        answer: dict[str, Any] = {"req_id": asked["req_id"]} if "req_id" in asked else {}
        stamp = str(self.world.now_ms)
        return encoded(answer | {"op": "pong", "args": [stamp], "conn_id": connection})

    def _authenticated(
        self, socket: ClientSocket, asked: Mapping[str, Any], connection: str, address: str
    ) -> Trader | None:
        args = asked.get("args")
        try:
            if not isinstance(args, list) or len(args) != 3:
                raise BybitError(10001, "Params Error")
            _, account = self.gate.of_socket(str(args[0]), args[1], str(args[2]), address)
        except BybitError as error:
            words = error.words
            socket.reply(reply(asked, connection, op="auth", success=False, words=words))
            return None
        socket.reply(reply(asked, connection, op="auth"))
        return self.traders.of(account)

    def _change(
        self, topics: Topics, socket: ClientSocket, asked: Mapping[str, Any], connection: str
    ) -> None:
        op, names = str(asked.get("op", "")), asked.get("args") or []
        fault = self._fault(op, names, socket)
        if fault:
            socket.reply(reply(asked, connection, op=op, success=False, words=fault))
            return
        for name in names:
            (topics.add if op == "subscribe" else topics.remove)(name, socket)
        socket.reply(reply(asked, connection, op=op, words=op))

    @staticmethod
    def _fault(op: str, names: object, socket: ClientSocket) -> str:
        if op not in ("subscribe", "unsubscribe") or not isinstance(names, list):
            return "error:request op is invalid"
        for name in names:
            if not isinstance(name, str) or name not in NAMES:
                return f"error:handler not found,topic:{name}"
        if op == "subscribe":
            wanted = socket.topics | set(names)
            for base in ("order", "execution", "position"):
                if base in wanted and any(name.startswith(f"{base}.") for name in wanted - {_FAST}):
                    return f"error:{base} and its categories cannot be subscribed together"
        return ""

    # Sessions and the dead man's switch.

    def _enter(self, trader: Trader, socket: ClientSocket) -> None:
        account_id = trader.account.account_id
        self._sessions[account_id] += 1

        def leave() -> None:
            self.topics[account_id].leave(socket)
            self._sessions[account_id] -= 1
            if not self._sessions[account_id] and trader.dcp_window_s:
                loop = asyncio.get_running_loop()
                loop.call_later(trader.dcp_window_s, self.cancel_unless_back, trader)

        socket.on_close.append(leave)

    def cancel_unless_back(self, trader: Trader) -> None:
        """Cancel what is open, unless somebody listens again or the switch was disarmed."""
        account = trader.account
        if self._sessions[account.account_id] or not trader.dcp_window_s:
            return
        for record in account.open_orders():
            if record.is_open:
                try:
                    account.cancel(record, now_ms=self.world.now_ms)
                except Refused:
                    continue
        self.world.note(Venue.BYBIT, account.account_id, "disconnected, all canceled", {})
