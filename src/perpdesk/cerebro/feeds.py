"""Feeds for Cerebro: stored candles in bulk, or closed candles from a queue.

Both carry their candles as domain columns (`candles`), so strategies see one thing in batch and
live. A bar's datetime is its open time, in UTC.
"""

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import backtrader as bt
import numpy as np
from backtrader.linebuffer import LineBuffer

from perpdesk.domain.candles import DAY_MS, Candles, Timeframe, Times, Values, Venue
from perpdesk.domain.events import BarClosed

_EPOCH_DAY: Final = 719_163.0
"""Backtrader counts days as matplotlib once did: 1970-01-01 is this many."""

_NO_MORE: Final = float("inf")
_LINES: Final = ("open", "high", "low", "close", "volume")


class CursorLine(LineBuffer):
    """A line over a fixed buffer whose position is a cell shared by all lines of the feed.

    Moving a feed by one bar is then one store, not two per line.
    """

    cell: list[int]

    @property
    def idx(self) -> int:
        """Return the position in the buffer."""
        return self.cell[0]

    @idx.setter
    def idx(self, value: int) -> None:
        self.cell[0] = value

    @property
    def lencount(self) -> int:
        """Return how many bars have been delivered."""
        return self.cell[0] + 1

    @lencount.setter
    def lencount(self, value: int) -> None:
        """The cell knows; Backtrader's own bookkeeping has nothing to add."""

    def __getitem__(self, ago: int) -> Any:
        return self.array[self.cell[0] + ago]

    def __len__(self) -> int:
        return self.cell[0] + 1


class CandleFeed(bt.feed.DataBase):
    """Stored candles of one symbol, put into Backtrader's lines without copying a bar at a time."""

    params = (("candles", None),)

    def __init__(self) -> None:
        super().__init__()
        self.cell = [-1]
        self.candles: Candles = self.p.candles
        self._name = self.candles.symbol

    def preload(self) -> None:
        """Fill all lines at once."""
        days = self.candles.ts_ms / DAY_MS + _EPOCH_DAY
        columns = {name: getattr(self.candles, name) for name in _LINES}
        columns["datetime"] = days
        columns["openinterest"] = np.zeros(0)
        for name, values in columns.items():
            line = getattr(self.lines, name)
            # Backtrader keeps position and length in the instance; the shared cell replaces both.
            line.__dict__.pop("_idx", None)
            line.__dict__.pop("lencount", None)
            line.__class__ = CursorLine
            line.cell = self.cell
            line.array = memoryview(np.ascontiguousarray(values).data)
            self.__dict__[name] = line
        self._days = self.lines.datetime.array
        self._size = len(days)
        self.home()

    def home(self) -> None:
        """Go back before the first bar."""
        self.cell[0] = -1

    def advance_peek(self) -> float:
        """Return the time of the next bar, infinity after the last."""
        following = self.cell[0] + 1
        return self._days[following] if following < self._size else _NO_MORE

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:
        """Move on by `size` bars."""
        self.cell[0] += size

    def buflen(self) -> int:
        """Return the number of bars."""
        return self._size

    def __len__(self) -> int:
        return self.cell[0] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCandle:
    """One closed strategy candle, and the execution bars that closed since the one before."""

    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    execution: tuple[BarClosed, ...]


class QueueFeed(bt.feed.DataBase):
    """Closed candles as they arrive on a queue; None on the queue ends the feed.

    history: candles closed before the feed began, for warm-up. They are delivered first.
    """

    params = (("source", None), ("history", None), ("qcheck", 0.05))

    def __init__(self) -> None:
        super().__init__()
        history: Candles = self.p.history
        self._grown = _GrowingCandles(history)
        self._name = history.symbol
        self._delivered = 0
        self.execution: Sequence[BarClosed] = ()
        self.history_close_ms = (
            history.timeframe.close_ms(int(history.ts_ms[-1])) if len(history) else 0
        )

    @property
    def candles(self) -> Candles:
        """Return every candle delivered so far, and those of the history."""
        return self._grown.candles()

    def islive(self) -> bool:
        """Tell Cerebro to take bars one at a time."""
        return True

    def haslivedata(self) -> bool:
        """Tell Cerebro whether a bar can be had without waiting."""
        return self._delivered < len(self._grown) or not self.p.source.empty()

    def _load(self) -> bool | None:
        """Deliver one bar: False at the end, None while there is nothing yet."""
        if self._delivered >= len(self._grown):
            try:
                item: ClosedCandle | None = self.p.source.get(timeout=self._qcheck)
            except queue.Empty:
                return None
            if item is None:
                return False
            self._grown.append(item)
            self.execution = item.execution
        row = self._delivered
        self._delivered += 1
        candles = self._grown.candles()
        self.lines.datetime[0] = candles.ts_ms[row] / DAY_MS + _EPOCH_DAY
        for name in _LINES:
            getattr(self.lines, name)[0] = float(getattr(candles, name)[row])
        self.lines.openinterest[0] = 0.0
        return True

    def take_execution(self) -> Sequence[BarClosed]:
        """Return the execution bars of the bar just delivered, once."""
        bars, self.execution = self.execution, ()
        return bars


class _GrowingCandles:
    """Candle columns that grow at the end, doubling their room when it is used up."""

    def __init__(self, history: Candles) -> None:
        self.venue: Venue = history.venue
        self.symbol = history.symbol
        self.timeframe: Timeframe = history.timeframe
        self._size = len(history)
        room = max(1024, 2 * self._size)
        self._ts_ms: Times = np.zeros(room, np.int64)
        self._values: dict[str, Values] = {name: np.zeros(room) for name in _LINES}
        self._ts_ms[: self._size] = history.ts_ms
        for name, column in history.columns():
            self._values[name][: self._size] = column

    def __len__(self) -> int:
        return self._size

    def append(self, candle: ClosedCandle) -> None:
        if self._size == len(self._ts_ms):
            self._ts_ms = np.concatenate([self._ts_ms, np.zeros_like(self._ts_ms)])
            for name, column in self._values.items():
                self._values[name] = np.concatenate([column, np.zeros_like(column)])
        self._ts_ms[self._size] = candle.ts_ms
        for name in _LINES:
            self._values[name][self._size] = getattr(candle, name)
        self._size += 1

    def candles(self) -> Candles:
        rows = slice(0, self._size)
        return Candles(
            venue=self.venue,
            symbol=self.symbol,
            timeframe=self.timeframe,
            ts_ms=self._ts_ms[rows],
            **{name: column[rows] for name, column in self._values.items()},
        )
