"""Dated observations of what a venue allows and charges: the form in which they are kept.

One JSON document is one observation:

    {"venue": "binance", "observed": "2025-08-07", "source": "...", "note": "...",
     "rules": {"BTCUSDT": {"base": "BTC", "quote": "USDT", "tick_size": "0.10", ...}},
     "tiers": {"BTCUSDT": [{"floor": "0", "cap": "50000", "max_leverage": "125",
                            "maintenance_rate": "0.004", "deduction": "0"}, ...]},
     "funding_intervals": {"BLZUSDT": 14400000},
     "fees": {"VIP0": [{"valid_from": "2019-09-08", "maker": "0.0002", "taker": "0.0004",
                        "source": "...", "note": "..."}]}}

Every number is a decimal in quotes, but for times in ms. Each of `SECTIONS` may be absent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.instrument import FeePeriod, FeeRates, FeeSchedule, MarginTier

SECTIONS: Final = ("rules", "tiers", "funding_intervals", "fees")

NUMBERS: Final = (
    "tick_size",
    "step_size",
    "min_quantity",
    "min_notional",
    "max_limit_quantity",
    "max_market_quantity",
    "price_band_rate",
    "liquidation_fee_rate",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """The trading rules of one symbol as observed once. numbers: by the names in `NUMBERS`."""

    base: str
    quote: str
    numbers: Mapping[str, Decimal]
    funding_interval_ms: int
    observed_ms: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRecord:
    """The margin tiers of one symbol as observed once."""

    tiers: tuple[MarginTier, ...]
    observed_ms: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRecord:
    """The time between two settlements of one symbol as observed once."""

    interval_ms: int
    observed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything one document says. fees: schedules by VIP tier, with one note each."""

    venue: Venue
    rules: Mapping[str, RuleRecord]
    tiers: Mapping[str, TierRecord]
    intervals: Mapping[str, IntervalRecord]
    fees: Mapping[str, tuple[FeeSchedule, str]]


def day_ms(text: str) -> int:
    """Return the UTC midnight of a date such as 2024-10-24, in milliseconds."""
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000


def day_text(ts_ms: int) -> str:
    """Return the UTC date of a time."""
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d}"


def read_observation(path: Path) -> Observation:
    """Read one document; raises DataRefused naming the file and what is wrong with it."""
    try:
        return observation_of(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataRefused(
            f"{path} is not a readable record of instruments ({reason})",
            next_step="Remove the file, then import the exchange's answer again.",
        ) from error


def observation_of(document: Mapping[str, Any]) -> Observation:
    """Return a document as records; raises KeyError or ValueError where it is malformed."""
    observed_ms = day_ms(document["observed"])
    note = document.get("note", "")
    return Observation(
        venue=Venue(document["venue"]),
        rules={
            symbol: _rule(rule, observed_ms, note)
            for symbol, rule in document.get("rules", {}).items()
        },
        tiers={
            symbol: TierRecord(tiers=_tiers(rows), observed_ms=observed_ms, note=note)
            for symbol, rows in document.get("tiers", {}).items()
        },
        intervals={
            symbol: IntervalRecord(interval_ms=int(interval_ms), observed_ms=observed_ms)
            for symbol, interval_ms in document.get("funding_intervals", {}).items()
        },
        fees={
            name: (_schedule(name, rows), _fee_note(rows))
            for name, rows in document.get("fees", {}).items()
        },
    )


def _rule(rule: Mapping[str, Any], observed_ms: int, note: str) -> RuleRecord:
    return RuleRecord(
        base=rule["base"],
        quote=rule["quote"],
        numbers={name: Decimal(rule[name]) for name in NUMBERS},
        funding_interval_ms=int(rule["funding_interval_ms"]),
        observed_ms=observed_ms,
        note="; ".join(text for text in (note, rule.get("note", "")) if text),
    )


def _tiers(rows: Sequence[Mapping[str, str]]) -> tuple[MarginTier, ...]:
    tiers = tuple(
        MarginTier(
            floor=Decimal(row["floor"]),
            cap=Decimal(row["cap"]),
            max_leverage=Decimal(row["max_leverage"]),
            maintenance_rate=Decimal(row["maintenance_rate"]),
            deduction=Decimal(row["deduction"]),
        )
        for row in rows
    )
    joined = all(low.cap == high.floor for low, high in pairwise(tiers))
    if not tiers or not joined:
        raise ValueError("the margin tiers do not follow one another")
    return tiers


def _schedule(name: str, rows: Sequence[Mapping[str, str]]) -> FeeSchedule:
    periods = tuple(
        FeePeriod(
            valid_from_ms=day_ms(row["valid_from"]),
            rates=FeeRates(maker=Decimal(row["maker"]), taker=Decimal(row["taker"])),
        )
        for row in sorted(rows, key=lambda row: row["valid_from"])
    )
    return FeeSchedule(name=name, periods=periods)


def _fee_note(rows: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(
        f"fees from {row['valid_from']}: {row['note']}" for row in rows if row.get("note")
    )
