"""Numbers and times as people read them. What has no value is a dash, never 0 or NaN."""

from datetime import UTC, datetime
from typing import Final

NOTHING: Final = "–"

_MINUTES_PER_HOUR: Final = 60
_HOURS_PER_DAY: Final = 24


def percent(value: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """Write a fraction as a percentage: 0.1234 becomes "12.34 %"."""
    return NOTHING if value is None else f"{_number(value * 100, digits, signed)} %"


def amount(value: float | None, *, signed: bool = False) -> str:
    """Write an amount of quote: two digits, more where the amount is small."""
    if value is None:
        return NOTHING
    digits = 2 if abs(value) >= 1 or value == 0 else 4
    return _number(value, digits, signed)


def ratio(value: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """Write a plain number."""
    return NOTHING if value is None else _number(value, digits, signed)


def r_multiple(value: float | None) -> str:
    """Write a multiple of the initial risk: "+1.25 R"."""
    return NOTHING if value is None else f"{_number(value, 2, signed=True)} R"


def count(value: int | None) -> str:
    """Write a whole number."""
    return NOTHING if value is None else f"{value:,}"


def days(value: float | None) -> str:
    """Write a number of days."""
    return NOTHING if value is None else f"{_number(value, 1 if value < 100 else 0, False)} days"


def hours(value: float | None) -> str:
    """Write a duration given in hours, in the unit that suits it."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value * _MINUTES_PER_HOUR:.0f} min"
    if value < 2 * _HOURS_PER_DAY:
        return f"{value:.1f} h"
    return f"{value / _HOURS_PER_DAY:.1f} days"


def moment(ts_ms: int | None) -> str:
    """Write a UTC time to the minute."""
    if ts_ms is None:
        return NOTHING
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def date(ts_ms: int | None) -> str:
    """Write a UTC date."""
    return NOTHING if ts_ms is None else moment(ts_ms)[:10]


def _number(value: float, digits: int, signed: bool) -> str:
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    # A rounded zero has no direction.
    return text.lstrip("+-") if not text.strip("+-0.,") else text
