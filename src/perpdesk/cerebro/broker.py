"""Backtrader's broker, forwarding to the simulated exchange.

Before a strategy sees the bar that closed at T, the exchange has seen every execution bar up to T.
Strategies do not order: their signals go to the desk, through `on_signal`.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

import backtrader as bt

from perpdesk.cerebro.driver import NEVER_MS, BatchDriver
from perpdesk.cerebro.feeds import QueueFeed
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.events import BarClosed
from perpdesk.domain.signal import Signal

_STEPS_PER_WATCH: Final = 512


class HostBroker(bt.broker.BrokerBase):
    """Reads from the account, hands signals to the desk, refuses orders of a strategy's own."""

    params: Any = (("host", None),)

    def init(self) -> None:
        """Begin a run on the account of `host`."""
        super().init()
        self.host: SimulationHost = self.p.host
        self.startingcash = self.cash = self.getcash()

    def getcash(self) -> float:
        """Return cash in quote: deposits, realized profit, fees and funding."""
        return float(self.host.exchange.ledger.cash)

    def getvalue(self, datas: Any = None) -> float:
        """Return equity in quote at the latest marks."""
        return float(self.host.exchange.account().equity)

    def getposition(self, data: Any) -> bt.Position:
        """Return Backtrader's view of the position: base quantity and average entry price."""
        position = self.host.exchange.position(data._name)
        price = position.average_entry_price
        return bt.Position(
            size=float(position.signed_quantity), price=0.0 if price is None else float(price)
        )

    def get_notification(self) -> None:
        """Return nothing: orders belong to the desk, strategies are not told."""
        return None

    def submit(self, order: Any) -> None:
        """Refuse."""
        raise _no_orders()

    def cancel(self, order: Any) -> None:
        """Refuse."""
        raise _no_orders()

    def buy(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise _no_orders()

    def sell(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise _no_orders()


def _no_orders() -> UsageRefused:
    return UsageRefused(
        "strategies do not send orders",
        next_step="Return a signal from generate_signal(); the desk sizes, confirms and orders.",
    )


class BatchBroker(HostBroker):
    """Drives the exchange over recorded execution bars.

    close_ms_of_feeds: for each feed its candles' close times, by which the present is known.
    """

    params: Any = (("start_ms", 0),)

    def attach_driver(self, driver: BatchDriver, feeds: Sequence[Any]) -> None:
        """Connect the recorded bars, and the feeds that tell how far the run has come.

        wake_ms: one cell with the time of the next execution bar that matters; a signal sets it to
        the present.
        """
        self.driver = driver
        self.wake_ms = [0]
        self.watch: Callable[[int, int, int], None] | None = None
        self._steps = 0
        self._clocks = [
            (feed, feed.candles.timeframe.close_all(feed.candles.ts_ms)) for feed in feeds
        ]

    def now_ms(self) -> int:
        """Return the close of the latest strategy bar delivered by any feed."""
        return max(
            (int(closes[len(feed) - 1]) for feed, closes in self._clocks if len(feed)), default=0
        )

    def next(self) -> None:
        """Bring the exchange up to the bar that Cerebro is about to show."""
        now_ms = self.now_ms()
        self.driver.advance(now_ms)
        self._steps += 1
        if self.watch is not None and self._steps % _STEPS_PER_WATCH == 0:
            done = max(len(feed) for feed, _ in self._clocks)
            self.watch(done, max(len(closes) for _, closes in self._clocks), now_ms)
        self.wake_ms[0] = self.driver.next_ms
        if self.host.exchange.stopped is not None:
            self.wake_ms[0] = NEVER_MS
            self.cerebro.runstop()

    def on_signal(self, signal: Signal) -> None:
        """Hand a signal to the desk at the close of its bar; a stopped account takes no more."""
        if signal.ts_ms <= self.p.start_ms or self.host.exchange.stopped is not None:
            return
        self.driver.synchronise(signal.ts_ms)
        self.host.on_signal(signal)
        self.wake_ms[0] = 0

    def getvalue(self, datas: Any = None) -> float:
        """Return equity in quote at the marks of this moment."""
        self.driver.synchronise(self.now_ms())
        return super().getvalue(datas)


class QueueBroker(HostBroker):
    """Drives the exchange with the execution bars that come with each closed candle."""

    def attach_feeds(self, feeds: Sequence[QueueFeed]) -> None:
        """Connect the live feeds, whose history is the warm-up."""
        self._feeds = feeds
        self._warm_ms = {feed._name: feed.history_close_ms for feed in feeds}

    def next(self) -> None:
        """Run the execution bars that arrived with the bars just delivered, oldest first."""
        bars = [bar for feed in self._feeds for bar in feed.take_execution()]
        bars.sort(key=_stretch)
        for _, together in groupby(bars, key=_stretch):
            if self.host.exchange.stopped is None:
                self.host.on_bars(list(together))

    def on_signal(self, signal: Signal) -> None:
        """Hand a signal to the desk, unless it belongs to the warm-up or the account is stopped."""
        late = signal.ts_ms > self._warm_ms[signal.symbol]
        if late and self.host.exchange.stopped is None:
            self.host.on_signal(signal)


def _stretch(bar: BarClosed) -> tuple[int, int]:
    return bar.close_ms, -bar.ts_ms
