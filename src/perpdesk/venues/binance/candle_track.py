"""One candle stream, made whole: every candle is closed exactly once, in order, none left out.

A message that closes a candle may come late or never, and a reconnect may miss whole candles. So a
newer candle waits until the ones before it have been fetched by REST, and a candle that should have
closed by the clock is asked for. Source: reference/exchanges.md 8, rows 9 to 11.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from perpdesk.domain.candles import Candles, DataKind, Timeframe
from perpdesk.domain.errors import VenueRejected, VenueUnavailable
from perpdesk.domain.streams import CandleUpdated
from perpdesk.venues.binance.history import BinanceHistory
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.rate_limit import Lane

GRACE_MS: Final = 3_000
RETRY_S: Final = 1.0
LONGEST_RETRY_MS: Final = 60_000
TRIES_FOR_A_HOLE: Final = 5
"""So often REST must say that a candle does not exist before a newer one may pass."""


class CandleTrack:
    """Follows the candles of one symbol and timeframe."""

    def __init__(
        self,
        symbol: str,
        timeframe: Timeframe,
        *,
        history: BinanceHistory,
        clock: VenueClock,
        put: Callable[[CandleUpdated], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self._history = history
        self._clock = clock
        self._put = put
        self._start = start
        self._next_ms: int | None = None
        self._held: list[CandleUpdated] | None = None
        self._ask_again_ms = 0
        self._wait_ms = GRACE_MS

    async def resync(self, now_ms: int) -> None:
        """Deliver what closed since the last closed candle; a first time begins with the present.

        now_ms: the venue's, as far as we know it.
        """
        if self._next_ms is None:
            self._next_ms = self.timeframe.floor(now_ms)
        else:
            await self._deliver_missed(self._surely_open_ms(now_ms))

    def take(self, update: CandleUpdated) -> None:
        """Take a message: deliver it, drop it, or hold it until what came before is there."""
        if self._held is not None:
            self._held.append(update)
            return
        if self._next_ms is None:
            self._next_ms = update.ts_ms
        if update.ts_ms < self._next_ms:
            return  # It was closed already.
        if update.ts_ms > self._next_ms:
            self._held = [update]
            self._start(self._fetch_before(update.ts_ms))
            return
        self._deliver(update)

    def check(self, now_ms: int) -> None:
        """Ask for a candle whose end has passed by more than the grace without being closed."""
        if self._next_ms is None or self._held is not None:
            return
        due_ms = self.timeframe.close_ms(self._next_ms) + GRACE_MS
        if now_ms < max(due_ms, self._ask_again_ms):
            return
        self._held = []
        self._start(self._close_by_clock(now_ms))

    def _deliver(self, update: CandleUpdated) -> None:
        if update.is_closed:
            self._next_ms = self.timeframe.close_ms(update.ts_ms)
            self._wait_ms = GRACE_MS
        self._put(update)

    async def _fetch_before(self, newer_ms: int) -> None:
        """Deliver the candles before one that came too early, then let it pass."""
        tries = 0
        while self._next_ms is not None and self._next_ms < newer_ms:
            with suppress(VenueUnavailable, VenueRejected):
                await self._deliver_missed(newer_ms)
                tries += 1
            if self._next_ms < newer_ms:
                if tries >= TRIES_FOR_A_HOLE:
                    # The venue itself has no such candles: a gap, which is never invented away.
                    self._next_ms = newer_ms
                    break
                await self._clock.local.sleep(RETRY_S)
        self._release()

    async def _close_by_clock(self, now_ms: int) -> None:
        before = self._next_ms
        with suppress(VenueUnavailable, VenueRejected):
            await self._deliver_missed(self._surely_open_ms(now_ms))
        if self._next_ms == before:
            self._ask_again_ms = now_ms + self._wait_ms
            self._wait_ms = min(2 * self._wait_ms, LONGEST_RETRY_MS)
        self._release()

    def _surely_open_ms(self, now_ms: int) -> int:
        """Return where the first candle opens that may not be closed yet.

        REST gives an open candle as it gives a closed one, and our idea of the venue's time may be
        ahead of it: what closed within the grace is left to the stream, or to the next look.
        """
        return self.timeframe.floor(now_ms - GRACE_MS)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for update in held:
            self.take(update)

    async def _deliver_missed(self, until_ms: int) -> None:
        """Deliver the closed candles that REST has from the next expected one on.

        until_ms: where the candle opens that is not closed yet.
        """
        assert self._next_ms is not None
        if until_ms <= self._next_ms:
            return
        found = await self._history.candles(
            self.symbol, self.timeframe, DataKind.CANDLES, self._next_ms, until_ms, lane=Lane.QUERY
        )
        for row in range(len(found)):
            # While REST answered, the stream of a connection that still lived may have gone on.
            if int(found.ts_ms[row]) >= self._next_ms:
                self._deliver(self._closed(found, row))

    def _closed(self, found: Candles, row: int) -> CandleUpdated:
        opened_ms = int(found.ts_ms[row])
        return CandleUpdated(
            symbol=self.symbol,
            timeframe=self.timeframe,
            ts_ms=opened_ms,
            open=float(found.open[row]),
            high=float(found.high[row]),
            low=float(found.low[row]),
            close=float(found.close[row]),
            volume=float(found.volume[row]),
            is_closed=True,
            ts_event_ms=self.timeframe.close_ms(opened_ms),
            ts_init_ms=self._clock.now_ms(),
        )
