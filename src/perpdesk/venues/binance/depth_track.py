"""One order book, kept in step: snapshot by REST, differences by stream, anew after a gap."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from perpdesk.domain.errors import VenueRejected, VenueUnavailable
from perpdesk.domain.streams import DepthChanged, StreamEvent, StreamLost, StreamRestored
from perpdesk.venues.binance.rest import BinanceRest, understand
from perpdesk.venues.binance.wire_market import DepthDifference, depth_snapshot
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.order_book import BinanceBook, BookGap
from perpdesk.venues.rate_limit import Lane

SNAPSHOT_LEVELS: Final = 1000
SNAPSHOT_WEIGHT: Final = 20
RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 60.0


class DepthTrack:
    """Follows the book of one symbol."""

    def __init__(
        self,
        symbol: str,
        levels: int,
        *,
        rest: BinanceRest,
        clock: VenueClock,
        put: Callable[[StreamEvent], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.symbol = symbol
        self.levels = levels
        self.gaps = 0
        self._rest = rest
        self._clock = clock
        self._put = put
        self._start = start
        self._book = BinanceBook()
        self._mending = False

    @property
    def stream(self) -> str:
        """Return the name under which a gap is told."""
        return f"binance/{self.symbol}@depth"

    async def resync(self) -> None:
        """Begin anew with a snapshot; differences that are waiting follow it."""
        self._book = BinanceBook()
        try:
            await self._take_snapshot()
        except BookGap:
            # An older connection still speaks, and was ahead of the snapshot.
            self._mend("the snapshot was older than the stream")

    def take(self, found: DepthDifference) -> None:
        """Take a difference, and tell the book as it stands."""
        before = self._book.update_id
        try:
            in_step = self._book.difference(
                found.first, found.last, found.previous, found.bids, found.asks
            )
        except BookGap as gap:
            self._mend(str(gap))
            return
        if in_step and self._book.update_id != before:
            self._tell(found.ts_event_ms)

    def _tell(self, ts_event_ms: int) -> None:
        bids, asks = self._book.top(self.levels)
        self._put(
            DepthChanged(
                symbol=self.symbol,
                bids=bids,
                asks=asks,
                update_id=self._book.update_id,
                ts_event_ms=ts_event_ms,
                ts_init_ms=self._clock.now_ms(),
            )
        )

    def _mend(self, reason: str) -> None:
        if self._mending:
            return
        self._mending = True
        self.gaps += 1
        now_ms = self._clock.now_ms()
        self._put(StreamLost(stream=self.stream, reason=reason, ts_init_ms=now_ms))
        self._start(self._rebuild())

    async def _rebuild(self) -> None:
        wait_s = RETRY_S
        while True:
            try:
                await self._take_snapshot()
                break
            except (BookGap, VenueUnavailable, VenueRejected):
                await self._clock.local.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_RETRY_S)
        self._mending = False
        self._put(StreamRestored(stream=self.stream, ts_init_ms=self._clock.now_ms()))

    async def _take_snapshot(self) -> None:
        answer = await self._rest.get(
            "depth",
            {"symbol": self.symbol, "limit": str(SNAPSHOT_LEVELS)},
            weight=SNAPSHOT_WEIGHT,
            lane=Lane.QUERY,
        )
        found = understand(depth_snapshot, answer, what="depth", changes=False)
        self._book.snapshot(found.last_update_id, found.bids, found.asks)
        self._tell(found.ts_event_ms)
