"""What a venue allows and charges for one symbol, as of a date."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from perpdesk.domain.candles import Venue
from perpdesk.domain.numbers import ONE, ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginTier:
    """One row of the venue's risk-limit table.

    floor, cap: bounds of the position's notional in quote; a value equal to the cap belongs here.
    maintenance_rate: fraction of notional. deduction: quote amount (Binance `cum`, Bybit
    `mmDeduction`), so that maintenance margin = notional x maintenance_rate - deduction.
    """

    floor: Decimal
    cap: Decimal
    max_leverage: Decimal
    maintenance_rate: Decimal
    deduction: Decimal


def with_deductions(tiers: Sequence[MarginTier]) -> tuple[MarginTier, ...]:
    """Return the tiers with the deduction that makes the maintenance margin continuous.

    D_n = floor_n x (m_n - m_{n-1}) + D_{n-1}. Source: reference/exchanges.md 6.1.
    """
    result: list[MarginTier] = []
    for tier in tiers:
        deduction = ZERO
        if result:
            before = result[-1]
            step = tier.maintenance_rate - before.maintenance_rate
            deduction = tier.floor * step + before.deduction
        result.append(replace(tier, deduction=deduction))
    return tuple(result)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRates:
    """Commission as a fraction of notional; negative means a rebate."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePeriod:
    """The rates that were in force from `valid_from_ms` on, until the next period begins."""

    valid_from_ms: int
    rates: FeeRates


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeSchedule:
    """Fees of one VIP tier by date: periods ascending in `valid_from_ms`.

    A time before the first period is charged by the first.
    """

    name: str
    periods: tuple[FeePeriod, ...]

    @classmethod
    def flat(cls, *, maker: Decimal, taker: Decimal, name: str = "custom") -> Self:
        """Return a schedule with the same rates at all times."""
        rates = FeeRates(maker=maker, taker=taker)
        return cls(name=name, periods=(FeePeriod(valid_from_ms=0, rates=rates),))

    def at(self, ts_ms: int) -> FeeRates:
        """Return the rates in force at `ts_ms`."""
        chosen = self.periods[0]
        for period in self.periods:
            if period.valid_from_ms > ts_ms:
                break
            chosen = period
        return chosen.rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """The rules of one linear perpetual contract at one date.

    tick_size: price grid. step_size: quantity grid. min_notional: quote, reduce-only orders exempt.
    max_limit_quantity, max_market_quantity: base. price_band_rate: how far a limit price may lie
    from mark, as a fraction. liquidation_fee_rate: fraction of the closed notional (Binance's
    clearance fee). funding_interval_ms: what the venue announced; settlements are never derived
    from it. observed_ms: when these rules were recorded; note: what stands in for what.
    """

    venue: Venue
    symbol: str
    base: str
    quote: str
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_limit_quantity: Decimal
    max_market_quantity: Decimal
    price_band_rate: Decimal
    liquidation_fee_rate: Decimal
    funding_interval_ms: int
    tiers: tuple[MarginTier, ...]
    fees: FeeSchedule
    observed_ms: int
    tiers_observed_ms: int
    note: str = ""

    def tier_index(self, notional: Decimal) -> int:
        """Return the index of the tier of a position value; the last one beyond the table."""
        found = bisect_left(self.tiers, notional, key=lambda tier: tier.cap)
        return min(found, len(self.tiers) - 1)

    def tier_for(self, notional: Decimal) -> MarginTier:
        """Return the tier of a position value in quote; a value equal to a cap is in the lower."""
        return self.tiers[self.tier_index(notional)]

    def initial_rate(self, notional: Decimal, leverage: Decimal) -> Decimal:
        """Return the initial margin rate: 1 / leverage, with leverage held to the tier's limit."""
        return ONE / min(leverage, self.tier_for(notional).max_leverage)
