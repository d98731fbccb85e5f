"""Exact numbers: Decimal in, Decimal out, and every rounding rule by its own name.

Products are formed in a context wide enough never to round; only the named functions below do.
Amounts of quote currency are kept to 1e-8, as both venues book them, so that the same ledger can be
kept in `int64` atoms.
"""

from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Final

EXACT: Final = Context(prec=96, rounding=ROUND_DOWN)
"""Wide enough for quantity x price x rate of any instrument without losing a digit."""

ATOM: Final = Decimal("0.00000001")
ATOMS_PER_UNIT: Final = 100_000_000
ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)


def decimal_of(value: float) -> Decimal:
    """Return the shortest decimal that prints as `value`: 0.1 gives exactly Decimal("0.1")."""
    return Decimal(repr(float(value)))


def product(first: Decimal, *others: Decimal) -> Decimal:
    """Return the product of the factors with every digit kept."""
    for factor in others:
        first = EXACT.multiply(first, factor)
    return first


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return amount x part / whole, far beyond any digit that is kept."""
    return EXACT.divide(EXACT.multiply(amount, part), whole)


def truncate_amount(amount: Decimal) -> Decimal:
    """Cut an amount towards zero at 1e-8. True of Binance.

    Source: reference/exchanges.md 6.1, and the samples BN-POS-1 and BN-POS-2.
    """
    return amount.quantize(ATOM, ROUND_DOWN, EXACT)


def round_amount(amount: Decimal) -> Decimal:
    """Round an amount half away from zero at 1e-8. True of Bybit.

    Source: reference/exchanges.md 6.1, and the sample BY-CPL-2.
    """
    return amount.quantize(ATOM, ROUND_HALF_UP, EXACT)


def truncate_ratio(numerator: int, denominator: int) -> int:
    """Cut a ratio towards zero: `truncate_amount` in whole atoms. True of Binance."""
    whole = abs(numerator) // denominator
    return whole if numerator >= 0 else -whole


def round_ratio(numerator: int, denominator: int) -> int:
    """Round a ratio half away from zero: `round_amount` in whole atoms. True of Bybit."""
    whole = (2 * abs(numerator) + denominator) // (2 * denominator)
    return whole if numerator >= 0 else -whole


def floor_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` not above `quantity` (for sizes: never risk more)."""
    whole = EXACT.divide_int(quantity, step) * step
    return whole - step if whole > quantity else whole


def ceil_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` not below `quantity`."""
    whole = EXACT.divide_int(quantity, step) * step
    return whole + step if whole < quantity else whole


def round_to_tick(price: Decimal, tick: Decimal) -> Decimal:
    """Return the multiple of `tick` nearest to `price`, halves away from zero."""
    return (price / tick).to_integral_value(ROUND_HALF_UP) * tick


def is_multiple(value: Decimal, unit: Decimal) -> bool:
    """Tell whether `value` lies on the grid of `unit`."""
    return EXACT.remainder(value, unit) == ZERO


def atoms_of(amount: Decimal) -> int:
    """Return an amount that lies on the 1e-8 grid as a whole number of atoms."""
    scaled = amount.scaleb(8, EXACT)
    atoms = int(scaled)
    assert atoms == scaled, f"{amount} does not lie on the 1e-8 grid"
    return atoms


def amount_of(atoms: int) -> Decimal:
    """Return a whole number of 1e-8 atoms as a Decimal with eight places."""
    return Decimal(atoms).scaleb(-8, EXACT)


def plain(value: Decimal) -> str:
    """Return the value in plain digits: no exponent, no trailing zeros, never "-0"."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
