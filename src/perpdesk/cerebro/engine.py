"""One run through Cerebro: strategies on strategy bars, the exchange on execution bars."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from typing import Any, Final

import backtrader as bt

from perpdesk.cerebro.broker import BatchBroker, HostBroker, QueueBroker
from perpdesk.cerebro.collector import quiet_collector
from perpdesk.cerebro.driver import BatchDriver
from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.feeds import CandleFeed, ClosedCandle, QueueFeed
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import DataRefused, PerpdeskError, StrategyFailed
from perpdesk.domain.signal import Signal
from perpdesk.strategies.base import (
    ArrayStrategy,
    SignalStrategy,
    StrategyContext,
    StrategyParams,
)
from perpdesk.strategies.failures import failure, iso, source_file

Watch = Callable[[int, int, int], None]
"""Told now and then how far a run has come: bars done, bars in all, and the time reached, in ms."""

_CHUNK: Final = 16_384
"""Bars between two reports of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyPlan:
    """One strategy on one symbol."""

    strategy: type[SignalStrategy]
    parameters: StrategyParams
    context: StrategyContext


class DeskCerebro(bt.Cerebro):
    """Cerebro with a short cut for one array strategy on one feed.

    Every bar still reaches `Strategy.next()`; the broker is entered only on bars where the exchange
    has something to do. With anything more (indicators, several feeds, analyzers, timers, writers)
    Backtrader's own loop runs.
    """

    watch: Watch | None = None

    def _runonce(self, runstrats: list[Any]) -> None:
        for strategy in runstrats:
            _require_enough(strategy)
        if not self._is_simple(runstrats):
            super()._runonce(runstrats)
            return
        feed, strategy, broker = self.datas[0], runstrats[0], self._broker
        feed.home()
        cell, wake_ms, step, advance = feed.cell, broker.wake_ms, broker.next, strategy.next
        closes = feed.candles.timeframe.close_all(feed.candles.ts_ms)
        total = len(closes)
        for start in range(0, total, _CHUNK):
            end = min(start + _CHUNK, total)
            for index, close_ms in enumerate(closes[start:end].tolist(), start):
                cell[0] = index
                if close_ms >= wake_ms[0]:
                    step()
                    if self._event_stop:
                        return
                advance()
            if self.watch is not None:
                self.watch(end, total, int(closes[end - 1]))

    def _is_simple(self, runstrats: list[Any]) -> bool:
        if len(self.datas) != 1 or len(runstrats) != 1 or not isinstance(self._broker, BatchBroker):
            return False
        strategy = runstrats[0]
        busy = self._timers or self._timerscheat or self.runwriters or self.p.cheat_on_open
        watched = list(strategy.analyzers) or list(strategy.observers)
        return _builds_by_the_book(type(strategy)) and not (
            busy or watched or strategy._lineiterators[bt.LineIterator.IndType]
        )


def _builds_by_the_book(strategy: type[SignalStrategy]) -> bool:
    return (
        issubclass(strategy, ArrayStrategy)
        and strategy.next is ArrayStrategy.next
        and strategy.generate_signal is ArrayStrategy.generate_signal
    )


def _require_enough(strategy: SignalStrategy) -> None:
    """Refuse a strategy whose indicators need more bars than there are: some fail on too few."""
    needed, there = strategy._minperiod, strategy.data.buflen()
    if needed > there:
        raise DataRefused(
            f"strategy {type(strategy).key()} needs {needed} candles before its first bar, and "
            f"{strategy.context.symbol} {strategy.context.timeframe} has {there}",
            next_step="Choose a longer range, or shorter periods.",
        )


def run_batch(
    host: SimulationHost,
    plans: Sequence[StrategyPlan],
    candles: Mapping[str, Candles],
    execution: Mapping[str, ExecutionBars],
    *,
    start_ms: int = 0,
    watch: Watch | None = None,
) -> None:
    """Run strategies over recorded candles; the host keeps everything that happened.

    candles: strategy bars by symbol, warm-up included. execution: execution bars by symbol.
    start_ms: signals of bars that closed by then belong to the warm-up and are not acted on. watch:
    when it is called, everything that can happen by that time has happened.
    Raises StrategyFailed, naming strategy and bar, where a strategy raises.
    """
    feeds = {symbol: _batch_feed(candles[symbol]) for symbol in candles}
    make_broker: Any = BatchBroker
    broker = make_broker(host=host, start_ms=start_ms)
    broker.attach_driver(BatchDriver(host, list(execution.values())), list(feeds.values()))
    cerebro = DeskCerebro(stdstats=False)
    cerebro.watch = watch
    broker.watch = watch
    _run(cerebro, broker, plans, feeds)
    last_ms = broker.now_ms()
    broker.driver.advance(last_ms)
    broker.driver.synchronise(last_ms)


def run_queue(
    host: SimulationHost,
    plans: Sequence[StrategyPlan],
    history: Mapping[str, Candles],
    sources: Mapping[str, "Queue[ClosedCandle | None]"],
) -> None:
    """Run strategies on closed candles as they arrive, until each source has sent None.

    history: candles for warm-up, by symbol; signals on them are not acted on.
    """
    feeds = {symbol: _queue_feed(sources[symbol], history[symbol]) for symbol in sources}
    make_broker: Any = QueueBroker
    broker = make_broker(host=host)
    broker.attach_feeds(list(feeds.values()))
    _run(DeskCerebro(stdstats=False), broker, plans, feeds)


# Backtrader takes parameters as keywords that no signature shows.
def _batch_feed(candles: Candles) -> Any:
    feed: Any = CandleFeed
    return feed(candles=candles)


def _queue_feed(source: "Queue[ClosedCandle | None]", history: Candles) -> Any:
    feed: Any = QueueFeed
    return feed(source=source, history=history)


def _run(
    cerebro: bt.Cerebro,
    broker: HostBroker,
    plans: Sequence[StrategyPlan],
    feeds: Mapping[str, Any],
) -> None:
    for feed in feeds.values():
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker = broker
    order = list(feeds)
    for plan in plans:
        place = order.index(plan.context.symbol)
        sink = _checked(plan, feeds[plan.context.symbol], broker)
        cerebro.addstrategy(
            _on_feed(plan.strategy, place),
            parameters=plan.parameters,
            context=plan.context,
            sink=sink,
        )
    with _blamed(plans, feeds), quiet_collector():
        cerebro.run()


def _checked(plan: StrategyPlan, feed: Any, broker: Any) -> Callable[[Any], None]:
    """Return the sink of a strategy: it passes on signals of the strategy's own symbol and bar.

    What the array base class builds by itself needs no check.
    """
    if _builds_by_the_book(plan.strategy):
        passed: Callable[[Any], None] = broker.on_signal
        return passed
    context = plan.context

    def sink(signal: Any) -> None:
        bar_ms = int(feed.candles.ts_ms[len(feed) - 1])
        if not isinstance(signal, Signal):
            fault = f"{signal!r}, which is not a Signal"
        elif (signal.venue, signal.symbol) != (context.venue, context.symbol):
            fault = f"a signal for symbol {signal.symbol} of {signal.venue}"
        elif signal.ts_ms != context.timeframe.close_ms(bar_ms):
            fault = f"a signal whose ts_ms {signal.ts_ms} is not the close of its bar"
        else:
            broker.on_signal(signal)
            return
        raise StrategyFailed(
            f"strategy {plan.strategy.key()} on {context.symbol} {context.timeframe} returned "
            f"{fault}, at the bar that opened {iso(bar_ms)}",
            next_step="Return self.enter(...), self.exit(...) or None from generate_signal().",
        )

    return sink


def _on_feed(strategy: type[SignalStrategy], place: int) -> Callable[..., SignalStrategy]:
    """Return a builder that gives the strategy its own feed, out of all that Cerebro offers."""

    def build(*datas: Any, **kwargs: Any) -> SignalStrategy:
        built: SignalStrategy = strategy(datas[place], **kwargs)
        return built

    return build


@contextmanager
def _blamed(plans: Sequence[StrategyPlan], feeds: Mapping[str, Any]) -> Iterator[None]:
    """Turn an error that a strategy raised into one that names it and its bar."""
    try:
        yield
    except PerpdeskError:
        raise
    except (Exception, SystemExit) as error:
        frames = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        for plan in plans:
            if source_file(plan.strategy) in frames:
                feed = feeds[plan.context.symbol]
                place = len(feed) - 1
                at = int(feed.candles.ts_ms[place]) if 0 <= place < len(feed.candles) else None
                raise failure(plan.strategy, error, bar_open_ms=at) from error
        raise
