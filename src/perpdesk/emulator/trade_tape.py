"""The trades of a tape, minute by minute: recorded where there are some, else made to fit.

Made trades lead through open, nearer extreme, other extreme and close of their minute and share its
volume, so that they add up to its candle. A minute with recorded trades is what those make it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np

from perpdesk.domain.candles import MINUTE_MS, Times
from perpdesk.domain.numbers import decimal_of, floor_to_step, round_to_tick
from perpdesk.domain.order import Side
from perpdesk.emulator.tape import Tape

MOST_MADE: Final = 12
_KNOTS: Final = (0, 3, 7, MOST_MADE - 1)


@dataclass(frozen=True, slots=True)
class MarketTrade:
    """A public trade. trade_id: one more than that of the trade before it."""

    trade_id: int
    ts_ms: int
    price: Decimal
    quantity: Decimal
    taker_side: Side


class TradeTape:
    """Trades by minute. counts: (n_minutes,) int64, how many each minute of the tape has."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.minutes: Times = tape.candles.ts_ms
        self.counts = self._made_counts()
        self._recorded_from = np.zeros(len(self.minutes), np.int64)
        if tape.trades is not None:
            first = np.searchsorted(tape.trades.ts_ms, self.minutes)
            after = np.searchsorted(tape.trades.ts_ms, self.minutes + MINUTE_MS)
            self.counts = np.where(after > first, after - first, self.counts)
            self._recorded_from = np.where(after > first, first, -1)
        else:
            self._recorded_from -= 1
        self._first_ids = np.concatenate(([1], 1 + np.cumsum(self.counts)))
        self._kept: tuple[int, list[MarketTrade]] = (-1, [])

    def _made_counts(self) -> Times:
        """Return how many trades share a minute's volume: no trade is smaller than a step."""
        candles = self._tape.candles
        steps = np.floor(candles.volume / float(self._tape.instrument.step_size) + 1e-9)
        counts = np.where(steps >= MOST_MADE, MOST_MADE, np.where(steps >= len(_KNOTS), 4, 1))
        return np.where(candles.volume > 0, counts, 0).astype(np.int64)

    def index_of(self, ts_ms: int) -> int:
        """Return the minute that holds a time, or the one before it in a gap; -1 before all."""
        return int(np.searchsorted(self.minutes, ts_ms, side="right")) - 1

    def between(self, start_ms: int, end_ms: int) -> Iterator[MarketTrade]:
        """Yield trades with start_ms <= time < end_ms."""
        for index in range(max(0, self.index_of(start_ms)), len(self.minutes)):
            if int(self.minutes[index]) >= end_ms:
                return
            for trade in self.minute(index):
                if trade.ts_ms >= end_ms:
                    break
                if trade.ts_ms >= start_ms:
                    yield trade

    def beginning_with(self, trade_id: int, until_ms: int) -> Iterator[MarketTrade]:
        """Yield trades from an id on that lie before `until_ms`."""
        place = int(np.searchsorted(self._first_ids, trade_id, side="right")) - 1
        for index in range(max(0, place), len(self.minutes)):
            for trade in self.minute(index):
                if trade.ts_ms >= until_ms:
                    return
                if trade.trade_id >= trade_id:
                    yield trade

    def next_id(self, ts_ms: int) -> int:
        """Return the id of the first trade at or after a time."""
        index = self.index_of(ts_ms)
        if index < 0:
            return 1
        passed = sum(trade.ts_ms < ts_ms for trade in self.minute(index))
        return int(self._first_ids[index]) + passed

    def minute(self, index: int) -> list[MarketTrade]:
        """Return the trades of one minute; the latest minute asked for is remembered."""
        if self._kept[0] != index:
            recorded = self._recorded_from[index] >= 0
            found = self._recorded(index) if recorded else self._made(index)
            self._kept = (index, list(found))
        return self._kept[1]

    def _recorded(self, index: int) -> Iterator[MarketTrade]:
        trades = self._tape.trades
        assert trades is not None
        first_id, first = int(self._first_ids[index]), int(self._recorded_from[index])
        for place in range(int(self.counts[index])):
            row = first + place
            yield MarketTrade(
                trade_id=first_id + place,
                ts_ms=int(trades.ts_ms[row]),
                price=decimal_of(float(trades.price[row])),
                quantity=decimal_of(float(trades.quantity[row])),
                taker_side=Side.SELL if trades.is_buyer_maker[row] else Side.BUY,
            )

    def _made(self, index: int) -> Iterator[MarketTrade]:
        count, candles = int(self.counts[index]), self._tape.candles
        if not count:
            return
        volume = decimal_of(float(candles.volume[index]))
        prices = self._prices(index, count)
        share = floor_to_step(volume / count, self._tape.instrument.step_size) if count > 1 else 0
        before = prices[0]
        spacing = MINUTE_MS // MOST_MADE
        places = range(MOST_MADE) if count == MOST_MADE else _KNOTS[:count]
        for number, (place, price) in enumerate(zip(places, prices, strict=True)):
            is_last = number == count - 1
            yield MarketTrade(
                trade_id=int(self._first_ids[index]) + number,
                ts_ms=int(self.minutes[index])
                + place * spacing
                + (spacing - 1 if is_last and count > 1 else 0),
                price=price,
                quantity=volume - share * (count - 1) if is_last else Decimal(share),
                taker_side=Side.BUY if price >= before else Side.SELL,
            )
            before = price

    def _prices(self, index: int, count: int) -> list[Decimal]:
        candles = self._tape.candles
        opens, close = float(candles.open[index]), float(candles.close[index])
        extremes = [float(candles.low[index]), float(candles.high[index])]
        if close < opens:
            extremes.reverse()
        knots = [decimal_of(each) for each in (opens, *extremes, close)]
        if count < MOST_MADE:
            return knots[:count]
        return [self._between(knots, number) for number in range(MOST_MADE)]

    def _between(self, knots: list[Decimal], number: int) -> Decimal:
        if number in _KNOTS:
            return knots[_KNOTS.index(number)]
        after = next(place for place, knot in enumerate(_KNOTS) if knot > number)
        start, end = _KNOTS[after - 1], _KNOTS[after]
        low, high = knots[after - 1], knots[after]
        price = low + (high - low) * (number - start) / (end - start)
        price = round_to_tick(price, self._tape.instrument.tick_size)
        return min(max(price, min(low, high)), max(low, high))
