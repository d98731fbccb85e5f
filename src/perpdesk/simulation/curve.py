"""Margin of one position at many marks at once: the twin in columns of `margin.position_margin`.

Amounts are whole atoms of 1e-8 quote, so both give equal integers. A product is split before it is
divided, so that no part leaves int64; where a part could, whole Python numbers do the same work.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import EXACT, amount_of, round_ratio
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.margin import fee_to_close, rules_of

Atoms = npt.NDArray[np.int64]

_CHUNK: Final = 32_768
"""Rows at a time, so that the columns in between stay within the processor's cache."""
_FEW: Final = 24
"""Up to this many rows plain Python is quicker than setting up columns."""
SAFE_MAGNITUDE: Final = 2**62
"""A magnitude below which sums of two parts stay within int64."""

_Ratio = tuple[int, int]


def position_curve(
    instrument: Instrument,
    *,
    signed_quantity: Decimal,
    entry_value: Decimal,
    marks_e8: Atoms,
    leverage: Decimal,
    taker_rate: Decimal,
) -> tuple[Atoms, Atoms, Atoms]:
    """Return unrealized profit, used and maintenance margin at every mark, each (n,) int64 atoms.

    marks_e8: (n,) mark prices in atoms of 1e-8. entry_value: quote, signed like the quantity.
    Row i equals `position_margin(...)` at marks_e8[i], integer for integer. Raises OverflowError
    for amounts of 92 billion quote and more, which atoms in int64 cannot tell.
    """
    rows = len(marks_e8)
    unrealized, used, maintenance = (np.zeros(rows, np.int64) for _ in range(3))
    if not rows or not signed_quantity:
        return unrealized, used, maintenance
    held = _Held(
        instrument,
        signed_quantity=signed_quantity,
        entry_value=entry_value,
        leverage=leverage,
        taker_rate=taker_rate,
    )
    for start in range(0, rows, _CHUNK):
        part = slice(start, start + _CHUNK)
        marks = marks_e8[part]
        columns = None if rows <= _FEW else _by_columns(held, marks)
        unrealized[part], used[part], maintenance[part] = columns or _by_rows(held, marks.tolist())
    return unrealized, used, maintenance


@dataclass(frozen=True, slots=True)
class _Tier:
    """A margin tier in ratios of whole numbers; leverage is what it leaves of the one set."""

    leverage: _Ratio
    rate: _Ratio
    deduction: _Ratio


class _Held:
    """A position in ratios of whole numbers (numerator, denominator); amounts count atoms."""

    __slots__ = ("_tiers", "entry", "instrument", "leverage", "quantity", "ratio", "reserve")

    def __init__(
        self,
        instrument: Instrument,
        *,
        signed_quantity: Decimal,
        entry_value: Decimal,
        leverage: Decimal,
        taker_rate: Decimal,
    ) -> None:
        rules = rules_of(instrument.venue)
        self.instrument = instrument
        self.quantity = signed_quantity.as_integer_ratio()
        self.entry = _atoms(entry_value)
        self.leverage = leverage
        self.ratio = rules.ratio
        self.reserve = 0
        self._tiers: dict[int, _Tier] = {}
        if rules.reserves_close_fee:
            side = PositionSide.LONG if signed_quantity > 0 else PositionSide.SHORT
            fee = fee_to_close(side, abs(entry_value), leverage, taker_rate)
            self.reserve = _atoms(rules.amount(fee))[0]

    def tier_index(self, notional: int) -> int:
        """Return the index of the tier of a notional in atoms."""
        return self.instrument.tier_index(amount_of(notional))

    def tier(self, index: int) -> _Tier:
        """Return a tier in whole numbers."""
        found = self._tiers.get(index)
        if found is None:
            tier = self.instrument.tiers[index]
            found = self._tiers[index] = _Tier(
                min(self.leverage, tier.max_leverage).as_integer_ratio(),
                tier.maintenance_rate.as_integer_ratio(),
                _atoms(tier.deduction),
            )
        return found


def _atoms(amount: Decimal) -> _Ratio:
    return amount.scaleb(8, EXACT).as_integer_ratio()


# A few rows, or magnitudes beyond int64: whole Python numbers.


def _by_rows(held: _Held, marks: list[int]) -> tuple[list[int], list[int], list[int]]:
    (quantity, base), ratio = held.quantity, held.ratio
    notionals = [ratio(abs(quantity) * mark, base) for mark in marks]
    entry, grid = held.entry
    value, entry, grid = quantity * grid, entry * base, base * grid
    unrealized = [ratio(value * mark - entry, grid) for mark in marks]
    lowest, highest = held.tier_index(min(notionals)), held.tier_index(max(notionals))
    if lowest == highest:
        tier = held.tier(lowest)
        margins = [_margins(held, tier, notional) for notional in notionals]
    else:
        margins = [_margins(held, held.tier(held.tier_index(each)), each) for each in notionals]
    return unrealized, [used for used, _ in margins], [least for _, least in margins]


def _margins(held: _Held, tier: _Tier, notional: int) -> tuple[int, int]:
    """Return initial and maintenance margin."""
    (times, per), (rate, parts), (off, whole) = tier.leverage, tier.rate, tier.deduction
    off -= held.reserve * whole
    least = held.ratio(notional * rate * whole - off * parts, parts * whole)
    return held.ratio(notional * per, times) + held.reserve, least


# Many rows: columns of int64.


def _by_columns(held: _Held, marks: Atoms) -> tuple[Atoms, Atoms, Atoms] | None:
    """Work on whole columns; None where a part could leave int64 or an amount lies off the grid."""
    quantity, base = held.quantity
    size, half_up = abs(quantity), held.ratio is round_ratio
    most = size * int(marks.max()) // base + 1
    if max(most, size * base, abs(held.entry[0])) >= SAFE_MAGNITUDE or held.entry[1] != 1:
        return None
    value, rest = scaled_values(marks, size, base)
    notional = rounded_ratio(value, rest, base, half_up=half_up)
    unrealized = less_amount(value, rest, base, abs(held.entry[0]), half_up=half_up)
    if quantity < 0:
        np.negative(unrealized, out=unrealized)
    used, maintenance = np.empty_like(notional), np.empty_like(notional)
    lowest, highest = held.tier_index(int(notional.min())), held.tier_index(int(notional.max()))
    of_row = None if lowest == highest else _tier_of_rows(held, notional)
    for index in range(lowest, highest + 1):
        tier = held.tier(index)
        (times, per), (rate, parts), (off, whole) = tier.leverage, tier.rate, tier.deduction
        if max(per * (most // times + times), rate * (most // parts + parts)) >= SAFE_MAGNITUDE:
            return None
        if abs(off) + held.reserve >= SAFE_MAGNITUDE or whole != 1:
            return None
        rows = slice(None) if of_row is None else of_row == index
        values = notional[rows]
        floor, left = scaled_values(values, per, times)
        used[rows] = rounded_ratio(floor, left, times, half_up=half_up) + held.reserve
        floor, left = scaled_values(values, rate, parts)
        maintenance[rows] = less_amount(floor, left, parts, off - held.reserve, half_up=half_up)
    return unrealized, used, maintenance


def _tier_of_rows(held: _Held, notional: Atoms) -> Atoms:
    caps = [
        min(int(tier.cap.scaleb(8, EXACT)), SAFE_MAGNITUDE) for tier in held.instrument.tiers[:-1]
    ]
    return np.searchsorted(np.array(caps, np.int64), notional, side="left")


def scaled_values(values: Atoms, times: Atoms | int, per: int) -> tuple[Atoms, Atoms]:
    """Return values x times / per as whole and rest, split first so that nothing overflows."""
    if per == 1:
        return values * times, np.zeros_like(values)
    whole = values // per
    part = (values - whole * per) * times
    carry = part // per
    return whole * times + carry, part - carry * per


def rounded_ratio(whole: Atoms, rest: Atoms, per: int, *, half_up: bool) -> Atoms:
    """Round whole + rest / per, which is not negative, by the venue's rule."""
    return whole + (rest >= per - rest) if half_up else whole


def less_amount(
    whole: Atoms, rest: Atoms, per: int, amount: Atoms | int, *, half_up: bool
) -> Atoms:
    """Round whole + rest / per - amount by the venue's rule, alike on both sides of zero."""
    floor = whole - amount
    if half_up:
        return floor + (rest + (floor >= 0) > per - rest)
    return floor + ((floor < 0) & (rest > 0))
