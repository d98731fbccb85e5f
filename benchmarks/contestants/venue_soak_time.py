"""Virtual time for the client of a soak, and the patience that goes with it.

At 60 times the speed of the wall, the 20 ms for which a busy machine keeps a task waiting are more
than a second. So what the adapters allow for latency is stretched; what they do is not.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from perpdesk.domain.streams import StreamKind
from perpdesk.venues.binance import candle_track, user_stream
from perpdesk.venues.binance import rest as binance_rest
from perpdesk.venues.binance import trading as binance_trading
from perpdesk.venues.binance.names import Recent
from perpdesk.venues.bybit import (
    account_order,
    account_stream,
    market_stream,
    sockets,
    stream,
    transport,
)
from perpdesk.venues.bybit import rest as bybit_rest
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.pipe import PipeSettings

PIPES: Final = PipeSettings(silence_s=60.0, resync_s=900.0)
LONGEST_WINDOW_MS: Final = 60_000
"""The longest that Binance accepts."""
_CLIENT: Final = binance_rest._Client


class VirtualTime:
    """Implements `LocalTime`: this machine's clocks, `speed` times as fast."""

    def __init__(self, speed: float, start_ms: int) -> None:
        self.speed = speed
        self._start_ms = start_ms
        self._began = time.monotonic()

    def now_ms(self) -> int:
        """Return virtual time, UTC."""
        return self._start_ms + int(self.monotonic_ms())

    def monotonic_ms(self) -> float:
        """Return a time that never steps."""
        return (time.monotonic() - self._began) * 1000 * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds / self.speed)


_PATIENCE: Final[tuple[tuple[Any, str, Any], ...]] = (
    (binance_rest, "RECV_WINDOW_MS", LONGEST_WINDOW_MS),
    (_CLIENT, "REQUEST_RECVWINDOW", LONGEST_WINDOW_MS),
    (binance_trading, "RECV_WINDOW_MS", LONGEST_WINDOW_MS),
    (bybit_rest, "RECV_WINDOW_MS", LONGEST_WINDOW_MS),
    (transport, "RECV_WINDOW_MS", LONGEST_WINDOW_MS),
    (VenueClock, "CAUTION_MS", 10_000),
    (candle_track, "GRACE_MS", 30_000),
    (market_stream, "CLOSE_GRACE_MS", 30_000),
    (
        market_stream,
        "STALE_S",
        {StreamKind.MARK: 60.0, StreamKind.QUOTES: 180.0, StreamKind.CANDLES: 180.0},
    ),
    (user_stream, "FILL_GRACE_S", 30.0),
    (user_stream, "SECOND_LOOK_S", 30.0),
    (account_stream, "FILLS_WITHIN_S", 30.0),
    (account_stream, "LAG_MS", 60_000),
    (sockets, "AUTH_VALID_MS", 120_000),
    # What is bounded by number is made small, to be full early: what grows then is a leak.
    (Recent.__init__, "__defaults__", (2_000,)),
    (account_order, "KEPT", 2_000),
    (market_stream, "TRADES_KEPT", 500),
    # Timers of pybit's own run by the wall.
    (sockets, "PING_S", 2),
    (sockets, "PONG_WITHIN_S", 1.5),
    (stream, "ACCOUNT_SILENCE_S", 360.0),
)


@contextmanager
def patience() -> Iterator[None]:
    """Stretch what the adapters allow for latency, until the block ends."""
    before = [(where, name, getattr(where, name)) for where, name, _ in _PATIENCE]
    for where, name, value in _PATIENCE:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
