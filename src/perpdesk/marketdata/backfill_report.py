"""What a download tells: how far each series is, and what became of it."""

from dataclasses import dataclass

from perpdesk.marketdata.gaps import Gap
from perpdesk.marketdata.series import SeriesKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesProgress:
    """How far one series is. share: of the time to be covered, 0 to 1.

    rows_expected: what a venue without holes would bring, None where nobody can know. eta_s, rate
    (rows a second): None before anything came in.
    """

    key: SeriesKey
    rows_done: int
    rows_expected: int | None
    share: float
    eta_s: float | None
    rows_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReport:
    """What became of one series.

    rows_before: stored in the range before. rows_added: stored now. holes: what the venue, asked
    twice, does not have; nothing stands in for it. kept_from_ms: the venue keeps nothing before.
    is_damaged: a part was damaged before, and the venue has nothing to replace it with.
    """

    key: SeriesKey
    rows_before: int
    rows_added: int
    requests: int
    holes: tuple[Gap, ...]
    kept_from_ms: int | None
    is_damaged: bool
    is_complete: bool
