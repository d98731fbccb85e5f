"""Margin over many short spans of different positions, in one pass over columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import EXACT, atoms_of, round_ratio
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.curve import (
    SAFE_MAGNITUDE,
    Atoms,
    less_amount,
    position_curve,
    rounded_ratio,
    scaled_values,
)
from perpdesk.simulation.margin import fee_to_close, rules_of

_LONG_SPAN: Final = 256
"""From this many rows per span on, one span at a time is the quicker way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionSpan:
    """A position that was held unchanged for a number of rows.

    signed_quantity: base. entry_value: quote, signed alike. taker_rate: in force at its last fill.
    """

    rows: int
    signed_quantity: Decimal
    entry_value: Decimal
    taker_rate: Decimal


def spans_curve(
    instrument: Instrument,
    spans: Sequence[PositionSpan],
    *,
    marks_e8: Atoms,
    leverage: Decimal,
) -> tuple[Atoms, Atoms, Atoms]:
    """Return unrealized profit, used and maintenance margin of every row, each (n,) int64 atoms.

    marks_e8: (n,) marks in atoms; the spans cover the rows in order. Every row equals
    `position_margin(...)` integer for integer.
    """
    if len(marks_e8) < _LONG_SPAN * len(spans):
        columns = _all_at_once(instrument, spans, marks_e8, leverage)
        if columns is not None:
            return columns
    unrealized, used, maintenance = (np.zeros(len(marks_e8), np.int64) for _ in range(3))
    start = 0
    for span in spans:
        part = slice(start, start + span.rows)
        start += span.rows
        if span.signed_quantity:
            unrealized[part], used[part], maintenance[part] = position_curve(
                instrument,
                signed_quantity=span.signed_quantity,
                entry_value=span.entry_value,
                marks_e8=marks_e8[part],
                leverage=leverage,
                taker_rate=span.taker_rate,
            )
    return unrealized, used, maintenance


def _all_at_once(
    instrument: Instrument, spans: Sequence[PositionSpan], marks_e8: Atoms, leverage: Decimal
) -> tuple[Atoms, Atoms, Atoms] | None:
    """Work on all rows together; None where a part could leave int64."""
    rules = rules_of(instrument.venue)
    half_up = rules.ratio is round_ratio
    base = instrument.step_size.as_integer_ratio()[1]
    units = [span.signed_quantity * base for span in spans]
    if any(unit != int(unit) for unit in units):
        return None
    rows = [span.rows for span in spans]
    quantity = np.repeat(np.array([int(unit) for unit in units], np.int64), rows)
    entry = np.repeat(np.array([atoms_of(span.entry_value) for span in spans], np.int64), rows)
    size = np.abs(quantity)
    most_size, most_entry = int(size.max()), int(np.abs(entry).max())
    most = most_size * int(marks_e8.max()) // base + 1
    if max(most, most_size * base, most_entry) >= SAFE_MAGNITUDE:
        return None
    value, rest = scaled_values(marks_e8, size, base)
    notional = rounded_ratio(value, rest, base, half_up=half_up)
    unrealized = less_amount(value, rest, base, np.abs(entry), half_up=half_up)
    np.negative(unrealized, out=unrealized, where=quantity < 0)
    del value, rest, size
    reserve: Atoms | int = 0
    if rules.reserves_close_fee:
        reserve = np.repeat(np.array([_reserve(instrument, s, leverage) for s in spans]), rows)
    margins = _margins(instrument, notional, reserve, leverage, most, half_up=half_up)
    if margins is None:
        return None
    flat = quantity == 0
    for column in margins:
        column[flat] = 0
    return unrealized, *margins


def _reserve(instrument: Instrument, span: PositionSpan, leverage: Decimal) -> int:
    if not span.signed_quantity:
        return 0
    side = PositionSide.LONG if span.signed_quantity > 0 else PositionSide.SHORT
    fee = fee_to_close(side, abs(span.entry_value), leverage, span.taker_rate)
    return atoms_of(rules_of(instrument.venue).amount(fee))


def _margins(
    instrument: Instrument,
    notional: Atoms,
    reserve: Atoms | int,
    leverage: Decimal,
    most: int,
    *,
    half_up: bool,
) -> tuple[Atoms, Atoms] | None:
    caps = [min(int(tier.cap.scaleb(8, EXACT)), SAFE_MAGNITUDE) for tier in instrument.tiers[:-1]]
    of_row = np.searchsorted(np.array(caps, np.int64), notional, side="left")
    used, maintenance = np.empty_like(notional), np.empty_like(notional)
    for index in np.unique(of_row).tolist():
        tier = instrument.tiers[index]
        times, per = min(leverage, tier.max_leverage).as_integer_ratio()
        rate, parts = tier.maintenance_rate.as_integer_ratio()
        deduction = tier.deduction.scaleb(8, EXACT)
        if deduction != int(deduction):
            return None
        if max(per * (most // times + times), rate * (most // parts + parts)) >= SAFE_MAGNITUDE:
            return None
        rows = of_row == index
        held = reserve if isinstance(reserve, int) else reserve[rows]
        floor, left = scaled_values(notional[rows], per, times)
        used[rows] = rounded_ratio(floor, left, times, half_up=half_up) + held
        floor, left = scaled_values(notional[rows], rate, parts)
        maintenance[rows] = less_amount(floor, left, parts, int(deduction) - held, half_up=half_up)
    return used, maintenance
