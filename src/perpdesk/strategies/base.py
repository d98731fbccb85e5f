"""The two base classes of a strategy, and what they may see.

A `SignalStrategy` is a Backtrader strategy that returns one signal per closed bar. An
`ArrayStrategy` is written as one causal function over columns; the base class serves it bar by bar,
so batch, live and sweep share one definition.
"""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, ClassVar, Final

import backtrader as bt
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from perpdesk.domain.candles import Candles, Timeframe, Values, Venue
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.numbers import ONE, decimal_of
from perpdesk.domain.signal import EntryType, PositionSide, Signal, SignalKind, TakeProfit

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyContext:
    """What a strategy may know besides candles. tick_size: price grid, in quote."""

    venue: Venue
    symbol: str
    timeframe: Timeframe
    tick_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalArrays:
    """What an array strategy wants at every bar. All columns are (n_candles,).

    side: int8, +1 enter long, -1 enter short, 0 nothing. exit_side: int8, +1 close a long, -1 close
    a short, 0 nothing. entry: int8, 0 market, 1 limit, 2 stop. entry_price, stop_loss: float64, NaN
    for none. take_profits: one float64 column per target, NaN for none, beside
    take_profit_fractions that add up to at most 1. confidence: float64, 0..1. reason_code: int16
    index into `reasons`.
    """

    side: npt.NDArray[np.int8]
    exit_side: npt.NDArray[np.int8] | None = None
    entry: npt.NDArray[np.int8] | None = None
    entry_price: Values | None = None
    stop_loss: Values | None = None
    take_profits: tuple[Values, ...] = ()
    take_profit_fractions: tuple[float, ...] = (1.0,)
    confidence: Values | None = None
    reason_code: npt.NDArray[np.int16] | None = None
    reasons: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.side)

    def active(self) -> npt.NDArray[np.bool_]:
        """Return where anything is wanted. Shape (n_candles,) bool."""
        wanted: npt.NDArray[np.bool_] = self.side != 0
        return wanted if self.exit_side is None else wanted | (self.exit_side != 0)

    def fault(self, candles: int) -> str | None:
        """Return in words why the columns do not fit `candles` rows, or None if they do."""
        columns = {
            "side": self.side,
            "exit_side": self.exit_side,
            "entry": self.entry,
            "entry_price": self.entry_price,
            "stop_loss": self.stop_loss,
            **{f"take_profits[{i}]": column for i, column in enumerate(self.take_profits)},
            "confidence": self.confidence,
            "reason_code": self.reason_code,
        }
        for name, column in columns.items():
            if column is None:
                continue
            if not isinstance(column, np.ndarray):
                return f"returned {name} as {type(column).__name__}, not as a NumPy column"
            if column.shape != (candles,):
                return f"returned {name} of shape {column.shape} for {candles} candles"
            kinds = "iub" if name in ("side", "exit_side", "entry", "reason_code") else "fiu"
            if column.dtype.kind not in kinds:
                expected = "whole numbers" if kinds == "iub" else "numbers"
                return f"returned {name} as {column.dtype}, not as {expected}"
        if len(self.take_profits) > len(self.take_profit_fractions):
            return "returned more take_profits than take_profit_fractions"
        return None

    def row(self, index: int) -> tuple[object, ...]:
        """Return everything wanted at one bar as a tuple that compares equal across runs."""
        optional = (self.exit_side, self.entry, self.entry_price, self.stop_loss)
        columns = (*optional, *self.take_profits, self.confidence, self.reason_code)
        values = (None if column is None else _comparable(column[index]) for column in columns)
        return (int(self.side[index]), *values)


def _comparable(value: Any) -> object:
    """NaN does not equal itself, so it is written as None."""
    number = value.item()
    return None if isinstance(number, float) and math.isnan(number) else number


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
                next_step="Return one row per candle from signals().",
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


def signal_of_row(
    arrays: SignalArrays,
    index: int,
    candles: Candles,
    context: StrategyContext,
    key: str,
    params_hash: str,
) -> Signal | None:
    """Return the signal that row `index` asks for; an entry takes precedence over an exit."""
    reason = "" if arrays.reason_code is None else arrays.reasons[arrays.reason_code[index]]
    close_ms = context.timeframe.close_ms(int(candles.ts_ms[index]))
    close = float(candles.close[index])
    side = int(arrays.side[index])
    if side == 0:
        closing = 0 if arrays.exit_side is None else int(arrays.exit_side[index])
        if closing == 0:
            return None
        return build_exit(
            context,
            key,
            params_hash,
            close_ms=close_ms,
            close=close,
            side=_side_of(closing),
            reason=reason,
        )
    entry = 0 if arrays.entry is None else int(arrays.entry[index])
    targets = zip(arrays.take_profits, arrays.take_profit_fractions, strict=False)
    prices = ((float(column[index]), fraction) for column, fraction in targets)
    return build_entry(
        context,
        key,
        params_hash,
        close_ms=close_ms,
        close=close,
        side=_side_of(side),
        stop_loss=_price_at(arrays.stop_loss, index),
        take_profits=[target for target in prices if not math.isnan(target[0])],
        entry=_ENTRY_TYPES[entry],
        entry_price=_price_at(arrays.entry_price, index) if entry else None,
        confidence=1.0 if arrays.confidence is None else float(arrays.confidence[index]),
        valid_until_ms=None,
        reason=reason,
    )


_ENTRY_TYPES: Final = (EntryType.MARKET, EntryType.LIMIT, EntryType.STOP)


def _side_of(sign: int) -> PositionSide:
    return PositionSide.LONG if sign > 0 else PositionSide.SHORT


def _price_at(column: Values | None, index: int) -> float | None:
    if column is None:
        return None
    value = float(column[index])
    return None if math.isnan(value) else value


def build_entry(
    context: StrategyContext,
    key: str,
    params_hash: str,
    *,
    close_ms: int,
    close: float,
    side: PositionSide,
    stop_loss: float | None,
    take_profits: Sequence[tuple[float, float]],
    entry: EntryType,
    entry_price: float | None,
    confidence: float,
    valid_until_ms: int | None,
    reason: str,
) -> Signal:
    """Return an ENTRY signal with every price on the tick grid.

    Raises StrategyFailed, naming strategy, bar and field, where the prices contradict themselves.
    """

    def on_grid(name: str, price: float, rounding: str) -> Decimal:
        if not math.isfinite(price) or price <= 0:
            raise _contradiction(key, context, close_ms, f"{name} is {price}, not a price")
        tick = context.tick_size
        return (decimal_of(price) / tick).to_integral_value(rounding) * tick

    long = side is PositionSide.LONG
    up, down = ROUND_CEILING, ROUND_FLOOR
    own = None
    if entry_price is not None:
        own = on_grid("entry_price", entry_price, down if long else up)
    stop = None
    if stop_loss is not None:
        stop = on_grid("stop_loss", stop_loss, up if long else down)
        wished = close if entry_price is None else entry_price
        at, tick = decimal_of(close) if own is None else own, context.tick_size
        # A stop less than a tick away from the entry would land on it.
        if long and stop_loss < wished and stop >= at:
            stop = ((at / tick).to_integral_value(up) - 1) * tick
        elif not long and stop_loss > wished and stop <= at:
            stop = ((at / tick).to_integral_value(down) + 1) * tick
    signal = Signal(
        ts_ms=close_ms,
        venue=context.venue,
        symbol=context.symbol,
        timeframe=context.timeframe,
        strategy=key,
        params_hash=params_hash,
        kind=SignalKind.ENTRY,
        side=side,
        reference_price=decimal_of(close),
        entry=entry,
        entry_price=own,
        stop_loss=stop,
        take_profits=tuple(
            TakeProfit(
                price=on_grid("take_profit", price, up if long else down),
                fraction=ONE if fraction == 1.0 else decimal_of(fraction),
            )
            for price, fraction in take_profits
        ),
        confidence=confidence,
        valid_until_ms=valid_until_ms,
        reason=reason,
    )
    fault = signal.fault()
    if fault is not None:
        raise _contradiction(key, context, close_ms, fault)
    return signal


def _contradiction(key: str, context: StrategyContext, close_ms: int, fault: str) -> StrategyFailed:
    return StrategyFailed(
        f"strategy {key} on {context.symbol} {context.timeframe}, "
        f"bar closed at {close_ms}: {fault}",
        next_step="Correct the strategy; `perpdesk strategies check` shows the first such bar.",
    )


def build_exit(
    context: StrategyContext,
    key: str,
    params_hash: str,
    *,
    close_ms: int,
    close: float,
    side: PositionSide,
    reason: str,
) -> Signal:
    """Return an EXIT signal for a position on `side`."""
    return Signal(
        ts_ms=close_ms,
        venue=context.venue,
        symbol=context.symbol,
        timeframe=context.timeframe,
        strategy=key,
        params_hash=params_hash,
        kind=SignalKind.EXIT,
        side=side,
        reference_price=decimal_of(close),
        reason=reason,
    )
