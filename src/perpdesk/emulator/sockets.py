"""A client's WebSocket: messages in order, and what may go wrong with them on purpose."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import web

from perpdesk.domain.candles import Venue
from perpdesk.emulator.faults import FaultKind, Faults

MOST_WAITING: Final = 50_000
"""A client that reads so slowly is cut, as a venue would."""


class ClientSocket:
    """One connection. `send` never waits; a task of the socket's own writes.

    topic: the stream's name, which faults are aimed at. closed: called once, however it ends.
    """

    def __init__(
        self, ws: web.WebSocketResponse, request: web.Request, venue: Venue, faults: Faults
    ) -> None:
        self.ws = ws
        self.venue = venue
        self.faults = faults
        self.topics: set[str] = set()
        self.on_close: list[Callable[[], None]] = []
        self._transport = request.transport
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()
        self._held: str | None = None
        self._silent_until_ms = 0
        self._writer = asyncio.create_task(self._write())

    def send(self, topic: str, text: str) -> None:
        """Send a message of a stream, unless a fault has other plans for it."""
        faults = self.faults
        if faults.armed:
            if (silent := faults.take(FaultKind.SILENT, self.venue, topic)) is not None:
                self._silent_until_ms = faults.now_ms + int(silent.value * 1000)
            if faults.now_ms < self._silent_until_ms:
                return
            if faults.take(FaultKind.CLOSE, self.venue, topic) is not None:
                self.abort()
                return
            if self._held is None and faults.take(FaultKind.REORDER, self.venue, topic):
                self._held = text
                return
        self._put(text)
        if self._held is not None:
            self._put(self._held)
            self._held = None
        if faults.armed and faults.take(FaultKind.DUPLICATE, self.venue, topic) is not None:
            self._put(text)

    def reply(self, text: str) -> None:
        """Answer a request of the client: an acknowledgement, a pong."""
        self._put(text)

    def abort(self) -> None:
        """Cut the connection without a goodbye."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    async def close(self) -> None:
        """Stop writing, and tell who wants to know."""
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        for tell in self.on_close:
            tell()
        self.on_close.clear()

    def _put(self, text: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.abort()
            return
        self._waiting.append(text)
        self._wake.set()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                late = self.faults.take(FaultKind.DELAY, self.venue, "stream")
                if late is not None:
                    await asyncio.sleep(late.value / 1000)
                while self._waiting:
                    await self.ws.send_str(self._waiting.popleft())
