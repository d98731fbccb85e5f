"""Times of any form become UTC milliseconds, or are refused."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.times import parse_utc_offset, utc_ms

T0 = 1_672_531_200_000
SECONDS = T0 // 1000


def read(values: Any, kind: Any = None, **options: Any) -> list[int]:
    column = pa.chunked_array([pa.array(values, kind)])
    times: list[int] = utc_ms(column, path="a.csv", field="time", **options).tolist()
    return times


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([SECONDS], pa.int64()),
        ([T0], pa.int64()),
        ([T0 * 1000], pa.int64()),
        ([T0 * 1_000_000], pa.int64()),
        ([float(SECONDS)], pa.float64()),
        ([float(T0)], pa.float64()),
        ([str(SECONDS)], pa.string()),
        ([f"{SECONDS}.0"], pa.string()),
        ([str(T0 * 1000)], pa.string()),
        (["2023-01-01T00:00:00Z"], pa.string()),
        (["2023-01-01 00:00:00 UTC"], pa.string()),
        (["2022-12-31T19:00-05:00"], pa.string()),
        ([SECONDS], pa.timestamp("s", "UTC")),
        ([T0], pa.timestamp("ms", "UTC")),
        ([T0 * 1000], pa.timestamp("us", "Europe/Berlin")),
        ([T0 * 1_000_000], pa.timestamp("ns", "UTC")),
    ],
)
def test_every_form_of_one_moment_is_the_same(values: Any, kind: Any) -> None:
    assert read(values, kind) == [T0]


def test_half_a_millisecond_before_1970_is_cut_downwards() -> None:
    assert read([datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)], pa.timestamp("ns", "UTC")) == [
        -1000
    ]


def test_a_local_timestamp_is_read_with_the_offset_that_is_given() -> None:
    hour = 3_600_000
    assert read([T0], pa.timestamp("ms"), utc_offset_ms=3 * hour) == [T0 - 3 * hour]
    assert read(["2023.01.01 03:00"], utc_offset_ms=3 * hour) == [T0]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([T0], pa.timestamp("ms")),
        (["2023-01-01"], pa.string()),
        (["2023.01.01 00:00"], pa.string()),
        ([19358], pa.date32()),
    ],
)
def test_a_local_time_is_refused(values: Any, kind: Any) -> None:
    with pytest.raises(DataRefused, match="a local time without its UTC offset"):
        read(values, kind)


@pytest.mark.parametrize(
    ("values", "kind", "row"),
    [
        ([T0, None], pa.timestamp("ms", "UTC"), 2),
        ([float(T0), float("nan")], pa.float64(), 2),
        ([str(T0), ""], pa.string(), 2),
        ([str(T0), "12a"], pa.string(), 2),
        (["2023-01-01T00:00:00Z", "later"], pa.string(), 2),
        (["later"], pa.string(), 1),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values: Any, kind: Any, row: int) -> None:
    with pytest.raises(DataRefused, match=f"a.csv: row {row}, time"):
        read(values, kind)


@pytest.mark.parametrize(
    ("text", "hours"), [("+00:00", 0), ("Z", 0), ("utc", 0), ("+03:00", 3), ("-0530", -5.5)]
)
def test_an_offset_is_read(text: str, hours: float) -> None:
    assert parse_utc_offset(text) == hours * 3_600_000


@pytest.mark.parametrize("text", ["3", "+3", "CET", "+25:00", "+03:77", ""])
def test_a_wrong_offset_is_refused(text: str) -> None:
    with pytest.raises(UsageRefused, match="is not a UTC offset"):
        parse_utc_offset(text)
