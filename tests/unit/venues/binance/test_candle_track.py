from collections.abc import Coroutine
from typing import Any

import numpy as np
from tests.unit.venues.virtual_time import VirtualTime

from perpdesk.domain.candles import MINUTE_MS, Candles, DataKind, Timeframe, Venue
from perpdesk.domain.streams import CandleUpdated
from perpdesk.venues.binance.candle_track import GRACE_MS, CandleTrack
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.rate_limit import Lane

MINUTE = Timeframe.parse("1m")
NOON = 1_790_000_040_000 // MINUTE_MS * MINUTE_MS


class Minutes:
    """A history that has every minute, and says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    async def candles(
        self,
        symbol: str,
        timeframe: Timeframe,
        kind: DataKind,
        start_ms: int,
        end_ms: int,
        *,
        lane: Lane = Lane.HISTORY,
    ) -> Candles:
        self.asked.append((start_ms, end_ms))
        ts_ms = np.arange(start_ms, end_ms, MINUTE_MS, dtype=np.int64)
        price = np.full(len(ts_ms), 100.0)
        return Candles(
            venue=Venue.BINANCE,
            symbol=symbol,
            timeframe=timeframe,
            ts_ms=ts_ms,
            open=price,
            high=price,
            low=price,
            close=price,
            volume=price,
        )


class Track:
    def __init__(self) -> None:
        self.history = Minutes()
        self.told: list[CandleUpdated] = []
        self.begun: list[Coroutine[Any, Any, None]] = []
        self.candles = CandleTrack(
            "BTCUSDT",
            MINUTE,
            history=self.history,  # type: ignore[arg-type]
            clock=VenueClock(VirtualTime()),
            put=self.told.append,
            start=self.begun.append,
        )

    async def settle(self) -> None:
        while self.begun:
            await self.begun.pop(0)

    @property
    def closed(self) -> list[int]:
        return [(one.ts_ms - NOON) // MINUTE_MS for one in self.told if one.is_closed]


async def test_a_candle_that_closed_just_now_is_not_taken_from_rest_at_a_reconnect() -> None:
    track = Track()
    await track.candles.resync(NOON + 1_000)
    # Our idea of the venue's time may be a little ahead: minute 1 may still be open there.
    await track.candles.resync(NOON + 2 * MINUTE_MS + 200)
    assert track.closed == [0]
    track.candles.check(NOON + 2 * MINUTE_MS + GRACE_MS)
    await track.settle()
    assert track.closed == [0, 1]


async def test_a_candle_asked_for_late_does_not_bring_one_that_closed_just_now() -> None:
    track = Track()
    await track.candles.resync(NOON + 1_000)
    track.candles.check(NOON + 2 * MINUTE_MS + 200)
    await track.settle()
    assert track.closed == [0]
