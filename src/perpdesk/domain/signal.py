"""A signal: what a strategy wants, before anybody said yes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from perpdesk.domain.candles import Timeframe, Venue
from perpdesk.domain.numbers import ONE, ZERO, plain


class SignalKind(StrEnum):
    """ENTRY opens a position (and closes an opposite one first); EXIT closes what is open."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"


class PositionSide(StrEnum):
    """The direction of a position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def sign(self) -> int:
        """Return +1 for LONG and -1 for SHORT."""
        return 1 if self is PositionSide.LONG else -1

    @property
    def opposite(self) -> "PositionSide":
        """Return the other side."""
        return PositionSide.SHORT if self is PositionSide.LONG else PositionSide.LONG


class EntryType(StrEnum):
    """How an entry wants to be filled."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"


class SignalState(StrEnum):
    """Where a signal stands. DENIED is our risk's word; the other ends are choices or the clock."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    DISMISSED = "DISMISSED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    DENIED = "DENIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeProfit:
    """A target: its price and the fraction (0, 1] of the position that it closes."""

    price: Decimal
    fraction: Decimal = ONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One wish of one strategy at the close of one bar.

    ts_ms: the time at which the signal's bar closed. reference_price: that bar's close, the price
    that a MARKET entry is judged by. entry_price: for LIMIT and STOP entries. confidence: 0..1.
    valid_until_ms: None means, for a LIMIT or STOP entry, until the strategy's next bar closes; a
    MARKET entry then waits for its yes as long as whoever confirms allows.
    """

    ts_ms: int
    venue: Venue
    symbol: str
    timeframe: Timeframe
    strategy: str
    params_hash: str
    kind: SignalKind
    side: PositionSide
    reference_price: Decimal
    entry: EntryType = EntryType.MARKET
    entry_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profits: tuple[TakeProfit, ...] = ()
    confidence: float = 1.0
    valid_until_ms: int | None = None
    reason: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", _content_id(self))

    @property
    def expected_entry(self) -> Decimal:
        """Return the price at which the entry is expected to fill."""
        return self.reference_price if self.entry_price is None else self.entry_price

    @property
    def risk_reward(self) -> Decimal | None:
        """Return reward per unit of risk over all targets; None where it cannot be known.

        Targets are weighted by their fractions. A signal without a stop or without a target has no
        risk-reward ratio, and passes no floor above zero.
        """
        return risk_reward(self.side, self.expected_entry, self.stop_loss, self.take_profits)

    def fault(self) -> str | None:
        """Return in words why the signal contradicts itself, or None if it does not."""
        if self.kind is SignalKind.EXIT:
            return None
        return _entry_fault(self)


def risk_reward(
    side: PositionSide,
    entry_price: Decimal,
    stop_loss: Decimal | None,
    take_profits: Sequence[TakeProfit],
) -> Decimal | None:
    """Return the weighted distance to the targets over the distance to the stop."""
    if stop_loss is None or not take_profits:
        return None
    risk = (entry_price - stop_loss) * side.sign
    if risk <= ZERO:
        return None
    total = sum((target.fraction for target in take_profits), ZERO)
    reward = sum(
        ((target.price - entry_price) * side.sign * target.fraction for target in take_profits),
        ZERO,
    )
    return reward / total / risk


def _entry_fault(signal: Signal) -> str | None:
    prices = [("entry_price", signal.entry_price), ("stop_loss", signal.stop_loss)]
    prices += [("take_profit", target.price) for target in signal.take_profits]
    for name, price in prices:
        if price is not None and not (price.is_finite() and price > ZERO):
            return f"{name} is {price}, not a positive price"
    if signal.entry is not EntryType.MARKET and signal.entry_price is None:
        return f"a {signal.entry} entry needs entry_price"
    if not 0.0 <= signal.confidence <= 1.0:
        return f"confidence {signal.confidence} is not within 0..1"
    entry, sign = signal.expected_entry, signal.side.sign
    if signal.stop_loss is not None and (entry - signal.stop_loss) * sign <= ZERO:
        return (
            f"stop_loss {plain(signal.stop_loss)} of a {signal.side} signal is on the wrong side "
            f"of the entry {plain(entry)}"
        )
    for target in signal.take_profits:
        if (target.price - entry) * sign <= ZERO:
            return (
                f"take_profit {plain(target.price)} of a {signal.side} signal is on the wrong side "
                f"of the entry {plain(entry)}"
            )
        if not ZERO < target.fraction <= ONE:
            return f"take_profit fraction {target.fraction} is not within (0, 1]"
    if sum((target.fraction for target in signal.take_profits), ZERO) > ONE:
        return "take_profit fractions add up to more than 1"
    return None


def _content_id(signal: Signal) -> str:
    """Return an id that the same bar always gives again, also after a crash.

    The timeframe and parameters are part of it; confidence and reason are not: they explain.
    """
    parts = (
        signal.ts_ms,
        signal.venue,
        signal.symbol,
        signal.timeframe,
        signal.strategy,
        signal.params_hash,
        signal.kind,
        signal.side,
        signal.entry,
        signal.entry_price,
        signal.stop_loss,
        [(target.price, target.fraction) for target in signal.take_profits],
    )
    text = "|".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
