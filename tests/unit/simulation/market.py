"""Instruments and bars for tests of the simulated exchange: round numbers, worked by hand."""

from decimal import Decimal

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.instrument import FeeSchedule, Instrument, MarginTier, with_deductions
from perpdesk.domain.numbers import ZERO

D = Decimal
MOST = D(125)
ENDLESS = D(10**12)


def one_tier(
    *,
    rate: Decimal,
    floor: Decimal = ZERO,
    cap: Decimal = ENDLESS,
    deduction: Decimal = ZERO,
    max_leverage: Decimal = MOST,
) -> MarginTier:
    """Return a tier; without bounds it holds every position."""
    return MarginTier(
        floor=floor,
        cap=cap,
        max_leverage=max_leverage,
        maintenance_rate=rate,
        deduction=deduction,
    )


_TIERS = (
    ("0", "50000", "125", "0.004"),
    ("50000", "250000", "100", "0.005"),
    ("250000", "1000000", "50", "0.01"),
    ("1000000", "10000000", "20", "0.025"),
)
"""floor, cap, max leverage, maintenance rate: the deductions are 0, 50, 1300 and 16300."""
FOUR_TIERS = with_deductions(
    [
        one_tier(floor=D(floor), cap=D(cap), max_leverage=D(leverage), rate=D(rate))
        for floor, cap, leverage, rate in _TIERS
    ]
)


def instrument_of(
    venue: Venue, symbol: str = "BTCUSDT", tiers: tuple[MarginTier, ...] | None = None
) -> Instrument:
    """Return a contract with a tick of 0.1, a step of 0.001 and the fees of 2026."""
    taker = "0.00055" if venue is Venue.BYBIT else "0.0005"
    return Instrument(
        venue=venue,
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        tick_size=D("0.1"),
        step_size=D("0.001"),
        min_quantity=D("0.001"),
        min_notional=D(5),
        max_limit_quantity=D(1000),
        max_market_quantity=D(200),
        price_band_rate=D("0.05"),
        liquidation_fee_rate=D("0.0125"),
        funding_interval_ms=8 * HOUR_MS,
        tiers=FOUR_TIERS if tiers is None else tiers,
        fees=FeeSchedule.flat(maker=D("0.0002"), taker=D(taker)),
        observed_ms=0,
        tiers_observed_ms=0,
    )
