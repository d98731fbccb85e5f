"""One websocket of the SDK, used until anything is odd about it.

BinanceSocketManager ends its read loop when 100 messages wait, reconnects without a resync, and can
hang when it is closed (reference/exchanges.md 7.1, 7.5). So the queue is large and drained at once,
its reconnect is off, and the connection is closed before its reader is asked to stop.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from perpdesk.domain.errors import VenueUnavailable
from perpdesk.venues.binance.sdk import (
    AsyncClient,
    BinanceSocketManager,
    FuturesType,
    WSListenerState,
)

QUEUE_LIMIT: Final = 20_000
GOODBYE_S: Final = 1.0
CLOSE_TURNS: Final = 200
CLOSE_PAUSE_S: Final = 0.005


class SdkSocket:
    """Implements `venues.pipe.Socket`."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def receive(self) -> Any:
        """Return the next message. Raises VenueUnavailable where the SDK reports an error."""
        # Its own recv() wakes a timer for every message, and loses what waits when the reader ends.
        message = await self._socket._queue.get()
        if isinstance(message, dict) and message.get("e") == "error":
            raise VenueUnavailable(f"{message.get('type')}: {message.get('m')}")
        return message


@asynccontextmanager
async def market_socket(
    client: AsyncClient, address: str, *, route: str, streams: Sequence[str]
) -> AsyncIterator[SdkSocket]:
    """Open a combined stream on one of the routes, which tells {"stream": …, "data": …}."""
    manager = _manager(client, address)
    socket = manager.futures_multiplex_socket(list(streams), category=route)
    async with _opened(socket) as opened:
        yield opened


@asynccontextmanager
async def user_socket(
    client: AsyncClient, address: str, *, listen_key: str
) -> AsyncIterator[SdkSocket]:
    """Open the account's stream. The life of the listen key is ours, not the SDK's."""
    socket = _manager(client, address)._get_futures_socket(
        f"?listenKey={listen_key}", FuturesType.USD_M, prefix="ws", category="private"
    )
    async with _opened(socket) as opened:
        yield opened


def _manager(client: AsyncClient, address: str) -> Any:
    # A manager keeps one socket a path; a fresh one lets an old and a new connection overlap.
    manager = BinanceSocketManager(client, max_queue_size=QUEUE_LIMIT)
    manager.FSTREAM_URL = address + "/"
    return manager


@asynccontextmanager
async def _opened(socket: Any) -> AsyncIterator[SdkSocket]:
    socket.MAX_RECONNECTS = 0
    try:
        await socket.connect()
        yield SdkSocket(socket)
    finally:
        await _close(socket)


async def _close(socket: Any) -> None:
    """Say goodbye, and hang up whether it is answered or not, also where we are cancelled."""
    socket.ws_state = WSListenerState.EXITING
    connection = socket.ws
    try:
        if connection is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.close(), GOODBYE_S)
    finally:
        if connection is not None:
            connection.transport.abort()
    for _ in range(CLOSE_TURNS):
        if not socket._handle_read_loop:
            await socket.close()
            return
        await asyncio.sleep(CLOSE_PAUSE_S)
