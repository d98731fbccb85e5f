"""A pybit WebSocket as one connection that is used until anything is odd about it.

pybit runs a reader thread, a ping thread and a ping timer per socket, and has habits that kill it
silently (reference/exchanges.md 7.2). They are taken out by overriding, in a subclass:

- `_connect` goes to the address we give. (The module attributes PUBLIC_WSS and PRIVATE_WSS are
  global to the process; so two venues may coexist without a lock around them.)
- `subscribe` and `_handle_incoming_message` hold one lock, so that an acknowledgement never arrives
  before its request id is known; and no message goes through pybit's own merging of books and
  tickers, which checks no sequence: every message reaches us as it was sent.
- `_auth` signs with venue time, and a refusal is told instead of raised in the reader thread.
- An error or a close ends the socket and is told; nothing reconnects by itself.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import websocket
from pybit._http_manager import generate_signature
from pybit.unified_trading import WebSocket

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.venues.endpoints import Credentials

PING_S: Final = 15
PONG_WITHIN_S: Final = 10
OPEN_WITHIN_S: Final = 15.0
AUTH_VALID_MS: Final = 10_000
TOPICS_PER_REQUEST: Final = 10
BACKLOG: Final = 100_000
PRIVATE_TOPICS: Final = ("order", "execution", "position", "wallet")

Tell = Callable[[dict[str, Any] | str], None]
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message as it was sent, and the connection it came by: books live as long as theirs."""

    connection: int
    message: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketAddress:
    """Where to connect. channel: "linear" or "private". now_ms: venue time, to sign with."""

    url: str
    channel: str
    credentials: Credentials | None
    now_ms: Callable[[], int]


class _Ended(Exception):
    """The connection is over; raised inside pybit's waiting loops to end them."""


class _Raw(WebSocket):  # type: ignore[misc]
    """pybit's WebSocket that hands on every message and never restarts itself.

    tell: takes messages, from the reader thread; it only enqueues.
    """

    def __init__(self, address: SocketAddress, tell: Tell) -> None:
        self.address = address
        self.tell = tell
        self._lock = threading.RLock()
        self._over = False
        key = address.credentials
        super().__init__(
            address.channel,
            testnet=False,
            api_key=key.key if key else None,
            api_secret=key.secret.get_secret_value() if key else None,
            ping_interval=PING_S,
            ping_timeout=PONG_WITHIN_S,
            restart_on_error=False,
        )

    def _connect(self, url: str) -> None:
        """Do nothing yet: the constructor calls it, and an object under way cannot be stopped."""

    def open(self) -> None:
        """Connect; blocks, and raises where it fails or `end` is called meanwhile."""
        try:
            super()._connect(self.address.url)
        except BaseException:
            self.end()
            raise

    def is_connected(self) -> bool:
        if self._over:
            raise _Ended("the connection ended")
        return bool(super().is_connected())

    def subscribe(self, *arguments: Any, **options: Any) -> None:
        with self._lock:
            super().subscribe(*arguments, **options)

    def _auth(self) -> None:
        expires_ms = self.address.now_ms() + AUTH_VALID_MS
        signature = generate_signature(False, self.api_secret, f"GET/realtime{expires_ms}")
        self.ws.send(json.dumps({"op": "auth", "args": [self.api_key, expires_ms, signature]}))

    def _on_message(self, message: str) -> None:
        # Whatever is raised in here would kill the reader thread without a word.
        try:
            with self._lock:
                self.tell(json.loads(message))
        except Exception as error:
            self._fail(f"a message could not be taken ({type(error).__name__}: {error})")

    def _on_error(self, error: object) -> None:
        self._fail(f"{type(error).__name__}: {error}")

    def _on_close(self) -> None:
        self._fail("the connection was closed")

    def _send_custom_ping(self) -> None:
        with suppress(_Ended, OSError, websocket.WebSocketException):
            super()._send_custom_ping()

    def _fail(self, reason: str) -> None:
        self.exited = self._over = True
        self.tell(reason)

    def end(self) -> None:
        """Close the connection and wait for its threads; blocks."""
        self._over = self.exited = True
        self._stop_custom_ping_timer()
        app = getattr(self, "ws", None)
        if app is None:
            return
        app.keep_running = False
        client = app.sock
        if client is not None:
            # A farewell, then the line is cut: waiting for the venue's would take three seconds.
            # Only a shutdown wakes a thread that reads; closing would leave it waiting.
            with suppress(OSError, AttributeError, websocket.WebSocketException):
                if client.connected:
                    client.send_close()
            with suppress(OSError, AttributeError):
                client.sock.shutdown(socket.SHUT_RDWR)
        self.wst.join(timeout=5)
        if client is not None:
            client.shutdown()  # Having said farewell, the library takes it for closed already.
        self._stop_custom_ping_timer()


class LiveSocket:
    """Implements `venues.pipe.Socket` over a queue that the reader thread fills."""

    def __init__(self, *, hear_pongs: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[dict[str, Any] | str] = asyncio.Queue()
        self._hear_pongs = hear_pongs
        self._number = next(_numbers)
        self._authenticated: asyncio.Future[None] = self._loop.create_future()
        self._acknowledged = 0
        self._all_acknowledged: asyncio.Future[None] = self._loop.create_future()
        self._expected = 0

    def tell(self, message: dict[str, Any] | str) -> None:
        """Take a message, or the reason of the end, from the reader thread."""
        with suppress(RuntimeError):  # The loop is closed: nobody is there to hear it.
            self._loop.call_soon_threadsafe(self._take, message)

    def _take(self, message: dict[str, Any] | str) -> None:
        if isinstance(message, str):
            self._break(VenueUnavailable(f"Bybit's stream ended: {message}"))
            self._queue.put_nowait(message)
        elif message.get("op") in ("auth", "subscribe") and "topic" not in message:
            self._answered(message)
        elif message.get("op") in ("ping", "pong") or message.get("ret_msg") == "pong":
            if self._hear_pongs:
                self._queue.put_nowait(message)
        elif self._queue.qsize() < BACKLOG:
            self._queue.put_nowait(message)
        else:
            self._queue.put_nowait(f"more than {BACKLOG} messages wait to be read")

    def _answered(self, message: dict[str, Any]) -> None:
        """Take Bybit's word on authentication or a subscription."""
        if message.get("success") is False or message.get("retCode", 0) != 0:
            self._break(_refused(message))
        elif message["op"] == "auth":
            if not self._authenticated.done():
                self._authenticated.set_result(None)
        else:
            self._acknowledged += 1
            if self._acknowledged >= self._expected and not self._all_acknowledged.done():
                self._all_acknowledged.set_result(None)

    def _break(self, error: Exception) -> None:
        for waiting in (self._authenticated, self._all_acknowledged):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # It may be that nobody waits for this one.

    async def prepare(self, raw: _Raw, topics: Sequence[str]) -> None:
        """Connect, authenticate and subscribe. Raises VenueRejected where Bybit refuses."""
        private = raw.address.channel == "private"
        requests = _requests(topics, private)
        self._expected = len(requests)
        await self._in_thread(raw.open)
        if private:
            await self._authenticated
        await self._in_thread(lambda: _subscribe(raw, requests))
        await self._all_acknowledged

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except (_Ended, OSError, websocket.WebSocketException) as error:
            await asyncio.sleep(0)  # What the reader thread told is a better reason.
            if self._authenticated.done():
                await self._authenticated
            raise VenueUnavailable(f"Bybit's stream cannot be opened: {error}") from error

    async def receive(self) -> Incoming:
        """Return the next message. Raises VenueUnavailable once the connection is over."""
        message = await self._queue.get()
        if isinstance(message, str):
            self._queue.put_nowait(message)
            raise VenueUnavailable(f"Bybit's stream ended: {message}")
        return Incoming(connection=self._number, message=message)


@asynccontextmanager
async def open_socket(
    address: SocketAddress, topics: Sequence[str], *, hear_pongs: bool
) -> AsyncIterator[LiveSocket]:
    """Yield a connection that is subscribed; close it in a thread, whatever became of it.

    hear_pongs: whether answers to pings count as messages (an account may be silent for long).
    """
    live = LiveSocket(hear_pongs=hear_pongs)
    raw = _Raw(address, live.tell)
    try:
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                await live.prepare(raw, topics)
        except TimeoutError:
            raise VenueUnavailable(
                f"{address.url} did not answer within {OPEN_WITHIN_S:g} s"
            ) from None
        yield live
    finally:
        await asyncio.shield(asyncio.to_thread(raw.end))


def _requests(topics: Sequence[str], private: bool) -> list[tuple[str, list[str]]]:
    """Return subscribe requests: pybit wants a pattern of topics and their symbols."""
    if private:
        return [(topic, []) for topic in topics]
    by_pattern: dict[str, list[str]] = {}
    for topic in topics:
        pattern, _, symbol = topic.rpartition(".")
        by_pattern.setdefault(pattern + ".{symbol}", []).append(symbol)
    return [
        (pattern, symbols[first : first + TOPICS_PER_REQUEST])
        for pattern, symbols in by_pattern.items()
        for first in range(0, len(symbols), TOPICS_PER_REQUEST)
    ]


def _subscribe(raw: _Raw, requests: Sequence[tuple[str, list[str]]]) -> None:
    for topic, symbols in requests:
        raw.subscribe(topic, raw.tell, symbols)


def _refused(message: dict[str, Any]) -> PerpdeskError:
    """Return the refusal of a key or a topic; reconnecting would not help, but for a late one."""
    words = str(message.get("ret_msg") or message.get("retMsg") or "")
    said = words.lower()
    # A key may have expired, too, and that is final.
    if message["op"] == "auth" and "expire" in said and "key" not in said:
        return VenueUnavailable(
            f"Bybit's stream took our greeting for too old: {words}",
            next_step="It is said again; check this machine's clock if that goes on.",
        )
    if message["op"] == "auth":
        return VenueRejected(
            f"Bybit's stream refused the key: {words}",
            code="10003",
            next_step="Check key, secret and environment, and this machine's clock.",
        )
    return VenueRejected(
        f"Bybit's stream refused a subscription: {words}",
        code="10001",
        next_step="Check the symbols: one that is not listed refuses them all.",
    )
