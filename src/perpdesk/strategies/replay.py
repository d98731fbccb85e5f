"""Run a strategy over candles and observe its signals: whole columns, or bar by bar in Cerebro.

This is the small stage of the checks: no broker, no account, no desk. Real runs have their own.
"""

from collections.abc import Callable
from typing import Any, Final

import backtrader as bt
import numpy as np

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.signal import Signal
from perpdesk.strategies.base import (
    ArrayStrategy,
    SignalArrays,
    SignalStrategy,
    StrategyContext,
    StrategyParams,
    signal_of_row,
)
from perpdesk.strategies.failures import failure, guarded, iso
from perpdesk.strategies.observation import Observation

Replay = Callable[[Candles], Observation]

_DAY_MS: Final = 86_400_000
_UNIX_EPOCH_DAY: Final = 719_163
"""1970-01-01 in Backtrader's count of days."""


def replay_of(
    cls: type[SignalStrategy], params: StrategyParams, context: StrategyContext
) -> Replay:
    """Return the function that runs the strategy over any candles and observes its signals."""
    if issubclass(cls, ArrayStrategy):
        withheld = cls.warmup_candles(params) - 1
        return lambda candles: Observation.of_arrays(
            arrays_of(cls, params, candles), withheld=withheld
        )
    return lambda candles: Observation.of_signals(bar_signals(cls, params, context, candles))


def arrays_of(cls: type[ArrayStrategy], params: StrategyParams, candles: Candles) -> SignalArrays:
    """Return the strategy's columns; raise StrategyFailed where it raises or misshapes them."""
    with guarded(cls):
        arrays = cls.signals(candles, params)
    if not isinstance(arrays, SignalArrays):
        raise StrategyFailed(
            f"strategy {cls.key()} returned {type(arrays).__name__} from signals()",
            next_step="Return SignalArrays, one row per candle.",
        )
    fault = arrays.fault(len(candles))
    if fault is not None:
        raise StrategyFailed(
            f"strategy {cls.key()} {fault}",
            next_step="Return one row per candle from signals(), of the kind named.",
        )
    return arrays


def signals_of(
    cls: type[SignalStrategy],
    params: StrategyParams,
    context: StrategyContext,
    candles: Candles,
) -> list[tuple[int, Signal]]:
    """Return (row, signal) pairs of a whole run; raise StrategyFailed at the first faulty one."""
    if not issubclass(cls, ArrayStrategy):
        return bar_signals(cls, params, context, candles)
    arrays = arrays_of(cls, params, candles)
    rows = np.flatnonzero(arrays.active())
    found: list[tuple[int, Signal]] = []
    params_hash = params.content_hash()
    for row in rows[np.searchsorted(rows, cls.warmup_candles(params) - 1) :].tolist():
        opened = int(candles.ts_ms[row])
        try:
            signal = signal_of_row(arrays, row, candles, context, cls.key(), params_hash)
        except (Exception, SystemExit) as error:
            raise failure(cls, error, bar_open_ms=opened) from error
        if signal is not None:
            found.append((row, signal))
    return found


def bar_signals(
    cls: type[SignalStrategy],
    params: StrategyParams,
    context: StrategyContext,
    candles: Candles,
) -> list[tuple[int, Signal]]:
    """Return (row, signal) pairs of a run bar by bar, in Backtrader's own batch mode."""
    if not len(candles):
        return []
    found: list[tuple[int, Signal]] = []
    feed: Any = _ColumnFeed
    feed = feed(candles=candles)  # Backtrader turns the keyword into a parameter

    def sink(signal: Any) -> None:
        row = len(feed) - 1
        if not isinstance(signal, Signal):
            raise StrategyFailed(
                f"strategy {cls.key()} returned {signal!r}, which is not a Signal, at the bar that "
                f"opened {iso(int(candles.ts_ms[row]))}",
                next_step="Return self.enter(...), self.exit(...) or None from generate_signal().",
            )
        found.append((row, signal))

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(
        cls,
        parameters=params,
        context=context,
        sink=sink,
    )
    try:
        cerebro.run()
    except (Exception, SystemExit) as error:
        row = len(feed) - 1
        opened = int(candles.ts_ms[row]) if 0 <= row < len(candles) else None
        raise failure(cls, error, bar_open_ms=opened) from error
    return found


class _ColumnFeed(bt.feed.DataBase):
    """Candles as Backtrader lines; `candles` stays at hand, as strategies expect it."""

    params = (("candles", None),)

    candles: Candles

    def __init__(self) -> None:
        super().__init__()
        self.candles = self.p.candles

    def start(self) -> None:
        super().start()
        times = _UNIX_EPOCH_DAY + self.candles.ts_ms / _DAY_MS
        columns = [column.tolist() for _, column in self.candles.columns()]
        self._rows = zip(times.tolist(), *columns, strict=True)

    def _load(self) -> bool:
        row: Any = next(self._rows, None)
        if row is None:
            return False
        lines = self.lines
        (
            lines.datetime[0],
            lines.open[0],
            lines.high[0],
            lines.low[0],
            lines.close[0],
            lines.volume[0],
        ) = row
        lines.openinterest[0] = 0.0
        return True
