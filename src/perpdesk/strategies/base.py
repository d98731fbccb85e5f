"""The two base classes of a strategy, and what they may see.

A `SignalStrategy` is a Backtrader strategy that returns one signal per closed bar. An
`ArrayStrategy` is written as one causal function over columns; the base class serves it bar by bar,
so batch, live and sweep share one definition.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import backtrader as bt
from pydantic import BaseModel, ConfigDict

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.signal import EntryType, PositionSide, Signal
from perpdesk.strategies.arrays import SignalArrays
from perpdesk.strategies.signals import (
    StrategyContext,
    build_entry,
    build_exit,
    signal_of_row,
)

__all__ = [
    "API_VERSION",
    "ArrayStrategy",
    "SignalArrays",
    "SignalStrategy",
    "StrategyContext",
    "StrategyParams",
    "signal_of_row",
]

API_VERSION: Final = 1
"""Raised when a change here breaks strategies that were written before it."""


class StrategyParams(BaseModel):
    """Parameters of a strategy: frozen, and unknown names are refused.

    A field's `ge`, `le`, description and `json_schema_extra={"search": …}` give validation, the web
    form and the search space from one JSON Schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def content_hash(self) -> str:
        """Return a short hash of the values; equal parameters have equal hashes."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()


class SignalStrategy(bt.Strategy):
    """A Backtrader strategy that returns signals and cannot send orders.

    Subclasses set `name` and `version`, may declare `Params`, build indicators in `__init__`, and
    implement `generate_signal`, called once per closed bar after the warm-up.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    api_version: ClassVar[int] = API_VERSION
    timeframes: ClassVar[tuple[str, ...]] = ()
    """Timeframes that the idea is meant for; empty means any."""

    class Params(StrategyParams):
        """No parameters unless a subclass declares them."""

    params = (("parameters", None), ("context", None), ("sink", None))

    _withheld: int
    _asked: int

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        """Return how many candles must have closed before signals mean anything."""
        return 1

    @classmethod
    def memory_candles(cls, params: Any) -> int:
        """Return how many candles fix a signal, its own included; older ones must not matter.

        The warm-up unless a subclass knows better: a recursive average speaks after one period but
        forgets its beginning only after several. Load this many before the first bar that counts.
        """
        return cls.warmup_candles(params)

    @classmethod
    def key(cls) -> str:
        """Return "name@version", by which runs and signals refer to the strategy."""
        return f"{cls.name}@{cls.version}"

    @property
    def parameters(self) -> Any:
        """Return the validated `Params` of this run."""
        return self.p.parameters

    @property
    def context(self) -> StrategyContext:
        """Return venue, symbol, timeframe and price grid."""
        context: StrategyContext = self.p.context
        return context

    @abstractmethod
    def generate_signal(self) -> Signal | None:
        """Return what is wanted at the bar that has just closed, or None."""

    def next(self) -> None:
        """Ask for a signal and hand it on, once per closed bar after the warm-up.

        With several feeds Backtrader also calls this when only another feed has moved.
        """
        closed = len(self.data)
        if closed <= self._withheld or closed == self._asked:
            return
        self._asked = closed
        signal = self.generate_signal()
        if signal is not None:
            self.p.sink(signal)

    def start(self) -> None:
        """Count the bars that the warm-up withholds. Overriders call `super().start()`."""
        self._asked = 0
        self._withheld = self.warmup_candles(self.parameters) - 1

    def prenext(self) -> None:
        """Do nothing while indicators fill."""

    def nextstart(self) -> None:
        """Treat the first full bar like any other."""
        self.next()

    def enter(
        self,
        side: PositionSide,
        *,
        stop_loss: float | None = None,
        take_profits: Sequence[tuple[float, float]] = (),
        entry: EntryType = EntryType.MARKET,
        entry_price: float | None = None,
        confidence: float = 1.0,
        valid_until_ms: int | None = None,
        reason: str = "",
    ) -> Signal:
        """Build an ENTRY signal for the bar that has just closed.

        Prices are quote floats; they are put on the tick grid so that rounding does not lower
        the risk-reward ratio: the stop moves towards the entry, targets away from it.
        take_profits: (price, fraction of the position) per target.
        """
        return build_entry(
            self.context,
            type(self).key(),
            self.parameters.content_hash(),
            close_ms=self.close_ms(),
            close=self.data.close[0],
            side=side,
            stop_loss=stop_loss,
            take_profits=take_profits,
            entry=entry,
            entry_price=entry_price,
            confidence=confidence,
            valid_until_ms=valid_until_ms,
            reason=reason,
        )

    def exit(self, side: PositionSide, *, reason: str = "") -> Signal:
        """Build an EXIT signal: close a position on `side`, if there is one."""
        return build_exit(
            self.context,
            type(self).key(),
            self.parameters.content_hash(),
            close_ms=self.close_ms(),
            close=self.data.close[0],
            side=side,
            reason=reason,
        )

    def close_ms(self) -> int:
        """Return the time, in UTC ms, at which the current bar closed."""
        open_ms = int(self.data.candles.ts_ms[len(self.data) - 1])
        return self.context.timeframe.close_ms(open_ms)

    def buy(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a strategy returns signals; the desk orders."""
        raise _orders_refused(type(self).key(), "buy")

    def sell(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a strategy returns signals; the desk orders."""
        raise _orders_refused(type(self).key(), "sell")


def _orders_refused(key: str, call: str) -> StrategyFailed:
    return StrategyFailed(
        f"strategy {key} called {call}(), but strategies cannot send orders",
        next_step="Return self.enter(...) or self.exit(...) from generate_signal instead.",
    )


class ArrayStrategy(SignalStrategy):
    """A strategy written as one causal function over columns.

    `signals(candles, params)` may look at row i and before it when it fills row i, never after.
    """

    @classmethod
    @abstractmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        """Return what is wanted at every candle; every column as long as the candles."""

    def start(self) -> None:
        """Compute all rows once; a live feed adds rows as its candles close."""
        super().start()
        self._key = type(self).key()
        self._hash = self.parameters.content_hash()
        self._compute(self.data.candles)

    def _compute(self, candles: Candles) -> None:
        arrays = self.signals(candles, self.parameters)
        fault = arrays.fault(len(candles))
        if fault is not None:
            raise StrategyFailed(
                f"strategy {type(self).key()} {fault}",
                next_step="Return one row per candle from signals(), of the kind named.",
            )
        self._arrays = arrays
        self._candles = candles
        active = arrays.active().copy()
        active[: max(0, self._withheld)] = False
        self._active = active.tobytes()

    def next(self) -> None:
        """Pass over bars whose row asks for nothing; a million of them have to be cheap."""
        index = len(self.data) - 1
        if index >= len(self._active) or self._active[index]:
            super().next()

    def generate_signal(self) -> Signal | None:
        """Return the signal of the current bar's row."""
        index = len(self.data) - 1
        if index >= len(self._active):
            self._compute(self.data.candles)
        if not self._active[index]:
            return None
        return signal_of_row(
            self._arrays, index, self._candles, self.context, self._key, self._hash
        )
