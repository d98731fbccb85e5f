"""Download of recorded data: windows in parallel, parts stored whole, and no row asked for twice.

Every part (a month of candles, a day of trades) is stored in one atomic write once its windows are
answered, or, when the download is interrupted, with the windows that were. So a download that was
stopped at any point, by Ctrl-C or by a power cut, goes on from what is stored when it is run again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from perpdesk.domain.candles import DAY_MS, HOUR_MS, DataKind, Times
from perpdesk.domain.errors import PerpdeskError, VenueUnavailable
from perpdesk.domain.ports import HistorySource
from perpdesk.marketdata.backfill_plan import NEWEST_FIRST, Chunk, Plan, Wanted, Window, make_plan
from perpdesk.marketdata.backfill_report import SeriesProgress, SeriesReport
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import Gap, funding_gaps_of, runs
from perpdesk.marketdata.pages import Page, ask, join, pick, silences, write
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.series import RECORDED
from perpdesk.marketdata.settled import add_settled
from perpdesk.marketdata.spans import Span, subtract

_Answer = TypeVar("_Answer")

LATE_ROWS_MS: Final = HOUR_MS
"""What is younger may still come in late at the venue, so an empty answer there settles nothing."""

EMPTY_PARTS: Final = 2
"""So many days of trades, or months of open interest, without a row: the venue keeps no more."""


@dataclass(slots=True, kw_only=True)
class _Series:
    """One series on its way."""

    plan: Plan
    requests: int = 0
    rows_received: int = 0
    rows_added: int = 0
    covered_ms: int = 0
    absent: list[Times] = field(default_factory=list)
    settled: list[Span] = field(default_factory=list)
    kept_from_ms: int | None = None
    is_damaged: bool = False
    is_complete: bool = False


@dataclass(slots=True)
class _Answers:
    """What the windows of one chunk have brought so far."""

    pages: list[Page] = field(default_factory=list)
    settled: list[Span] = field(default_factory=list)
    windows: int = 0


class Backfill:
    """Brings series of one venue to what that venue has.

    label: the source that stored rows are marked with. monotonic: the clock of rates, in seconds.
    """

    def __init__(
        self,
        store: CandleStore,
        source: HistorySource,
        *,
        label: str = RECORDED,
        concurrency: int = 8,
        patience: Patience | None = None,
        on_progress: Callable[[SeriesProgress], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._source = source
        self._label = label
        self._requests_at_once = asyncio.Semaphore(concurrency)
        self._patience = patience or Patience()
        self._on_progress = on_progress
        self._monotonic = monotonic
        self._now_ms = 0
        self._began = 0.0
        self._series: list[_Series] = []

    async def run(self, wanted: Sequence[Wanted]) -> tuple[SeriesReport, ...]:
        """Bring every range wanted; series go side by side.

        Raises VenueUnavailable where the venue stays away, VenueRejected where it refuses, and
        DataRefused where rows cannot be stored. What came in before is stored then, as it is when
        the task is canceled; `reports` says how much.
        """
        for one in wanted:
            self._store.require_source(one.key, self._label)
        try:
            self._now_ms = await self._patiently(self._source.now_ms)
        except VenueUnavailable as error:
            raise self._told(error) from error
        self._began = self._monotonic()
        self._series = [_Series(plan=self._plan(one)) for one in wanted]
        try:
            async with asyncio.TaskGroup() as group:
                for series in self._series:
                    group.create_task(self._bring(series))
        except BaseExceptionGroup as several:
            raise self._told(_first(several)) from several
        return self.reports()

    def reports(self) -> tuple[SeriesReport, ...]:
        """Return what has become of every series so far."""
        return tuple(self._report(series) for series in self._series)

    def _plan(self, wanted: Wanted) -> Plan:
        page_rows = self._source.page_rows(wanted.key.kind)
        return make_plan(self._store, wanted, page_rows=page_rows, now_ms=self._now_ms)

    async def _bring(self, series: _Series) -> None:
        self._tell(series)
        wanted, empty_parts, kept_from_ms = series.plan.wanted, 0, self._now_ms
        for chunk in series.plan.chunks:
            received = series.rows_received
            await self._bring_chunk(series, chunk)
            if series.rows_received > received:
                empty_parts, kept_from_ms = 0, chunk.part.start_ms
                continue
            empty_parts += 1
            if wanted.key.kind in NEWEST_FIRST and empty_parts == EMPTY_PARTS:
                # What the venue has dropped does not come back.
                self._settle(series, [Span(wanted.start_ms, chunk.part.start_ms)])
                series.kept_from_ms = kept_from_ms
                break
        series.is_complete = True
        self._tell(series)

    async def _bring_chunk(self, series: _Series, chunk: Chunk) -> None:
        answers = _Answers()
        try:
            async with asyncio.TaskGroup() as group:
                for window in chunk.windows:
                    group.create_task(self._bring_window(series, window, answers))
        finally:
            self._keep(series, chunk, answers)

    async def _bring_window(self, series: _Series, window: Window, answers: _Answers) -> None:
        wanted = series.plan.wanted
        page = await self._ask(series, window.span)
        still = self._missing(series, window, page)
        pages = [self._rows_asked_for(window, page)]
        for span in still:
            again = await self._ask(series, span)
            pages.append(self._rows_asked_for(window, again))
        page = join(pages)
        answers.pages.append(page)
        answers.windows += 1
        series.rows_received += len(page)
        series.covered_ms += window.span.end_ms - window.span.start_ms
        if window.missing is None:
            answers.settled.append(window.span)
        else:
            absent = np.setdiff1d(window.missing, page.ts_ms, assume_unique=True)
            series.absent.append(absent)
            assert wanted.grid is not None  # only a grid tells what is missing
            closes = wanted.grid.close_all(absent)
            old = closes <= self._now_ms - LATE_ROWS_MS
            answers.settled.extend(map(Span, absent[old].tolist(), closes[old].tolist()))
        self._tell(series)

    def _missing(self, series: _Series, window: Window, page: Page) -> list[Span]:
        """Return what to ask once more: the stretches where rows should be and are not."""
        wanted = series.plan.wanted
        if window.missing is None:
            return silences(wanted.key.kind, page, window.span)
        absent = np.setdiff1d(window.missing, page.ts_ms, assume_unique=True)
        if len(absent) == 0:
            return []
        assert wanted.grid is not None  # only a grid tells what is missing
        return [Span(int(absent[0]), wanted.grid.close_ms(int(absent[-1])))]

    @staticmethod
    def _rows_asked_for(window: Window, page: Page) -> Page:
        """Leave out rows that are stored already: a window may span them."""
        if window.missing is None:
            return page
        return pick(page, np.isin(page.ts_ms, window.missing))

    async def _ask(self, series: _Series, span: Span) -> Page:
        """Return all rows of a stretch; only trades may need more than one page."""
        wanted = series.plan.wanted
        page_rows = self._source.page_rows(wanted.key.kind)
        pages: list[Page] = []
        while True:
            start = span

            async def once(start: Span = start) -> Page:
                series.requests += 1
                return await ask(self._source, wanted, start)

            pages.append(await self._patiently(once))
            if wanted.grid is not None or len(pages[-1]) != page_rows:
                return join(pages)
            last_ms = int(pages[-1].ts_ms[-1])
            # A page may end within a millisecond, whose rows are then asked for again.
            span = Span(last_ms if last_ms > span.start_ms else last_ms + 1, span.end_ms)
            if span.start_ms >= span.end_ms:
                return join(pages)

    async def _patiently(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return the answer of a call, made when its turn has come; a wait keeps no turn."""

        async def in_turn() -> _Answer:
            async with self._requests_at_once:
                return await call()

        return await self._patience.ask(in_turn)

    def _keep(self, series: _Series, chunk: Chunk, answers: _Answers) -> None:
        """Store what the windows of a chunk have brought, in one write."""
        is_whole = answers.windows == len(chunk.windows)
        if not answers.pages or (chunk.is_repair and not is_whole):
            return
        page = join(answers.pages)
        if len(page):
            done = write(self._store, series.plan.wanted, page, source=self._label)
            series.rows_added += done.rows_added
        elif chunk.is_repair:
            series.is_damaged = True
        self._settle(series, answers.settled)

    def _settle(self, series: _Series, spans: Iterable[Span]) -> None:
        """Remember what need not be asked again; it is written once the series has a row."""
        young = Span(self._now_ms - LATE_ROWS_MS, self._now_ms + DAY_MS)
        series.settled.extend(subtract(spans, [young]))
        key = series.plan.wanted.key
        if self._store.has(key.venue, key.symbol, key.kind, key.timeframe):
            add_settled(self._store, key, series.settled)
            series.settled.clear()

    def _tell(self, series: _Series) -> None:
        plan = series.plan
        share = series.covered_ms / plan.length_ms if plan.length_ms else 1.0
        if series.is_complete:
            share = 1.0
        elapsed_s = self._monotonic() - self._began
        is_known = share > 0 and elapsed_s > 0
        self._on_progress(
            SeriesProgress(
                key=plan.wanted.key,
                rows_done=series.rows_received,
                rows_expected=plan.rows_expected,
                share=share,
                eta_s=elapsed_s * (1 - share) / share if is_known else None,
                rows_per_s=series.rows_received / elapsed_s if is_known else None,
            )
        )

    def _report(self, series: _Series) -> SeriesReport:
        return SeriesReport(
            key=series.plan.wanted.key,
            rows_before=series.plan.rows_stored,
            rows_added=series.rows_added,
            requests=series.requests,
            holes=self._holes(series),
            kept_from_ms=series.kept_from_ms,
            is_damaged=series.is_damaged,
            is_complete=series.is_complete,
        )

    def _holes(self, series: _Series) -> tuple[Gap, ...]:
        """Return what the venue was found to lack, as far as it was asked."""
        wanted = series.plan.wanted
        key, grid = wanted.key, wanted.grid
        if grid is not None:
            absent = np.sort(np.concatenate([np.empty(0, np.int64), *series.absent]))
            if series.kept_from_ms is not None:
                absent = absent[absent >= series.kept_from_ms]
            return tuple(runs(absent, grid))
        if key.kind is not DataKind.FUNDING or not self._store.has(key.venue, key.symbol, key.kind):
            return ()
        times, _ = self._store.sound_times(key)
        first, last = np.searchsorted(times, [wanted.start_ms, wanted.end_ms])
        return tuple(funding_gaps_of(times[first:last]))

    def _told(self, error: BaseException) -> BaseException:
        """Return the error, with what is kept and how to go on where the venue stayed away."""
        if not isinstance(error, VenueUnavailable):
            return error
        rows = sum(series.rows_added for series in self._series)
        kept = f"the {rows:,} rows that came in are stored" if rows else "nothing was stored"
        advice = f"{error.next_step} " if error.next_step else ""
        return VenueUnavailable(
            f"{self._source.venue} does not answer: {error.message}; {kept}",
            next_step=f"{advice}Then run the same command again: it goes on where it stopped.",
        )


def _first(error: BaseException) -> BaseException:
    """Return the error to tell of several that came together: one of ours, if there is one."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, PerpdeskError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for one in error.exceptions:
        yield from _leaves(one)
