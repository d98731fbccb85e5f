"""From a strategy's floats to signals, with every price on the tick grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from perpdesk.domain.candles import Candles, Timeframe, Values, Venue
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.numbers import ONE, decimal_of
from perpdesk.domain.signal import EntryType, PositionSide, Signal, SignalKind, TakeProfit
from perpdesk.strategies.arrays import SignalArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyContext:
    """What a strategy may know besides candles. tick_size: price grid, in quote."""

    venue: Venue
    symbol: str
    timeframe: Timeframe
    tick_size: Decimal


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


def iso(ts_ms: int) -> str:
    """Return a UTC time as people and logs write it, with its milliseconds beside it."""
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    return f"{moment} ({ts_ms})"


def _contradiction(key: str, context: StrategyContext, close_ms: int, fault: str) -> StrategyFailed:
    return StrategyFailed(
        f"strategy {key} on {context.symbol} {context.timeframe}, "
        f"at the bar that closed {iso(close_ms)}: {fault}",
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
