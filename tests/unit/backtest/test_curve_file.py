"""How rows of the account curve are written."""

import csv
import errno
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perpdesk.backtest.curve_file import CURVE_COLUMNS, CurveFile
from perpdesk.domain.account import AccountCurve


def curve_of(unrealized: list[int]) -> AccountCurve:
    """Return a curve whose cash is nothing, so that equity is what is unrealized."""
    values = np.array(unrealized, np.int64)
    nothing = np.zeros(len(values), np.int64)
    return AccountCurve(
        ts_ms=np.arange(len(values), dtype=np.int64),
        cash=nothing,
        unrealized=values,
        used_margin=nothing,
        maintenance_margin=nothing,
    )


def written(path: Path, *parts: list[int]) -> list[dict[str, str]]:
    file = CurveFile(path)
    for part in parts:
        file.write(curve_of(part))
    file.finish()
    with path.open(encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.mark.parametrize(
    ("atoms", "text"),
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
        (10**18, "10000000000.00000000"),
        (2**63 - 1, "92233720368.54775807"),
        (-(2**63) + 1, "-92233720368.54775807"),
    ],
)
def test_amounts_are_written_with_eight_places_and_no_exponent(
    tmp_path: Path, atoms: int, text: str
) -> None:
    (row,) = written(tmp_path / "curve.csv", [atoms])
    assert tuple(row) == CURVE_COLUMNS
    assert row["ts_ms"] == "0"
    assert row["unrealized"] == row["equity"] == text
    assert row["cash"] == "0.00000000"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=200))
@example([0, 1, -1, 2**63 - 1])
def test_any_amounts_read_as_the_same_numbers(tmp_path: Path, atoms: list[int]) -> None:
    rows = written(tmp_path / "curve.csv", atoms[:1], atoms[1:])
    assert [Decimal(row["equity"]) for row in rows] == [Decimal(each).scaleb(-8) for each in atoms]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_as_such() -> None:
    file = CurveFile(Path("/dev/full"))
    file.write(curve_of([1] * 10))
    with pytest.raises(OSError, match="No space left") as told:
        file.finish()
    assert told.value.errno == errno.ENOSPC


def test_a_folder_that_is_gone_is_told_by_the_next_write_at_the_latest(tmp_path: Path) -> None:
    file = CurveFile(tmp_path / "gone" / "curve.csv")
    with pytest.raises(OSError, match=r"curve\.csv"):
        file.finish()
    with pytest.raises(OSError, match=r"curve\.csv"):
        file.write(curve_of([1]))
