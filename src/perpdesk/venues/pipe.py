"""A socket that heals itself: watchdog, planned rotation, rebuild on any error, resync.

    connect ─▶ buffer messages ─▶ resync by REST ─▶ release the buffer ─▶ deliver …
       ▲                                                                    │ silence, error, age
       └──────────────────── back off, StreamLost ◀────────────────────────┘

Neither SDK's own reconnect is relied on (reference/exchanges.md 7.1, 7.2): a connection is used
until anything is odd about it, then thrown away whole. At a planned rotation the new connection is
made and resynced while the old one still speaks, so messages may come twice: `deliver` must not
mind (fills by trade id, books by update id).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from perpdesk.domain.errors import VenueRejected
from perpdesk.venues.clock import LocalTime

CLOSE_S: Final = 5.0
"""How long a connection may take to close before it is left to itself."""


class Socket(Protocol):
    """One live connection of an SDK, subscribed already."""

    async def receive(self) -> Any:
        """Return the next message. Raises whatever the connection dies of."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeSettings:
    """When a connection is given up, and how soon the next one is tried.

    silence_s: without any message for so long the connection is taken for dead. lifetime_s: it
    is replaced, with overlap, at this age. resync_s: how long connecting and resync may take.
    backoff_s: first wait after a failure; it doubles up to backoff_max_s. jitter: gives 0 to 1, and
    so a wait of half to all of that.
    """

    silence_s: float = 15.0
    lifetime_s: float = 23 * 3600.0
    resync_s: float = 120.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)


class _Connection:
    """One connection from its opening to its end.

    opened, live, broken: set once. buffer: what came before the release, None after it.
    """

    def __init__(self, now: float) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.live: asyncio.Future[None] = loop.create_future()
        self.broken: asyncio.Future[None] = loop.create_future()
        self.buffer: list[Any] | None = []
        self.started = self.heard = self.rotate_from = now
        self.reason = ""
        self.rejection: VenueRejected | None = None
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def is_broken(self) -> bool:
        return self.broken.done()

    def fail(self, reason: str, rejection: VenueRejected | None = None) -> None:
        """Note why the connection is of no more use; the first reason counts."""
        if not self.broken.done():
            self.reason, self.rejection = reason, rejection
            self.broken.set_result(None)

    def fail_by(self, error: Exception) -> None:
        """Note the error that the connection died of."""
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self.fail(words, error if isinstance(error, VenueRejected) else None)


class Pipe:
    """Runs one connection after another until cancelled.

    name: of the stream, for StreamLost and StreamRestored. connect: opens a subscribed socket.
    resync: called after each connect while messages are buffered; delivers what was missed through
    the same feed. deliver: takes each message, in order; an exception of it counts as a broken
    connection. lost, restored: told of the state; `lost` once per outage, `restored` after the
    resync and the buffered messages that end it (so not after an undisturbed start).
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], AbstractAsyncContextManager[Socket]],
        resync: Callable[[], Awaitable[None]],
        deliver: Callable[[Any], None],
        lost: Callable[[str], None],
        restored: Callable[[], None],
        local: LocalTime,
        settings: PipeSettings | None = None,
    ) -> None:
        self.name = name
        self._connect = connect
        self._resync = resync
        self._deliver = deliver
        self._lost = lost
        self._restored = restored
        self._local = local
        self._settings = settings or PipeSettings()
        self._connections: list[_Connection] = []
        self._speaker: _Connection | None = None
        self._is_lost = False
        self._went_live = 0
        self._failures = 0

    async def run(self) -> None:
        """Run until cancelled; raises only VenueRejected (a key or stream that is simply wrong)."""
        try:
            while True:
                broken = await self._use(self._start())
                self._say_lost(broken.reason)
                await self._retire(broken)
                if broken.rejection is not None:
                    raise broken.rejection
                await self._local.sleep(self._next_wait_s(broken))
        finally:
            for connection in list(self._connections):
                await self._retire(connection)

    def rebuild(self, reason: str) -> None:
        """Throw the connection away and start anew: a sequence gap, an expired listen key.

        It may be called from `deliver`; nothing more of the old connection is delivered then.
        """
        for connection in self._connections:
            connection.fail(reason)

    @property
    def rebuilt(self) -> int:
        """Return how often the connection was made anew."""
        return max(0, self._went_live - 1)

    # The succession.

    async def _use(self, current: _Connection) -> _Connection:
        """Return the connection that broke, after any number of planned rotations."""
        while True:
            await self._until_due(current)
            if current.is_broken:
                return current
            current = await self._rotate(current)

    async def _until_due(self, current: _Connection) -> None:
        """Wait until the connection breaks or has reached its age."""
        left_s = (current.rotate_from - self._local.monotonic_ms()) / 1000
        await self._until(current.broken, max(0.0, left_s))

    async def _rotate(self, current: _Connection) -> _Connection:
        """Put a fresh connection in the place of an aged one; return the one to go on with."""
        successor = self._start()
        await asyncio.wait(
            {successor.live, successor.broken, current.broken},
            return_when=asyncio.FIRST_COMPLETED,
        )
        if successor.is_broken and not current.is_broken:
            await self._retire(successor)
            if successor.rejection is not None:
                current.fail(successor.reason, successor.rejection)
            wait_s = self._next_wait_s(successor)
            current.rotate_from = self._local.monotonic_ms() + wait_s * 1000
            return current
        if not successor.live.done():
            self._say_lost(current.reason)
        await self._retire(current)
        return successor

    def _start(self) -> _Connection:
        now = self._local.monotonic_ms()
        connection = _Connection(now)
        connection.rotate_from = now + self._settings.lifetime_s * 1000
        connection.tasks = [
            asyncio.ensure_future(self._read(connection)),
            asyncio.ensure_future(self._prepare(connection)),
            asyncio.ensure_future(self._watch(connection)),
        ]
        self._connections.append(connection)
        return connection

    async def _retire(self, connection: _Connection) -> None:
        """Close a connection. One that does not close in time must not hold up its successor."""
        connection.fail("it was replaced")
        if self._speaker is connection:
            self._speaker = None
        for task in connection.tasks:
            task.cancel()
        await asyncio.wait(connection.tasks, timeout=CLOSE_S)
        if connection in self._connections:
            self._connections.remove(connection)

    def _say_lost(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._lost(reason)

    def _next_wait_s(self, broken: _Connection) -> float:
        """Return how long to wait: from the start again after a connection that held."""
        settings = self._settings
        held_ms = self._local.monotonic_ms() - broken.started
        if broken.live.done() and held_ms >= settings.backoff_max_s * 1000:
            self._failures = 0
        wait_s = min(settings.backoff_max_s, settings.backoff_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait_s * (0.5 + 0.5 * settings.jitter())

    async def _until(self, event: asyncio.Future[None], seconds: float) -> None:
        """Wait for something that has not happened yet, at most so long."""
        timer = asyncio.ensure_future(self._local.sleep(seconds))
        waited_for = {timer} if event.done() else {timer, event}
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    # One connection.

    async def _read(self, connection: _Connection) -> None:
        """Open the socket and take what it says until the connection is of no more use."""
        try:
            async with self._connect() as socket:
                connection.heard = self._local.monotonic_ms()
                connection.opened.set_result(None)
                await self._take_all(connection, socket)
        except asyncio.CancelledError:
            # An SDK may die by cancelling its own task, and the error then looks like ours.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            connection.fail("the connection was canceled from within")
        except Exception as error:
            connection.fail_by(error)

    async def _take_all(self, connection: _Connection, socket: Socket) -> None:
        """Receive until broken. The reason is noted before the socket closes, which may take."""
        try:
            while not connection.is_broken:
                message = await socket.receive()
                connection.heard = self._local.monotonic_ms()
                self._take(connection, message)
        except Exception as error:
            connection.fail_by(error)

    def _take(self, connection: _Connection, message: Any) -> None:
        if connection.buffer is not None:
            connection.buffer.append(message)
        elif connection is self._speaker and not connection.is_broken:
            self._deliver(message)

    async def _prepare(self, connection: _Connection) -> None:
        """Resync, then let the connection speak."""
        await connection.opened
        try:
            await self._resync()
            if not connection.is_broken:
                self._release(connection)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            connection.fail("the resync was canceled from within")
        except Exception as error:
            connection.fail_by(error)

    def _release(self, connection: _Connection) -> None:
        """Deliver what was buffered, without a pause in which another could speak."""
        before, self._speaker = self._speaker, connection
        waiting, connection.buffer = connection.buffer or [], None
        try:
            for message in waiting:
                self._take(connection, message)
        except Exception:
            self._speaker = before  # An older connection that still works goes on.
            raise
        if connection.is_broken:
            self._speaker = before
            return
        if self._is_lost:
            self._is_lost = False
            self._restored()
        self._went_live += 1
        connection.live.set_result(None)

    async def _watch(self, connection: _Connection) -> None:
        """Break the connection when it has been silent, or not ready, for too long."""
        settings = self._settings
        ready_by = connection.started + settings.resync_s * 1000
        while not connection.is_broken:
            silent_at = connection.heard + settings.silence_s * 1000
            due = silent_at if connection.live.done() else min(silent_at, ready_by)
            if not connection.opened.done():
                due = ready_by
            now = self._local.monotonic_ms()
            if now < due:
                await self._until(connection.opened, (due - now) / 1000)
            elif due < silent_at or not connection.opened.done():
                connection.fail(f"not connected and resynced within {settings.resync_s:g} s")
            else:
                connection.fail(f"silent for {settings.silence_s:g} s")
