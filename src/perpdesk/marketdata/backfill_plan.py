"""What to ask a venue for: what is wanted, less what is stored, in windows of one request each."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from perpdesk.domain.candles import HOUR_MS, DataKind, Timeframe, Times
from perpdesk.domain.errors import UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import (
    LONGEST_FUNDING_INTERVAL_MS,
    SAME_SETTLEMENT_MS,
    bar_numbers,
    funding_gaps_of,
)
from perpdesk.marketdata.manifest import Part
from perpdesk.marketdata.series import PartSpan, SeriesKey
from perpdesk.marketdata.settled import read_settled
from perpdesk.marketdata.spans import Span, by_part, inside, part_of, subtract, union

SHORTEST_FUNDING_INTERVAL_MS: Final = HOUR_MS
TRADE_WINDOW_MS: Final = HOUR_MS
"""Binance answers aggregated trades for an hour at most; a busy hour takes several pages."""

NEWEST_FIRST: Final = frozenset({DataKind.TRADES, DataKind.OPEN_INTEREST})
"""Venues keep these for a while only: the way back ends where nothing is kept any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A range of one series, start_ms <= time < end_ms.

    period: the step of open interest, and of nothing else. holes_only: only what lies between rows
    that are stored, known holes of the venue included (that is healing).
    """

    key: SeriesKey
    start_ms: int
    end_ms: int
    period: Timeframe | None = None
    holes_only: bool = False

    @property
    def grid(self) -> Timeframe | None:
        """Return the step on which rows must lie; None for funding and trades."""
        return self.key.timeframe or self.period


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """One request. missing: the times that it should bring, (n,) int64; None without a grid."""

    span: Span
    missing: Times | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The windows of one part, stored together.

    is_repair: the stored part is damaged, so it is replaced whole or left alone.
    """

    part: Span
    windows: tuple[Window, ...]
    is_repair: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is to be asked for one series, in this order. rows_stored: in the range already."""

    wanted: Wanted
    chunks: tuple[Chunk, ...]
    rows_stored: int

    @property
    def length_ms(self) -> int:
        """Return how much time the windows cover together."""
        spans = [window.span for chunk in self.chunks for window in chunk.windows]
        return sum(span.end_ms - span.start_ms for span in spans)

    @property
    def rows_expected(self) -> int | None:
        """Return how many rows a venue without holes would bring; None where nobody can know."""
        if self.wanted.grid is not None:
            windows = [window for chunk in self.chunks for window in chunk.windows]
            return sum(len(w.missing) for w in windows if w.missing is not None)
        if self.wanted.key.kind is DataKind.FUNDING:
            return self.length_ms // LONGEST_FUNDING_INTERVAL_MS
        return None


def make_plan(store: CandleStore, wanted: Wanted, *, page_rows: int, now_ms: int) -> Plan:
    """Return what is wanted, over by the venue's clock, and neither stored nor settled."""
    key, grid = wanted.key, wanted.grid
    times, damaged = _stored(store, wanted)
    settled = read_settled(store, key)
    end_ms = min(wanted.end_ms, now_ms if grid is None else grid.floor(now_ms))
    spans = [Span(wanted.start_ms, end_ms)] if end_ms > wanted.start_ms else []
    broken = [Span(part.first_ts_ms, part.last_ts_ms + 1) for part in damaged]
    broken_parts = {part_of(span.start_ms, key.span) for span in broken}
    if grid is not None:
        known = [] if wanted.holes_only else subtract(settled, broken)
        missing = _missing_times(grid, union(spans, broken), times, known)
        pieces = _grid_chunks(missing, grid, key.span, page_rows)
    else:
        if wanted.holes_only:
            holes = funding_gaps_of(times) if key.kind is DataKind.FUNDING else []
            spans = [Span(gap.start_ms - SAME_SETTLEMENT_MS, gap.end_ms) for gap in holes]
        else:
            spans = subtract(spans, subtract(settled, broken))
        longest_ms = page_rows * SHORTEST_FUNDING_INTERVAL_MS
        if key.kind is DataKind.TRADES:
            longest_ms = TRADE_WINDOW_MS
        pieces = _plain_chunks(union(spans, broken), key.span, longest_ms)
    chunks = [
        Chunk(part=part, windows=windows, is_repair=part in broken_parts)
        for part, windows in pieces
    ]
    if key.kind in NEWEST_FIRST:
        chunks.reverse()
    first, last = np.searchsorted(times, [wanted.start_ms, wanted.end_ms])
    return Plan(
        wanted=wanted,
        chunks=tuple(chunks),
        rows_stored=int(last - first),
    )


def _stored(store: CandleStore, wanted: Wanted) -> tuple[Times, tuple[Part, ...]]:
    """Return the times that are stored, and the damaged parts that the range touches."""
    key = wanted.key
    if not store.has(key.venue, key.symbol, key.kind, key.timeframe):
        return np.empty(0, np.int64), ()
    times, damaged = store.sound_times(key)
    if wanted.period is not None and len(times) and store.period(key) != wanted.period:
        stored = store.period(key)
        raise UsageRefused(
            f"{key} is stored every {stored}, not every {wanted.period}",
            next_step=f"Go on with every {stored}, or delete it first: {key.delete_command()}",
        )
    touched = [
        part
        for part in damaged
        if part_of(part.first_ts_ms, key.span).end_ms > wanted.start_ms
        and part_of(part.first_ts_ms, key.span).start_ms < wanted.end_ms
    ]
    return times, tuple(touched)


def grid_times(grid: Timeframe, span: Span) -> Times:
    """Return the open times of a grid with start <= time < end."""
    if span.end_ms <= span.start_ms:
        return np.empty(0, np.int64)
    first_ms = grid.floor(span.start_ms)
    if grid.is_month:
        edges = np.array([first_ms, span.end_ms + 31 * 24 * HOUR_MS]).astype("datetime64[ms]")
        months = np.arange(*edges.astype("datetime64[M]"), dtype="datetime64[M]")
        opens = months.astype("datetime64[ms]").astype(np.int64)
    else:
        opens = np.arange(first_ms, span.end_ms, grid.duration_ms, dtype=np.int64)
    return opens[(opens >= span.start_ms) & (opens < span.end_ms)]


def _missing_times(grid: Timeframe, spans: list[Span], stored: Times, settled: list[Span]) -> Times:
    expected = np.concatenate([np.empty(0, np.int64), *(grid_times(grid, one) for one in spans)])
    missing = np.setdiff1d(expected, stored, assume_unique=True)
    return missing[~inside(missing, settled)]


def _grid_chunks(
    missing: Times, grid: Timeframe, length: PartSpan, page_rows: int
) -> list[tuple[Span, tuple[Window, ...]]]:
    """Split missing times into parts, and each part into windows that one request can bring.

    Holes near one another share a window: its stored rows are asked for again, which is cheaper
    than a request for each hole.
    """
    chunks: list[tuple[Span, tuple[Window, ...]]] = []
    start = 0
    while start < len(missing):
        part = part_of(int(missing[start]), length)
        stop = int(np.searchsorted(missing, part.end_ms))
        chunks.append((part, tuple(_windows(missing[start:stop], grid, page_rows))))
        start = stop
    return chunks


def _windows(missing: Times, grid: Timeframe, page_rows: int) -> list[Window]:
    numbers = bar_numbers(missing, grid)
    windows: list[Window] = []
    start = 0
    while start < len(missing):
        stop = int(np.searchsorted(numbers, numbers[start] + page_rows))
        span = Span(int(missing[start]), grid.close_ms(int(missing[stop - 1])))
        windows.append(Window(span=span, missing=missing[start:stop]))
        start = stop
    return windows


def _plain_chunks(
    spans: list[Span], length: PartSpan, longest_ms: int
) -> list[tuple[Span, tuple[Window, ...]]]:
    return [
        (
            part,
            tuple(
                Window(span=Span(start, min(start + longest_ms, piece.end_ms)), missing=None)
                for piece in pieces
                for start in range(piece.start_ms, piece.end_ms, longest_ms)
            ),
        )
        for part, pieces in by_part(spans, length)
    ]
