"""How rows of the account curve are written."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perpdesk.backtest.curve_file import CURVE_COLUMNS, curve_rows


def columns_of(*atoms: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return columns with one row per value, the same in every column."""
    values = np.array(atoms, np.int64)
    return {name: values for name in CURVE_COLUMNS}


@pytest.mark.parametrize(
    ("atoms", "written"),
    [
        (0, "0.00000000"),
        (1, "0.00000001"),
        (-7, "-0.00000007"),
        (99, "0.00000099"),
        (100, "0.00000100"),
        (-100_000_000, "-1.00000000"),
        (1_000_000_000_000, "10000.00000000"),
        (-(10**17) - 1, "-1000000000.00000001"),
        (99_999_999, "0.99999999"),
        (-99_999_999, "-0.99999999"),
        (-100_000_001, "-1.00000001"),
        (9 * 10**18, "90000000000.00000000"),
    ],
)
def test_amounts_are_written_with_eight_places_and_no_exponent(atoms: int, written: str) -> None:
    time, *amounts = curve_rows(columns_of(atoms)).to_pybytes().decode().strip().split(",")
    assert time == str(atoms)
    assert amounts == [written] * 7


def test_a_part_with_tiny_amounts_reads_as_the_same_numbers() -> None:
    rows = [0, 5, -250_000_000, 123_456_789_012]
    lines = curve_rows(columns_of(*rows)).to_pybytes().decode().splitlines()[1:]
    read = [[Decimal(field) for field in line.split(",")[1:]] for line in lines]
    assert read == [[Decimal(atoms).scaleb(-8)] * 7 for atoms in rows]


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), min_size=8, max_size=8), min_size=1))
@example([[0] * 8, [1] * 8, [-1] * 8])
def test_rows_of_any_amounts_read_as_the_same_numbers(rows: list[list[int]]) -> None:
    matrix = np.array(rows, np.int64)
    columns = {name: matrix[:, place] for place, name in enumerate(CURVE_COLUMNS)}
    lines = curve_rows(columns).to_pybytes().decode().split("\n")[1:]
    read = [line.split(",") for line in lines]
    assert [[int(time), *(Decimal(each) for each in amounts)] for time, *amounts in read] == [
        [time, *(Decimal(atoms).scaleb(-8) for atoms in amounts)] for time, *amounts in rows
    ]
    assert not any("e" in field.lower() for fields in read for field in fields)
