"""Times of any file as UTC milliseconds; a local time without its offset is refused."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perpdesk.domain.candles import Times
from perpdesk.domain.errors import DataRefused, UsageRefused

Counts = npt.NDArray[Any]

UNITS: Final = (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", 1e20))
"""A count below the bound is in that unit: 1e11 s is the year 5138, 1e11 ms is March 1973."""

MS_PER_UNIT: Final = {"s": 1000.0, "ms": 1.0, "us": 0.001, "ns": 0.000001}
SAY_OFFSET: Final = (
    "If you know the clock, say so: --utc-offset +00:00 for UTC. Else get a file with UTC times."
)


def parse_utc_offset(text: str) -> int:
    """Read "+03:00", "-05:30" or "Z" and return milliseconds east of UTC."""
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", text.strip())
    if text.strip().upper() in ("Z", "UTC"):
        return 0
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise UsageRefused(
            f"{text!r} is not a UTC offset", next_step="Write it as +00:00, +03:00 or -05:00."
        )
    minutes = int(match[2]) * 60 + int(match[3])
    return minutes * 60_000 * (1 if match[1] == "+" else -1)


def utc_ms(
    column: pa.ChunkedArray, *, path: str, field: str, utc_offset_ms: int | None = None
) -> Times:
    """Return a time column as UTC milliseconds, (n,) int64.

    Counts are s, ms, µs or ns by their size; timestamps and ISO texts must carry their offset,
    unless utc_offset_ms says what it is.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _from_timestamps(column, path, field, utc_offset_ms)
    if pa.types.is_date(kind):
        raise _local_time(path, field, str(column[0].as_py()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _from_counts(_numbers(column, path, field), path, field)
    if (counts := as_whole_numbers(column)) is not None:
        return _from_counts(counts, path, field)
    texts = column.to_pylist()
    if texts and _is_count(texts[0]):
        return _from_counts(_parsed(texts, path, field), path, field)
    return _from_texts(texts, path, field, utc_offset_ms)


def _from_timestamps(
    column: pa.ChunkedArray, path: str, field: str, utc_offset_ms: int | None
) -> Times:
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise DataRefused(
            f"{path}: row {row:,}, {field} is empty", next_step="Remove the row, or fill it in."
        )
    offset_ms = 0
    if column.type.tz is None:
        if utc_offset_ms is None:
            raise _local_time(path, field, str(column[0].as_py()))
        offset_ms = utc_offset_ms
    counts = column.cast(pa.int64()).to_numpy()
    per_ms = {"s": 1000, "ms": 1, "us": 0.001, "ns": 0.000001}[column.type.unit]
    ms = counts * per_ms if per_ms >= 1 else counts // round(1 / per_ms)
    return np.asarray(ms, np.int64) - offset_ms


def _numbers(column: pa.ChunkedArray, path: str, field: str) -> Counts:
    values: Counts = column.to_numpy()
    bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)
    if bad.any():
        row = int(np.argmax(bad)) + 1
        raise DataRefused(
            f"{path}: row {row:,}, {field} = {values[row - 1]}: is not a time",
            next_step="Remove the row, or get the file again.",
        )
    return values


def as_whole_numbers(column: pa.ChunkedArray) -> Times | None:
    """Return a text column as int64, None where any text is not a whole number."""
    try:
        return np.asarray(pc.utf8_trim_whitespace(column).cast(pa.int64()).to_numpy(), np.int64)
    except pa.ArrowException:
        return None


def _is_count(text: str) -> bool:
    return re.fullmatch(r"\s*\d+(\.\d+)?([eE][+]?\d+)?\s*", text) is not None


def _parsed(texts: list[str], path: str, field: str) -> Counts:
    for row, text in enumerate(texts, 1):
        if not _is_count(text):
            raise DataRefused(
                f"{path}: row {row:,}, {field} = {text!r}: is not a time",
                next_step="Remove the row, or get the file again.",
            )
    return np.array(texts, dtype=np.str_).astype(np.float64)


def _from_counts(counts: Counts, path: str, field: str) -> Times:
    if len(counts) == 0:
        return np.empty(0, np.int64)
    units = [_unit(float(value)) for value in (counts.min(), counts.max())]
    if units[0] != units[1]:
        first = _unit(float(counts[0]))
        row = next(row for row, value in enumerate(counts, 1) if _unit(float(value)) != first)
        raise DataRefused(
            f"{path}: row {row:,}, {field} = {counts[row - 1]}: the rows before are in {first}",
            next_step="Write all times of the file in one unit, milliseconds by preference.",
        )
    unit = units[0]
    if counts.dtype.kind == "i":
        per_ms = {"us": 1000, "ns": 1_000_000}.get(unit, 1)
        return np.asarray(counts * (1000 if unit == "s" else 1) // per_ms, np.int64)
    return np.asarray(np.rint(counts * MS_PER_UNIT[unit]), np.int64)


def _unit(value: float) -> str:
    return next((unit for unit, bound in UNITS if abs(value) < bound), "ns")


def _from_texts(texts: list[str], path: str, field: str, utc_offset_ms: int | None) -> Times:
    zone = UTC if utc_offset_ms is None else timezone(timedelta(milliseconds=utc_offset_ms))
    result = np.empty(len(texts), np.int64)
    for index, text in enumerate(texts):
        moment = _moment(text)
        if moment is None:
            raise DataRefused(
                f"{path}: row {index + 1:,}, {field} = {text!r}: is not a time",
                next_step="Write times as UTC milliseconds, or as 2023-01-31T00:00:00Z.",
            )
        if moment.tzinfo is None:
            if utc_offset_ms is None:
                raise _local_time(path, field, text, row=index + 1)
            moment = moment.replace(tzinfo=zone)
        result[index] = round(moment.timestamp() * 1000)
    return result


def _moment(text: str) -> datetime | None:
    dotted = re.sub(r"^(\d{4})[./](\d{2})[./](\d{2})", r"\1-\2-\3", text.strip())
    try:
        return datetime.fromisoformat(dotted.removesuffix(" UTC") + "Z" * dotted.endswith(" UTC"))
    except ValueError:
        return None


def _local_time(path: str, field: str, text: str, row: int = 1) -> DataRefused:
    return DataRefused(
        f"{path}: row {row:,}, {field} = {text!r}: a local time without its UTC offset",
        next_step=SAY_OFFSET,
    )
