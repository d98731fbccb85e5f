"""How rows of the account curve are written."""

from decimal import Decimal

import numpy as np
import pytest

from perpdesk.backtest.artifacts import CURVE_COLUMNS, curve_lines


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
    ],
)
def test_amounts_are_written_with_eight_places_and_no_exponent(atoms: int, written: str) -> None:
    time, *amounts = curve_lines(columns_of(atoms)).decode().strip().split(",")
    assert time == str(atoms)
    assert amounts == [written] * 7


def test_a_part_with_tiny_amounts_reads_as_the_same_numbers() -> None:
    rows = [0, 5, -250_000_000, 123_456_789_012]
    lines = curve_lines(columns_of(*rows)).decode().splitlines()
    read = [[Decimal(field) for field in line.split(",")[1:]] for line in lines]
    assert read == [[Decimal(atoms).scaleb(-8)] * 7 for atoms in rows]
