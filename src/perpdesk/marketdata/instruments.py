"""Instruments as of a date: rules, margin tiers and fees, each with its own date of observation.

The package ships a snapshot (`snapshot/*.json`); what the user imports and what is fetched from the
venue lies in `DATA_DIR/instruments/` and is looked at as well. Where the wanted date was not
observed, the last observation before it stands in, else the first one after it, and the
instrument's note says so.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, Self, TypeVar

from perpdesk.domain.candles import DAY_MS, Venue
from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.instrument import (
    FeePeriod,
    FeeSchedule,
    Instrument,
    MarginTier,
    with_deductions,
)
from perpdesk.domain.numbers import ZERO
from perpdesk.marketdata.atomic_files import disk_errors, replace_durably
from perpdesk.marketdata.exchange_answers import ACCOUNT, Document, read_answer
from perpdesk.marketdata.instrument_records import (
    SECTIONS,
    IntervalRecord,
    Observation,
    RuleRecord,
    TierRecord,
    day_text,
    observation_of,
    read_observation,
)

SNAPSHOT: Final = Path(__file__).parent / "snapshot"
DEFAULT_VIP_TIER: Final = "VIP0"
NEAR_MS: Final = 31 * DAY_MS
"""An observation this close to the wanted date needs no remark."""

CONFIRMED: Final = "_confirmed.json"
"""When the venue was last seen to say the same: {venue: {section: {symbol: ms}}}."""

Confirmed = Mapping[str, Mapping[str, Mapping[str, int]]]

_Record = TypeVar("_Record", RuleRecord, TierRecord, IntervalRecord)


def _cautious_tiers() -> tuple[MarginTier, ...]:
    floors = ("0", "25000", "100000", "250000", "1000000")
    caps = ("25000", "100000", "250000", "1000000", "5000000")
    leverages, rates = ("20", "10", "5", "2", "1"), ("0.025", "0.05", "0.1", "0.25", "0.5")
    rows = zip(floors, caps, leverages, rates, strict=True)
    return with_deductions(
        [
            MarginTier(
                floor=Decimal(floor),
                cap=Decimal(cap),
                max_leverage=Decimal(leverage),
                maintenance_rate=Decimal(rate),
                deduction=ZERO,
            )
            for floor, cap, leverage, rate in rows
        ]
    )


CAUTIOUS_TIERS: Final = _cautious_tiers()
"""For a symbol without recorded tiers: stricter than any recorded table of a main symbol."""


class InstrumentBook:
    """What is known of the venues' instruments, by date."""

    def __init__(
        self, observations: Sequence[Observation], confirmed: Confirmed | None = None
    ) -> None:
        self._confirmed = confirmed or {}
        self._intervals: dict[tuple[Venue, str], list[IntervalRecord]] = defaultdict(list)
        self._rules: dict[tuple[Venue, str], list[RuleRecord]] = defaultdict(list)
        self._tiers: dict[tuple[Venue, str], list[TierRecord]] = defaultdict(list)
        self._fees: dict[tuple[Venue, str], tuple[FeeSchedule, str]] = {}
        for seen in observations:
            for symbol, rule in seen.rules.items():
                self._rules[seen.venue, symbol].append(rule)
            for symbol, tier in seen.tiers.items():
                self._tiers[seen.venue, symbol].append(tier)
            for symbol, interval in seen.intervals.items():
                self._intervals[seen.venue, symbol].append(interval)
            for name, schedule in seen.fees.items():
                self._fees[seen.venue, name] = self._with_earlier(seen.venue, name, schedule)

    @classmethod
    def load(cls, data_dir: Path | None = None) -> Self:
        """Read the package's snapshot, and the user's own records where data_dir is given."""
        paths = sorted(SNAPSHOT.glob("*.json"))
        if data_dir is not None:
            paths += sorted((data_dir / "instruments").glob("[!_]*.json"))
        confirmed = read_confirmed(data_dir) if data_dir is not None else {}
        return cls([read_observation(path) for path in paths], confirmed)

    def symbols(self, venue: Venue) -> list[str]:
        """Return the symbols whose rules are known, in order of the alphabet."""
        return sorted({symbol for known, symbol in self._rules if known is _rule_venue(venue)})

    def vip_tiers(self, venue: Venue) -> list[str]:
        """Return the names of the venue's fee schedules, in order of the alphabet."""
        known = {name for one, name in self._fees if one is _rule_venue(venue)}
        return sorted(name for name in known if not name.startswith(f"{ACCOUNT}:"))

    def as_of(
        self, venue: Venue, symbol: str, ts_ms: int, *, vip_tier: str = DEFAULT_VIP_TIER
    ) -> Instrument:
        """Return the instrument as it was at a time, as far as that is known.

        vip_tier: "VIP0" and upwards, or "ACCOUNT" for rates imported from the account's own answer.
        Raises UsageRefused for a symbol or tier that is not known.
        """
        source = _rule_venue(venue)
        rules = self._rules.get((source, symbol))
        if rules is None:
            raise UsageRefused(
                f"{symbol} is not known on {venue}",
                next_step=f"Known: {', '.join(self.symbols(venue))}. For another one, save the "
                "exchange's answer and run: perpdesk data import-instruments FILE",
            )
        rule = _nearest(rules, ts_ms)
        notes = [self._remark("rules", source, symbol, rules, rule, ts_ms), rule.note]
        tiers, tiers_observed_ms, tier_notes = self._tiers_as_of(source, symbol, ts_ms)
        fees, fee_note = self._fee_schedule(source, symbol, vip_tier)
        notes += [*tier_notes, fee_note]
        if venue is not source:
            notes.append(
                "spot has no perpetual contract: rules, tiers and fees of the Binance perpetual "
                "stand in, for study only"
            )
        return Instrument(
            venue=venue,
            symbol=symbol,
            base=rule.base,
            quote=rule.quote,
            **rule.numbers,
            funding_interval_ms=self.interval_by(source, symbol, ts_ms) or rule.funding_interval_ms,
            tiers=tiers,
            fees=fees,
            observed_ms=rule.observed_ms,
            tiers_observed_ms=tiers_observed_ms,
            note="; ".join(note for note in notes if note),
        )

    def _tiers_as_of(
        self, venue: Venue, symbol: str, ts_ms: int
    ) -> tuple[tuple[MarginTier, ...], int, list[str]]:
        records = self._tiers.get((venue, symbol))
        if records is None:
            return CAUTIOUS_TIERS, 0, ["no margin tiers are known: a cautious table stands in"]
        record = _nearest(records, ts_ms)
        remark = self._remark("tiers", venue, symbol, records, record, ts_ms)
        return record.tiers, record.observed_ms, [remark, record.note]

    def rule_by(self, venue: Venue, symbol: str, ts_ms: int) -> RuleRecord | None:
        """Return the last rules observed by a time, None where there are none yet."""
        return _last_by(self._rules.get((venue, symbol), ()), ts_ms)

    def tiers_by(self, venue: Venue, symbol: str, ts_ms: int) -> TierRecord | None:
        """Return the last margin tiers observed by a time, None where there are none yet."""
        return _last_by(self._tiers.get((venue, symbol), ()), ts_ms)

    def fees_by(self, venue: Venue, name: str, ts_ms: int) -> FeePeriod | None:
        """Return the period of a fee schedule that had begun by a time, None without one."""
        schedule = self._fees.get((venue, name))
        periods = schedule[0].periods if schedule is not None else ()
        begun = [period for period in periods if period.valid_from_ms <= ts_ms]
        return begun[-1] if begun else None

    def interval_by(self, venue: Venue, symbol: str, ts_ms: int) -> int | None:
        """Return the funding interval that fundingInfo last gave by a time, None if it never did.

        Binance's rules do not say it; those of Bybit do.
        """
        said = _last_by(self._intervals.get((venue, symbol), ()), ts_ms)
        return None if said is None else said.interval_ms

    def _remark(
        self,
        section: str,
        venue: Venue,
        symbol: str,
        records: Sequence[_Record],
        record: _Record,
        ts_ms: int,
    ) -> str:
        """Return what stands in for what, nothing where the venue was seen to say so by then."""
        confirmed_ms = self._confirmed.get(venue, {}).get(section, {}).get(symbol, 0)
        is_last = record.observed_ms == max(one.observed_ms for one in records)
        if is_last and record.observed_ms <= ts_ms <= confirmed_ms + NEAR_MS:
            return ""
        what = "margin tiers" if section == "tiers" else section
        return _stand_in(what, record.observed_ms, ts_ms)

    def _fee_schedule(self, venue: Venue, symbol: str, vip_tier: str) -> tuple[FeeSchedule, str]:
        name = f"{ACCOUNT}:{symbol}" if vip_tier == ACCOUNT else vip_tier
        found = self._fees.get((venue, name))
        if found is None:
            raise UsageRefused(
                f"no fees are known for {vip_tier} on {venue}",
                next_step=f"Known tiers: {', '.join(self.vip_tiers(venue))}; or {ACCOUNT}, after "
                "importing the account's own fee-rate or commissionRate answer.",
            )
        return found

    def _with_earlier(
        self, venue: Venue, name: str, schedule: tuple[FeeSchedule, str]
    ) -> tuple[FeeSchedule, str]:
        """Return a schedule joined with what was read before; for one date the later file wins."""
        before = self._fees.get((venue, name))
        if before is None:
            return schedule
        by_date = {p.valid_from_ms: p for p in (*before[0].periods, *schedule[0].periods)}
        periods: tuple[FeePeriod, ...] = tuple(by_date[start] for start in sorted(by_date))
        note = "; ".join(text for text in (before[1], schedule[1]) if text)
        return FeeSchedule(name=name, periods=periods), note


def import_exchange_answer(
    path: Path, observed_ms: int | None = None, *, data_dir: Path
) -> tuple[Path, Document]:
    """Store a recorded answer under DATA_DIR/instruments; return the file and what it says.

    Raises DataRefused where the answer is not known, or its date is neither given nor inside it.
    """
    document = read_answer(path, observed_ms)
    observation_of(document)
    kinds = "-".join(kind for kind in SECTIONS if kind in document)
    names = sorted({one for kind in SECTIONS for one in document.get(kind, {})})
    which = f"-{names[0].replace(':', '-')}" if len(names) == 1 else ""
    target = (
        data_dir
        / "instruments"
        / (f"{document['venue']}-{kinds}{which}-{document['observed']}.json")
    )
    with disk_errors(f"storing {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(target, (json.dumps(document, indent=1) + "\n").encode())
    return target, document


def _rule_venue(venue: Venue) -> Venue:
    """Return the venue whose rules are used: spot data is studied under those of the perpetual."""
    return Venue.BINANCE if venue is Venue.BINANCE_SPOT else venue


def read_confirmed(data_dir: Path) -> Confirmed:
    """Return when venues were last seen to say the same; nothing where that is not known."""
    try:
        found: Confirmed = json.loads((data_dir / "instruments" / CONFIRMED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _last_by(records: Sequence[_Record], ts_ms: int) -> _Record | None:
    """Return the last record observed by a time; of equals the one that was read last."""
    earlier = [record for record in records if record.observed_ms <= ts_ms]
    return max(earlier[::-1], key=lambda record: record.observed_ms) if earlier else None


def _nearest(records: Sequence[_Record], ts_ms: int) -> _Record:
    """Return the last record observed by ts_ms, else the first one after; of equals the later."""
    last = _last_by(records, ts_ms)
    if last is not None:
        return last
    return min(records[::-1], key=lambda record: record.observed_ms)


def _stand_in(what: str, observed_ms: int, ts_ms: int) -> str:
    if abs(observed_ms - ts_ms) <= NEAR_MS:
        return ""
    return f"{what} observed on {day_text(observed_ms)} stand in for {day_text(ts_ms)}"
