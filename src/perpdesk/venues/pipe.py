"""A socket that heals itself: watchdog, planned rotation, rebuild on any error, resync.

    connect ─▶ buffer messages ─▶ resync by REST ─▶ release the buffer ─▶ deliver …
       ▲                                                                    │ silence, error, age
       └──────────────────── back off, StreamLost ◀────────────────────────┘

Neither SDK's own reconnect is relied on (reference/exchanges.md 7.1, 7.2): a connection is used
until anything is odd about it, then thrown away whole.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from perpdesk.venues.clock import LocalTime


class Socket(Protocol):
    """One live connection of an SDK, subscribed already."""

    async def receive(self) -> Any:
        """Return the next message. Raises whatever the connection dies of."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeSettings:
    """silence_s: without any message for so long the connection is taken for dead. lifetime_s: it
    is replaced, with overlap, at this age. backoff_s: first wait after a failure; it doubles up to
    backoff_max_s, with jitter that `jitter` (0..1 -> 0..1) gives."""

    silence_s: float = 15.0
    lifetime_s: float = 23 * 3600.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0


class Pipe:
    """Runs one connection after another until cancelled.

    name: of the stream, for StreamLost and StreamRestored. connect: opens a subscribed socket.
    resync: called after each connect while messages are buffered; delivers what was missed through
    the same feed. deliver: takes each message, in order; an exception of it counts as a broken
    connection. lost, restored: told of the state; `lost` once per outage, `restored` after resync.
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
        raise NotImplementedError

    async def run(self) -> None:
        """Run until cancelled; raises only VenueRejected (a key or stream that is simply wrong)."""
        raise NotImplementedError

    def rebuild(self, reason: str) -> None:
        """Throw the connection away and start anew: a sequence gap, an expired listen key."""
        raise NotImplementedError

    @property
    def rebuilt(self) -> int:
        """Return how often the connection was made anew."""
        raise NotImplementedError
