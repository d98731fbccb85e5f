"""Funding between longs and shorts."""

from decimal import Decimal

from perpdesk.domain.numbers import product


def funding_payment(
    signed_quantity: Decimal, *, mark_price: Decimal, funding_rate: Decimal
) -> Decimal:
    """Return the quote that a position pays at one settlement; negative means it receives.

    funding_rate: fraction per interval; longs pay when it is positive.
    Source: reference/exchanges.md 6.4, read 2026-11.
    """
    return product(signed_quantity, mark_price, funding_rate)
