"""Limits that a signal must pass, first when it is emitted and again when it is confirmed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from perpdesk.domain.errors import Denied
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.signal import EntryType, Signal, risk_reward


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """min_risk_reward: the floor of reward per risk; 0 switches it off. min_confidence: 0..1.

    min_risk_reward_by_strategy: another floor for some, by name or name@version; the latter wins.
    max_confirm_drift_pct: how far the price may move, in percent, between signal and confirmation
    of a market entry; None for no limit.
    """

    min_risk_reward: Decimal = Decimal(3)
    min_confidence: float = 0.0
    max_confirm_drift_pct: Decimal | None = None
    min_risk_reward_by_strategy: Mapping[str, Decimal] = field(default_factory=dict)

    def floor_of(self, strategy: str) -> Decimal:
        """Return the floor of a strategy, given as name@version."""
        own = self.min_risk_reward_by_strategy
        floor = own.get(strategy)
        if floor is None:
            floor = own.get(strategy.partition("@")[0])
        return self.min_risk_reward if floor is None else floor


def check_signal(signal: Signal, limits: RiskLimits) -> None:
    """Raise Denied, in words, where the signal breaks a limit at its own reference price."""
    fault = signal.fault()
    if fault is not None:
        raise Denied(fault)
    if signal.confidence < limits.min_confidence:
        raise Denied(f"confidence {signal.confidence} is below {limits.min_confidence}")
    floor = limits.floor_of(signal.strategy)
    if floor <= ZERO:
        return
    ratio = signal.risk_reward
    if ratio is None:
        raise Denied("risk-reward cannot be computed without a stop loss and a take profit")
    if ratio < floor:
        raise Denied(
            f"risk-reward {plain(ratio.quantize(Decimal('0.0001')))} is below the floor "
            f"{plain(floor)}"
        )


def check_price(signal: Signal, price: Decimal, limits: RiskLimits) -> None:
    """Raise Denied where the price has moved too far since the signal.

    Market entries move with the price. Limit and stop entries wait at their own; but a limit would
    fill at once where the price has fallen through it, so it must not lie beyond the stop either.
    """
    stop = signal.stop_loss
    beyond = stop is not None and (price - stop) * signal.side.sign <= ZERO
    if stop is not None and beyond and signal.entry is not EntryType.STOP:
        raise Denied(f"price {plain(price)} is already beyond the stop loss {plain(stop)}")
    if signal.entry is not EntryType.MARKET:
        return
    drift_pct = abs(price - signal.reference_price) / signal.reference_price * 100
    most = limits.max_confirm_drift_pct
    if most is not None and drift_pct > most:
        raise Denied(
            f"price moved {plain(drift_pct.quantize(Decimal('0.001')))} % since the signal, "
            f"more than {plain(most)} %"
        )
    floor = limits.floor_of(signal.strategy)
    if floor > ZERO and price != signal.reference_price:
        ratio = risk_reward(signal.side, price, stop, signal.take_profits)
        if ratio is None or ratio < floor:
            raise Denied(f"risk-reward at {plain(price)} has fallen below the floor {plain(floor)}")
