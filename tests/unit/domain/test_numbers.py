"""Every rounding rule does what its name says."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpdesk.domain.numbers import (
    EXACT,
    amount_of,
    atoms_of,
    ceil_to_step,
    decimal_of,
    floor_to_step,
    is_multiple,
    plain,
    product,
    round_amount,
    round_ratio,
    round_to_tick,
    share,
    truncate_amount,
    truncate_ratio,
)

D = Decimal


@pytest.mark.parametrize(
    ("amount", "cut", "rounded"),
    [
        ("1.000000019", "1.00000001", "1.00000002"),
        ("1.000000015", "1.00000001", "1.00000002"),
        ("1.000000014999", "1.00000001", "1.00000001"),
        ("-1.000000015", "-1.00000001", "-1.00000002"),
        ("-0.000000004", "0", "0"),
    ],
)
def test_binance_cuts_and_bybit_rounds(amount: str, cut: str, rounded: str) -> None:
    assert truncate_amount(D(amount)) == D(cut)
    assert round_amount(D(amount)) == D(rounded)


ratios = st.tuples(st.integers(-(10**24), 10**24), st.integers(1, 10**12))


@given(ratios)
def test_whole_atoms_round_as_decimals_do(ratio: tuple[int, int]) -> None:
    numerator, denominator = ratio
    amount = share(amount_of(numerator), D(1), D(denominator))
    assert truncate_ratio(numerator, denominator) == atoms_of(truncate_amount(amount))
    if 2 * abs(numerator) % denominator or denominator < 10**6:
        assert round_ratio(numerator, denominator) == atoms_of(round_amount(amount))


@pytest.mark.parametrize(
    ("value", "step", "below", "above"),
    [
        ("1.2345", "0.001", "1.234", "1.235"),
        ("1.234", "0.001", "1.234", "1.234"),
        ("0.0004", "0.001", "0", "0.001"),
        ("17", "5", "15", "20"),
        ("-1.2345", "0.001", "-1.235", "-1.234"),
    ],
)
def test_sizes_go_to_the_step_below_or_above(value: str, step: str, below: str, above: str) -> None:
    assert floor_to_step(D(value), D(step)) == D(below)
    assert ceil_to_step(D(value), D(step)) == D(above)


def test_a_hair_below_a_step_is_not_rounded_up_to_it() -> None:
    # A quotient of 28 digits would say that this is 1.
    assert floor_to_step(D("0.00099999999999999999999999999999999"), D("0.001")) == 0


@pytest.mark.parametrize(
    ("price", "tick"), [("10.25", "10.3"), ("10.24", "10.2"), ("10.3", "10.3")]
)
def test_prices_go_to_the_nearest_tick(price: str, tick: str) -> None:
    assert round_to_tick(D(price), D("0.1")) == D(tick)


def test_a_product_keeps_every_digit() -> None:
    # (10**20 + 1) squared has 41 digits, far beyond the 28 of the default context.
    whole = 10**20 + 1
    assert product(D(whole), D(whole), D("0.1")) == D(whole * whole).scaleb(-1, EXACT)


def test_atoms_refuse_what_lies_off_the_grid() -> None:
    assert atoms_of(D("1.23456789")) == 123_456_789
    assert amount_of(123_456_789) == D("1.23456789")
    with pytest.raises(AssertionError):
        atoms_of(D("0.000000001"))


def test_floats_become_what_they_print_as() -> None:
    assert decimal_of(0.1) == D("0.1")
    assert decimal_of(1e-7) == D("0.0000001")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.500", "1.5"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("1E-8", "0.00000001"),
    ],
)
def test_plain_digits(value: str, text: str) -> None:
    assert plain(D(value)) == text


def test_multiples_lie_on_the_grid() -> None:
    assert is_multiple(D("0.3"), D("0.1"))
    assert not is_multiple(D("0.35"), D("0.1"))
