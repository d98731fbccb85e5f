"""The margin of a position in columns equals the margin at each mark, integer for integer."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite
from tests.unit.simulation.market import instrument_of

from perpdesk.domain.candles import Venue
from perpdesk.domain.instrument import Instrument, MarginTier, with_deductions
from perpdesk.domain.numbers import amount_of, atoms_of
from perpdesk.simulation.curve import position_curve
from perpdesk.simulation.margin import position_margin

VENUES = [Venue.BINANCE, Venue.BYBIT]


@composite
def tiers(draw: DrawFn) -> tuple[MarginTier, ...]:
    floor, rate = Decimal(0), Decimal(draw(st.integers(2, 50))).scaleb(-4)
    leverage = draw(st.integers(20, 125))
    made = []
    for _ in range(draw(st.integers(1, 6))):
        cap = floor + Decimal(draw(st.integers(1, 10**11))).scaleb(-4)
        made.append(
            MarginTier(
                floor=floor,
                cap=cap,
                max_leverage=Decimal(leverage),
                maintenance_rate=rate,
                deduction=Decimal(0),
            )
        )
        floor, rate = cap, rate + Decimal(draw(st.integers(1, 50))).scaleb(-4)
        leverage = max(1, leverage - draw(st.integers(0, 30)))
    return with_deductions(made)


def instruments() -> SearchStrategy[Instrument]:
    return st.builds(
        lambda venue, rows: replace(instrument_of(venue), tiers=rows),
        st.sampled_from(VENUES),
        tiers(),
    )


quantities = st.builds(
    lambda steps, places: Decimal(steps).scaleb(-places),
    st.integers(-(10**5), 10**5).filter(bool),
    st.integers(0, 4),
)
marks = st.integers(1, 3 * 10**13)
leverages = st.integers(100, 12_500).map(lambda cents: Decimal(cents).scaleb(-2))
rates = st.integers(0, 10_000).map(lambda millionths: Decimal(millionths).scaleb(-6))


def by_mark(
    instrument: Instrument, curve: list[int], **position: Decimal
) -> tuple[list[int], list[int], list[int]]:
    rows = [position_margin(instrument, mark_price=amount_of(mark), **position) for mark in curve]
    return (
        [atoms_of(row.unrealized) for row in rows],
        [atoms_of(row.initial) for row in rows],
        [atoms_of(row.maintenance) for row in rows],
    )


@given(
    instrument=instruments(),
    quantity=quantities,
    entry=marks,
    curve=st.lists(marks, min_size=1, max_size=12),
    repeats=st.sampled_from([1, 9]),
    leverage=leverages,
    taker_rate=rates,
)
def test_every_row_equals_the_margin_at_its_mark(
    instrument: Instrument,
    quantity: Decimal,
    entry: int,
    curve: list[int],
    repeats: int,
    leverage: Decimal,
    taker_rate: Decimal,
) -> None:
    # An entry value as the venue books it lies on the 1e-8 grid; half an atom off is a tie to cut.
    value = (quantity * amount_of(entry)).quantize(Decimal("1e-8"))
    position = {
        "signed_quantity": quantity,
        "entry_value": value,
        "leverage": leverage,
        "taker_rate": taker_rate,
    }
    # Seven and more repeats of a dozen marks cross from whole numbers over to columns.
    column = np.array(curve * repeats, np.int64)
    found = position_curve(instrument, marks_e8=column, **position)
    assert tuple(rows.tolist() for rows in found) == tuple(
        rows * repeats for rows in by_mark(instrument, curve, **position)
    )


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("side", [1, -1])
def test_a_long_column_crosses_every_tier(venue: Venue, side: int) -> None:
    instrument = instrument_of(venue)
    quantity = side * Decimal("57.123")
    curve = np.random.default_rng(7).integers(10**11, 3 * 10**13, 40_000)
    position = {
        "signed_quantity": quantity,
        "entry_value": quantity * Decimal("61234.5"),
        "leverage": Decimal(100),
        "taker_rate": Decimal("0.00055"),
    }
    found = position_curve(instrument, marks_e8=curve, **position)
    sample = np.random.default_rng(8).choice(len(curve), 400, replace=False)
    assert tuple(rows[sample].tolist() for rows in found) == by_mark(
        instrument, curve[sample].tolist(), **position
    )


@pytest.mark.parametrize("venue", VENUES)
def test_magnitudes_beyond_int64_are_worked_in_whole_numbers(venue: Venue) -> None:
    instrument = instrument_of(venue)
    position = {
        "signed_quantity": Decimal("12345678.123456789012"),
        "entry_value": Decimal("1234567.00000001"),
        "leverage": Decimal("12.5"),
        "taker_rate": Decimal("0.0005"),
    }
    curve = [10**6 + row for row in range(100)]
    found = position_curve(instrument, marks_e8=np.array(curve, np.int64), **position)
    assert tuple(rows.tolist() for rows in found) == by_mark(instrument, curve, **position)


def test_a_flat_position_has_no_margin() -> None:
    found = position_curve(
        instrument_of(Venue.BYBIT),
        signed_quantity=Decimal(0),
        entry_value=Decimal(0),
        marks_e8=np.array([10**12], np.int64),
        leverage=Decimal(10),
        taker_rate=Decimal("0.00055"),
    )
    assert [rows.tolist() for rows in found] == [[0], [0], [0]]
