"""One line of candles, whole: each is closed once, in order, and nothing newer overtakes it. Pure.

The venue's closing message may come late (up to 24 s were measured) or never. So a candle that
should be closed by the clock, and is not, is asked for by REST, and what is newer waits meanwhile.
"""

from perpdesk.domain.candles import Candles, Timeframe
from perpdesk.domain.streams import CandleUpdated


class CandleLine:
    """The candles of one symbol and timeframe.

    next_ms: open time of the candle that is to be closed next.
    """

    def __init__(self, symbol: str, timeframe: Timeframe, *, now_ms: int) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.next_ms = timeframe.floor(now_ms)
        self._waiting: dict[int, CandleUpdated] = {}

    def take(self, update: CandleUpdated) -> list[CandleUpdated]:
        """Return what may be delivered now that a message came."""
        if update.ts_ms < self.next_ms:
            return []
        before = self._waiting.get(update.ts_ms)
        if before is not None and before.is_closed:
            return []
        self._waiting[update.ts_ms] = update
        return self._release()

    def fill(self, found: Candles, *, asked_until_ms: int, ts_init_ms: int) -> list[CandleUpdated]:
        """Return what may be delivered now that REST answered.

        found: closed candles from `next_ms` on. Where a later candle is there and an earlier one is
        not, the venue has none: the gap stays one. asked_until_ms: what was asked for ended here.
        """
        delivered: list[CandleUpdated] = []
        for row, ts_ms in enumerate(int(ts) for ts in found.ts_ms):
            if self.next_ms <= ts_ms < asked_until_ms:
                self.next_ms = ts_ms
                self._waiting[ts_ms] = _closed(found, row, ts_ms, ts_init_ms)
                delivered += self._release()
        return delivered

    def overdue(self, now_ms: int, *, grace_ms: int) -> bool:
        """Tell whether a candle should have been closed by now."""
        return now_ms >= self.timeframe.close_ms(self.next_ms) + grace_ms

    def _release(self) -> list[CandleUpdated]:
        """Return the run of candles that begins with the next one, and forget what is older."""
        delivered: list[CandleUpdated] = []
        while (found := self._waiting.pop(self.next_ms, None)) is not None:
            delivered.append(found)
            if not found.is_closed:
                break
            self.next_ms = self.timeframe.close_ms(self.next_ms)
        for ts_ms in [one for one in self._waiting if one < self.next_ms]:
            del self._waiting[ts_ms]
        return delivered


def _closed(found: Candles, row: int, ts_ms: int, ts_init_ms: int) -> CandleUpdated:
    return CandleUpdated(
        symbol=found.symbol,
        timeframe=found.timeframe,
        ts_ms=ts_ms,
        open=float(found.open[row]),
        high=float(found.high[row]),
        low=float(found.low[row]),
        close=float(found.close[row]),
        volume=float(found.volume[row]),
        is_closed=True,
        ts_event_ms=found.timeframe.close_ms(ts_ms),
        ts_init_ms=ts_init_ms,
    )
