"""One symbol of one venue, played from its tape: trades, candles, mark, funding, open interest.

Everything is a function of the tape and the time, so REST and streams cannot disagree: the trades
of a minute add up to its candle, and a candle that is still open is what its trades so far make.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final

import numpy as np

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Candles, DataKind, Timeframe
from perpdesk.domain.events import FundingSettlement, Ohlc
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, decimal_of, floor_to_step, round_to_tick
from perpdesk.domain.order import Side
from perpdesk.emulator.book import Book
from perpdesk.emulator.tape import Tape
from perpdesk.emulator.trade_tape import MarketTrade, TradeTape

DEFAULT_RATE: Final = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Row:
    """A candle as the venues give it. trades: how many made it. is_closed: by virtual time."""

    ts_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    is_closed: bool


@dataclass(frozen=True, slots=True)
class MarketStep:
    """What a stretch of time [start_ms, end_ms) brought. last, mark: over the stretch."""

    symbol: str
    start_ms: int
    end_ms: int
    trades: tuple[MarketTrade, ...]
    last: Ohlc
    mark: Ohlc
    funding: tuple[FundingSettlement, ...]


class Market:
    """Plays a tape. Moves by `advance` alone; everything else but `change_rules` reads.

    is_open: whether the venue takes orders for it.
    """

    def __init__(self, tape: Tape, start_ms: int) -> None:
        self.tape = tape
        self.instrument = tape.instrument
        self.symbol = tape.symbol
        self.now_ms = start_ms
        self.is_open = True
        self._minutes = tape.candles.ts_ms
        self._next_funding = 0
        self._mark_range: tuple[int, int, Decimal | None, Decimal | None] = (0, 0, None, None)
        self.trades = TradeTape(tape)
        row = max(0, int(np.searchsorted(self._minutes, start_ms, side="right")) - 1)
        self.last_price = decimal_of(float(tape.candles.open[row]))
        self.book = Book(self.instrument)
        for trade in self.trades_between(start_ms - MINUTE_MS, start_ms):
            self.last_price = trade.price
        self.mark_price = self._mark(self.last_price, start_ms)
        self.book.move(self.last_price, Side.BUY, start_ms)
        if tape.funding is not None:
            self._next_funding = int(np.searchsorted(tape.funding.ts_ms, start_ms, side="right"))

    def change_rules(self, instrument: Instrument) -> None:
        """Go on under other rules; the book is laid out anew on their grid."""
        self.instrument = instrument
        self.book.change_rules(instrument)

    # Playing.

    def advance(self, end_ms: int) -> MarketStep:
        """Play up to `end_ms`, which lies ahead and in the same minute as what comes before it."""
        start_ms, first = self.now_ms, self.last_price
        trades = tuple(self.trades_between(start_ms, end_ms))
        mark_open = self.mark_price
        high = low = first
        if trades:
            prices = [first, *(trade.price for trade in trades)]
            high, low = max(prices), min(prices)
            self.last_price = prices[-1]
            self.book.move(self.last_price, trades[-1].taker_side, end_ms)
        self.mark_price = self._mark(self.last_price, end_ms - 1)
        marks = (
            mark_open,
            self._mark(high, end_ms - 1),
            self._mark(low, end_ms - 1),
            self.mark_price,
        )
        self.now_ms = end_ms
        return MarketStep(
            symbol=self.symbol,
            start_ms=start_ms,
            end_ms=end_ms,
            trades=trades,
            last=Ohlc(open=first, high=high, low=low, close=self.last_price),
            mark=Ohlc(open=mark_open, high=max(marks), low=min(marks), close=self.mark_price),
            funding=tuple(self._settlements(end_ms)),
        )

    def _settlements(self, end_ms: int) -> Iterator[FundingSettlement]:
        funding = self.tape.funding
        if funding is None:
            return
        while self._next_funding < len(funding):
            row = self._next_funding
            ts_ms = int(funding.ts_ms[row])
            if ts_ms >= end_ms:
                return
            self._next_funding += 1
            yield FundingSettlement(
                ts_ms=ts_ms,
                rate=decimal_of(float(funding.rate[row])),
                mark_price=self._funding_mark(row),
            )

    def _funding_mark(self, row: int) -> Decimal:
        assert self.tape.funding is not None
        recorded = float(self.tape.funding.mark_price[row])
        return self.mark_price if np.isnan(recorded) else decimal_of(recorded)

    def _mark(self, last: Decimal, ts_ms: int) -> Decimal:
        """Hold last price to the mark candle's range: what is known of mark between its ends."""
        start_ms, end_ms, low, high = self._mark_range
        if not start_ms <= ts_ms < end_ms:
            start_ms, end_ms, low, high = self._mark_range = self._mark_range_at(ts_ms)
        return last if low is None or high is None else min(max(last, low), high)

    def _mark_range_at(self, ts_ms: int) -> tuple[int, int, Decimal | None, Decimal | None]:
        """Return from when to when the mark stays between which prices; None: not known."""
        mark = self.tape.mark
        row = -1 if mark is None else int(np.searchsorted(mark.ts_ms, ts_ms, side="right")) - 1
        if mark is None or row < 0:
            return ts_ms, ts_ms + 1, None, None
        start_ms = int(mark.ts_ms[row])
        end_ms = start_ms + mark.timeframe.duration_ms
        if ts_ms >= end_ms:
            return ts_ms, ts_ms + 1, None, None
        return start_ms, end_ms, decimal_of(float(mark.low[row])), decimal_of(float(mark.high[row]))

    # Trades.

    def trades_between(self, start_ms: int, end_ms: int) -> Iterator[MarketTrade]:
        """Yield trades with start_ms <= time < end_ms."""
        return self.trades.between(start_ms, end_ms)

    def trades_from(self, trade_id: int, limit: int) -> list[MarketTrade]:
        """Return up to `limit` trades from an id on, as far as time has come."""
        return list(islice(self.trades.beginning_with(trade_id, self.now_ms), limit))

    def recent_trades(self, limit: int) -> list[MarketTrade]:
        """Return the latest trades, oldest first."""
        newest = self.trades.next_id(self.now_ms) - 1
        return self.trades_from(max(1, newest - limit + 1), limit)

    def trade_ids(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Return the ids of the first and the last trade in [start_ms, end_ms); equal if none."""
        first = self.trades.next_id(start_ms)
        return first, max(first, self.trades.next_id(min(end_ms, self.now_ms)) - 1)

    # Candles.

    def rows(self, timeframe: Timeframe, kind: DataKind, start_ms: int, end_ms: int) -> list[Row]:
        """Return candles with start_ms <= open time <= end_ms, the open one as it stands."""
        start_ms = timeframe.floor(max(start_ms, int(self._minutes[0])))
        if start_ms < int(self._minutes[0]):
            start_ms = timeframe.close_ms(start_ms)
        stop_ms = min(timeframe.close_ms(timeframe.floor(end_ms)), self.now_ms)
        if stop_ms <= start_ms:
            return []
        minute_ms = self.now_ms // MINUTE_MS * MINUTE_MS
        closed = self.tape.candles.between(start_ms, min(stop_ms, minute_ms))
        parts = self._grouped(closed, timeframe, kind)
        if stop_ms > minute_ms:
            self._add_open_minute(parts, timeframe, kind, minute_ms)
        return [self._row(ts_ms, part, timeframe) for ts_ms, part in parts.items()]

    def _grouped(
        self, closed: Candles, timeframe: Timeframe, kind: DataKind
    ) -> dict[int, list[float]]:
        """Return [open, high, low, close, volume, quote volume, trades] by open time."""
        if not len(closed):
            return {}
        opens, highs, lows, closes = self._prices(closed, kind)
        starts = timeframe.floor_all(closed.ts_ms)
        first = np.append(0, np.flatnonzero(np.diff(starts)) + 1)
        last = np.append(first[1:], len(starts)) - 1
        quote = closed.volume * (opens + closes) / 2
        rows = np.searchsorted(self._minutes, closed.ts_ms)
        columns = (
            opens[first],
            np.maximum.reduceat(highs, first),
            np.minimum.reduceat(lows, first),
            closes[last],
            np.add.reduceat(closed.volume, first),
            np.add.reduceat(quote, first),
            np.add.reduceat(self.trades.counts[rows], first),
        )
        listed = [column.tolist() for column in columns]
        return {ts: list(part) for ts, *part in zip(starts[first].tolist(), *listed, strict=True)}

    def _prices(self, closed: Candles, kind: DataKind) -> tuple[np.ndarray, ...]:
        prices = (closed.open, closed.high, closed.low, closed.close)
        mark = self.tape.mark
        if kind is not DataKind.MARK or mark is None:
            return prices
        row = np.searchsorted(mark.ts_ms, closed.ts_ms, side="right") - 1
        known = (row >= 0) & (closed.ts_ms < mark.ts_ms[row] + mark.timeframe.duration_ms)
        low, high = mark.low[row], mark.high[row]
        return tuple(np.where(known, np.clip(each, low, high), each) for each in prices)

    def _add_open_minute(
        self, parts: dict[int, list[float]], timeframe: Timeframe, kind: DataKind, minute_ms: int
    ) -> None:
        trades = list(self.trades_between(minute_ms, self.now_ms))
        if not trades:
            return
        prices = [float(trade.price) for trade in trades]
        if kind is DataKind.MARK:
            prices = [float(self._mark(trade.price, trade.ts_ms)) for trade in trades]
        volume = float(sum((trade.quantity for trade in trades), ZERO))
        quote = float(sum((trade.quantity * trade.price for trade in trades), ZERO))
        start = timeframe.floor(minute_ms)
        part = parts.get(start)
        if part is None:
            parts[start] = [
                prices[0],
                max(prices),
                min(prices),
                prices[-1],
                volume,
                quote,
                len(trades),
            ]
            return
        part[1], part[2], part[3] = max(part[1], *prices), min(part[2], *prices), prices[-1]
        part[4] += volume
        part[5] += quote
        part[6] += len(trades)

    def _row(self, ts_ms: int, part: list[float], timeframe: Timeframe) -> Row:
        step = self.instrument.step_size
        return Row(
            ts_ms=ts_ms,
            open=decimal_of(part[0]),
            high=decimal_of(part[1]),
            low=decimal_of(part[2]),
            close=decimal_of(part[3]),
            volume=Decimal(repr(round(part[4], 8))),
            quote_volume=round_to_tick(Decimal(repr(round(part[5], 4))), step),
            trades=int(part[6]),
            is_closed=timeframe.close_ms(ts_ms) <= self.now_ms,
        )

    # Funding.

    @property
    def interval_ms(self) -> int:
        """Return how often funding settles, as announced."""
        return self.instrument.funding_interval_ms

    @property
    def next_funding_ms(self) -> int:
        """Return when funding settles next: by the tape, else by the announced interval."""
        funding = self.tape.funding
        if funding is not None and self._next_funding < len(funding):
            return int(funding.ts_ms[self._next_funding])
        return (self.now_ms // self.interval_ms + 1) * self.interval_ms

    @property
    def funding_rate(self) -> Decimal:
        """Return the rate that the next settlement is going to have."""
        funding = self.tape.funding
        if funding is not None and self._next_funding < len(funding):
            return decimal_of(float(funding.rate[self._next_funding]))
        return DEFAULT_RATE

    def funding_history(self, start_ms: int, end_ms: int) -> list[FundingSettlement]:
        """Return settlements with start_ms <= time <= end_ms that have happened, ascending."""
        funding = self.tape.funding
        if funding is None:
            return []
        past = funding.between(start_ms, min(end_ms + 1, self.now_ms))
        marks = np.where(np.isnan(past.mark_price), 0.0, past.mark_price)
        return [
            FundingSettlement(ts_ms=int(ts), rate=decimal_of(rate), mark_price=decimal_of(mark))
            for ts, rate, mark in zip(past.ts_ms, past.rate, marks, strict=True)
        ]

    # Open interest: invented, smooth, and the same whoever asks.

    def open_interest(self, ts_ms: int) -> Decimal:
        """Return base currency held at `ts_ms`."""
        mean = float(self.tape.candles.volume[: 24 * 60].mean()) * 600
        wave = 1 + 0.1 * float(np.sin(ts_ms / (31 * HOUR_MS)))
        return floor_to_step(decimal_of(mean * wave), self.instrument.step_size)
