"""Commission on fills."""

from decimal import Decimal

from perpdesk.domain.instrument import FeeRates
from perpdesk.domain.numbers import product
from perpdesk.domain.order import Liquidity


def trade_fee(quantity: Decimal, price: Decimal, rates: FeeRates, liquidity: Liquidity) -> Decimal:
    """Return quantity·price·rate in quote, every digit kept; negative is a rebate.

    Source: reference/exchanges.md 6.1, read 2026-11.
    """
    rate = rates.maker if liquidity is Liquidity.MAKER else rates.taker
    return product(quantity, price, rate)


def closed_pnl(
    gross: Decimal, *, open_fee: Decimal, close_fee: Decimal, funding_paid: Decimal
) -> Decimal:
    """Return what Bybit calls closed PnL: gross profit less both fees and the funding paid."""
    return gross - open_fee - close_fee - funding_paid
