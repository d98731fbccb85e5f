"""What a venue says of its instruments now, kept with its date.

Only what differs from the last observation is stored, in `DATA_DIR/instruments/`, one document a
venue and day; that the rest was said again is kept in `_confirmed.json`. `InstrumentBook` reads
both, so rules, tiers and fees stay known as of any date.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.ports import ReferenceAnswer, ReferenceSource
from perpdesk.marketdata.atomic_files import disk_errors, exclusive, replace_durably
from perpdesk.marketdata.exchange_answers import (
    DEFAULT_FUNDING_INTERVAL_MS,
    Document,
    document_of,
)
from perpdesk.marketdata.instrument_records import (
    SECTIONS,
    Observation,
    day_text,
    observation_of,
    read_observation,
)
from perpdesk.marketdata.instruments import CONFIRMED, InstrumentBook, read_confirmed

FRESH_MS: Final = HOUR_MS
"""Rules change without notice: what is older than this is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one refresh changed. changed: names by section. path: None where nothing did."""

    venue: Venue
    observed_ms: int
    changed: Mapping[str, tuple[str, ...]]
    unchanged: int
    path: Path | None


class ReferenceKeeper:
    """Keeps `DATA_DIR/instruments` in step with one venue. now_ms: wall time, for its age."""

    def __init__(
        self,
        data_dir: Path,
        source: ReferenceSource,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._data_dir = data_dir
        self._source = source
        self._now_ms = now_ms

    async def refresh(self, symbols: Sequence[str] = ()) -> Kept:
        """Ask for rules, tiers and fees of the symbols, of all that trade unless given; keep them.

        Raises VenueRejected for an unknown symbol, DataRefused for an answer that cannot be read.
        """
        wanted = tuple(symbols) or await self._source.symbols()
        answers = await self._source.reference(wanted)
        return keep(self._data_dir, self._source.venue, answers)

    async def refresh_if_older(
        self, symbols: Sequence[str], *, max_age_ms: int = FRESH_MS
    ) -> Kept | None:
        """Refresh unless the rules of every symbol were seen within `max_age_ms`."""
        seen = read_confirmed(self._data_dir).get(self._source.venue, {}).get("rules", {})
        oldest_ms = min((seen.get(symbol, 0) for symbol in symbols), default=0)
        if self._now_ms() - oldest_ms <= max_age_ms:
            return None
        return await self.refresh(symbols)


def keep(data_dir: Path, venue: Venue, answers: Sequence[ReferenceAnswer]) -> Kept:
    """Store what the answers say and was not known as of their time."""
    if not answers:
        raise DataRefused(
            f"{venue} said nothing about its instruments", next_step="Run the same command again."
        )
    observed_ms = max(answer.observed_ms for answer in answers)
    said = _said(venue, answers, observed_ms)
    seen = observation_of(said)
    if seen.venue is not venue:
        raise DataRefused(
            f"the answers are those of {seen.venue}, not of {venue}",
            next_step="Check the addresses of the venues: perpdesk config show",
        )
    folder = data_dir / "instruments"
    with disk_errors(f"storing instruments in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder):
            book = InstrumentBook.load(data_dir)
            changed = _changed(book, seen, observed_ms)
            path = _store(folder, said, changed) if any(changed.values()) else None
            _confirm(data_dir, said, observed_ms)
    total = sum(len(said.get(section, {})) for section in SECTIONS)
    return Kept(
        venue=venue,
        observed_ms=observed_ms,
        changed={section: tuple(names) for section, names in changed.items() if names},
        unchanged=total - sum(map(len, changed.values())),
        path=path,
    )


def _said(venue: Venue, answers: Sequence[ReferenceAnswer], observed_ms: int) -> Document:
    """Return all answers as one document."""
    said: Document = {
        "venue": venue.value,
        "observed": day_text(observed_ms),
        "source": ", ".join(dict.fromkeys(answer.name for answer in answers)),
    }
    for answer in answers:
        if answer.name == "fundingInfo" and answer.answer == []:
            said.setdefault("funding_intervals", {})  # every symbol settles at the default
            continue
        one = document_of(
            answer.answer,
            answer.observed_ms,
            origin=f"the answer of {answer.name}",
            source=answer.name,
        )
        said["venue"] = one["venue"]
        for section in SECTIONS:
            if section in one:
                said[section] = {**said.get(section, {}), **one[section]}
    if "funding_intervals" in said and "rules" in said:
        # fundingInfo lists what differs from the default, so absence says something too.
        usual = dict.fromkeys(said["rules"], DEFAULT_FUNDING_INTERVAL_MS)
        said["funding_intervals"] = {**usual, **said["funding_intervals"]}
    return said


def _changed(book: InstrumentBook, seen: Observation, ts_ms: int) -> dict[str, list[str]]:
    """Return the names in each section of which something else, or nothing, was known before."""
    changed: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for symbol, rule in seen.rules.items():
        known = book.rule_by(seen.venue, symbol, ts_ms)
        if known is None or _facts(known) != _facts(rule):
            changed["rules"].append(symbol)
    for symbol, record in seen.tiers.items():
        tiers = book.tiers_by(seen.venue, symbol, ts_ms)
        if tiers is None or tiers.tiers != record.tiers:
            changed["tiers"].append(symbol)
    for symbol, interval in seen.intervals.items():
        before_ms = book.interval_by(seen.venue, symbol, ts_ms) or DEFAULT_FUNDING_INTERVAL_MS
        if before_ms != interval.interval_ms:
            changed["funding_intervals"].append(symbol)
    for name, (schedule, _) in seen.fees.items():
        period = book.fees_by(seen.venue, name, ts_ms)
        if period is None or period.rates != schedule.periods[-1].rates:
            changed["fees"].append(name)
    return changed


def _facts(rule: Any) -> tuple[object, ...]:
    return rule.base, rule.quote, dict(rule.numbers), rule.funding_interval_ms


def _store(folder: Path, said: Document, changed: Mapping[str, Sequence[str]]) -> Path:
    """Add what changed to the day's document of the venue."""
    # Of one day, the document that is read last wins: "venue" comes after what is imported.
    path = folder / f"{said['venue']}-venue-{said['observed']}.json"
    document: Document = {name: said[name] for name in ("venue", "observed", "source")}
    if path.exists():
        read_observation(path)  # a damaged one is refused, not overwritten
        document = json.loads(path.read_bytes())
    for section, names in changed.items():
        if names:
            new = {name: said[section][name] for name in names}
            document[section] = {**document.get(section, {}), **new}
    replace_durably(path, (json.dumps(document, indent=1) + "\n").encode())
    return path


def _confirm(data_dir: Path, said: Document, observed_ms: int) -> None:
    known: dict[str, Any] = {**read_confirmed(data_dir)}
    of_venue = {section: dict(names) for section, names in known.get(said["venue"], {}).items()}
    for section in SECTIONS:
        for name in said.get(section, {}):
            of_venue.setdefault(section, {})[name] = observed_ms
    document = {**known, said["venue"]: of_venue}
    replace_durably(data_dir / "instruments" / CONFIRMED, json.dumps(document).encode())
