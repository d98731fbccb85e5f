"""Before a run: find the data it needs, say in words what is missing or dirty, and load it."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from perpdesk.backtest.spec import RunSpec
from perpdesk.cerebro.execution import ExecutionBars, execution_bars
from perpdesk.domain.candles import Candles, DataKind, FundingRates, Timeframe, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.aggregation import aggregate, can_aggregate
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import funding_gaps, gaps, utc_text
from perpdesk.marketdata.series import RECORDED, StoredSeries

_HOUR_MS: Final = 3_600_000
_LONGEST_FUNDING_MS: Final = 8 * _HOUR_MS
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """One stored series that a run used. content_hash: of the whole series, not of the range."""

    symbol: str
    kind: str
    timeframe: str
    rows: int
    first_ts_ms: int
    last_ts_ms: int
    content_hash: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolData:
    """What one symbol brings to a run.

    candles: strategy bars, warm-up included. execution: the finest bars, within the range only.
    """

    symbol: str
    candles: Candles
    execution: ExecutionBars
    execution_candles: Candles
    funding_rows: int
    funding_gap_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """Everything loaded. start_ms, end_ms: the range of the run.

    warnings: what changes the result. remarks: what stands in for what. Both in words.
    """

    start_ms: int
    end_ms: int
    timeframe: Timeframe
    execution_timeframe: Timeframe
    symbols: dict[str, SymbolData]
    sources: tuple[DataSource, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return warnings and remarks."""
        return self.warnings + self.remarks


@dataclass(frozen=True, slots=True)
class _Span:
    """What is stored of one timeframe [first, last), and the run that it would make."""

    timeframe: Timeframe
    first_ms: int
    last_ms: int
    start_ms: int
    end_ms: int

    @property
    def is_covered(self) -> bool:
        return self.first_ms <= self.start_ms < self.end_ms <= self.last_ms

    def __str__(self) -> str:
        return f"{self.timeframe} from {utc_text(self.first_ms)} to {utc_text(self.last_ms)}"


class Preflight:
    """Collects what a spec needs from a store.

    warmup_candles: signals before so many are withheld. memory_candles: how many fix a signal.
    """

    def __init__(
        self, store: CandleStore, spec: RunSpec, *, warmup_candles: int, memory_candles: int = 0
    ) -> None:
        self.store = store
        self.spec = spec
        self.timeframe = Timeframe.parse(spec.timeframe)
        self.warmup_candles = warmup_candles
        self.memory_candles = max(warmup_candles, memory_candles)
        self.warnings: list[str] = []
        self.remarks: list[str] = []
        self.sources: list[DataSource] = []

    def run(self) -> RunData:
        """Check and load. Raises DataRefused with every missing piece and how to get it."""
        stored = [one for one in self.store.series() if one.venue is self.spec.venue]
        start_ms, end_ms, execution = self._range(stored)
        symbols = {
            symbol: self._load(symbol, stored, start_ms, end_ms, execution)
            for symbol in self.spec.symbols
        }
        if any(source.source != RECORDED for source in self.sources):
            origins = sorted({s.source for s in self.sources if s.source != RECORDED})
            self.warnings.insert(0, f"the market is not recorded: {', '.join(origins)}")
        return RunData(
            start_ms=start_ms,
            end_ms=end_ms,
            timeframe=self.timeframe,
            execution_timeframe=execution,
            symbols=symbols,
            sources=tuple(self.sources),
            warnings=tuple(dict.fromkeys(self.warnings)),
            remarks=tuple(dict.fromkeys(self.remarks)),
        )

    # Which series, which range.

    def _range(self, stored: Sequence[StoredSeries]) -> tuple[int, int, Timeframe]:
        """Return the run's range and the execution timeframe that covers it for every symbol."""
        wanted_start, wanted_end = self.spec.range_ms
        usable = {symbol: self._usable(symbol, stored) for symbol in self.spec.symbols}
        common = set.intersection(*({one.timeframe for one in each} for each in usable.values()))
        spans = [
            self._span(timeframe, [one for each in usable.values() for one in each])
            for timeframe in sorted(one for one in common if one is not None)
        ]
        for span in spans:
            if span.is_covered:
                self._require_on_grid(span.start_ms, span.end_ms)
                self._note_choice(span, spans)
                return span.start_ms, span.end_ms, span.timeframe
        refused = [str(span) for span in spans]
        begin = "the beginning" if wanted_start is None else utc_text(wanted_start)
        until = "the end" if wanted_end is None else utc_text(wanted_end)
        wanted = f"{begin} to {until}"
        symbols = ", ".join(self.spec.symbols)
        there = "; ".join(refused) or "nothing that all symbols have in common"
        if wanted_start is None and wanted_end is None and refused:
            raise DataRefused(
                f"the stored candles of {symbols} hold no whole {self.timeframe} candle: {there}",
                next_step="Import more, or choose a shorter timeframe.",
            )
        raise DataRefused(
            f"no stored candles of {symbols} cover {wanted}; stored: {there}",
            next_step="Choose --start and --end within what is stored, or import more.",
        )

    def _span(self, timeframe: Timeframe, series: Sequence[StoredSeries]) -> "_Span":
        """Return what the series of one timeframe hold in common, and the run it would make."""
        chosen = [one for one in series if one.timeframe == timeframe]
        first_ms = max(one.first_ts_ms for one in chosen)
        last_ms = min(timeframe.close_ms(one.last_ts_ms) for one in chosen)
        start_ms, end_ms = self.spec.range_ms
        if start_ms is None:
            start_ms = self.timeframe.floor(first_ms)
            if start_ms < first_ms:
                start_ms = self.timeframe.close_ms(start_ms)
        if end_ms is None:
            end_ms = self.timeframe.floor(last_ms)
        return _Span(timeframe, first_ms, last_ms, start_ms, end_ms)

    def _note_choice(self, chosen: "_Span", spans: Sequence["_Span"]) -> None:
        """Say where a coarser execution timeframe would have made a longer run."""
        longest = max(
            (span for span in spans if span.is_covered),
            key=lambda span: span.end_ms - span.start_ms,
        )
        if longest.end_ms - longest.start_ms > chosen.end_ms - chosen.start_ms:
            self.warnings.append(
                f"executed on {chosen.timeframe}, stored from {utc_text(chosen.first_ms)} to "
                f"{utc_text(chosen.last_ms)}; {longest.timeframe} would cover "
                f"{utc_text(longest.start_ms)} to {utc_text(longest.end_ms)}: choose with "
                f"--execution-timeframe {longest.timeframe}"
            )

    def _require_on_grid(self, start_ms: int, end_ms: int) -> None:
        for name, moment in (("start", start_ms), ("end", end_ms)):
            if self.timeframe.floor(moment) != moment:
                raise DataRefused(
                    f"the {name} {utc_text(moment)} lies within a {self.timeframe} candle",
                    next_step=f"Move it to {utc_text(self.timeframe.floor(moment))}.",
                )

    def _usable(self, symbol: str, stored: Sequence[StoredSeries]) -> list[StoredSeries]:
        candles = [one for one in stored if one.symbol == symbol and one.kind is DataKind.CANDLES]
        venue = self.spec.venue.value
        if not candles:
            known = sorted({one.symbol for one in stored})
            similar = difflib.get_close_matches(symbol.upper(), known, n=1)
            hint = f"Did you mean {similar[0]}? Else import some" if similar else "Import some"
            raise DataRefused(
                f"no candles of {symbol} on {venue} are stored in {self.store.root}",
                next_step=f"{hint}: perpdesk data import FILE --venue {venue} --symbol "
                f"{symbol.upper()} --timeframe 5m",
            )
        wanted = self.spec.execution_timeframe
        fitting = [
            one
            for one in candles
            if one.timeframe is not None
            and (wanted is None or one.timeframe == Timeframe.parse(wanted))
            and (one.timeframe == self.timeframe or can_aggregate(one.timeframe, self.timeframe))
        ]
        if not fitting:
            there = ", ".join(str(one.timeframe) for one in candles)
            raise DataRefused(
                f"{symbol} on {venue} is stored as {there}, which cannot make {self.timeframe} "
                f"candles{'' if wanted is None else f' executed on {wanted}'}",
                next_step="Import a finer timeframe, or run on one that is stored.",
            )
        return fitting

    # Loading.

    def _load(
        self,
        symbol: str,
        stored: Sequence[StoredSeries],
        start_ms: int,
        end_ms: int,
        execution: Timeframe,
    ) -> SymbolData:
        venue, store = self.spec.venue, self.store
        self._note_source(stored, symbol, DataKind.CANDLES, execution)
        warm_ms = start_ms - self.memory_candles * self.timeframe.duration_ms
        loaded = store.candles(venue, symbol, execution, self.timeframe.floor(warm_ms), end_ms)
        bars = loaded if execution == self.timeframe else aggregate(loaded, self.timeframe)
        bars = bars.between(warm_ms, end_ms)
        self._note_warmup(symbol, bars, start_ms)
        fine = loaded.between(start_ms, end_ms)
        self._note_gaps(symbol, fine)
        mark = self._mark(symbol, stored, execution, start_ms, end_ms)
        funding, holes = self._funding(symbol, stored, start_ms, end_ms)
        ready = execution_bars(fine, mark=mark, funding=funding)
        self._note_mark(symbol, mark, ready, execution)
        return SymbolData(
            symbol=symbol,
            candles=bars,
            execution=ready,
            execution_candles=fine,
            funding_rows=0 if funding is None else len(funding),
            funding_gap_count=holes,
        )

    def _note_source(
        self,
        stored: Sequence[StoredSeries],
        symbol: str,
        kind: DataKind,
        timeframe: Timeframe | None,
    ) -> None:
        for one in stored:
            if (one.symbol, one.kind, one.timeframe) == (symbol, kind, timeframe):
                self.sources.append(
                    DataSource(
                        symbol=symbol,
                        kind=kind.value,
                        timeframe="" if timeframe is None else timeframe.name,
                        rows=one.rows,
                        first_ts_ms=one.first_ts_ms,
                        last_ts_ms=one.last_ts_ms,
                        content_hash=self.store.content_hash(one.venue, symbol, kind, timeframe),
                        source=one.source,
                    )
                )

    def _note_warmup(self, symbol: str, bars: Candles, start_ms: int) -> None:
        before = int(np.searchsorted(bars.ts_ms, start_ms))
        if before < self.warmup_candles:
            self.remarks.append(
                f"{symbol}: {before} of the {self.warmup_candles} candles that the strategy warms "
                "up on lie before the start; its signals are withheld until all have closed"
            )
        if before < self.memory_candles and self.memory_candles > self.warmup_candles:
            self.remarks.append(
                f"{symbol}: {before} of the {self.memory_candles} candles that fix a signal lie "
                "before the start; the first ones differ a little from those of a longer history"
            )

    def _note_gaps(self, symbol: str, fine: Candles) -> None:
        holes = gaps(fine.ts_ms, fine.timeframe)
        if holes:
            missing = sum(hole.missing for hole in holes)
            shown = ", ".join(str(hole) for hole in holes[:_SHOWN])
            self.warnings.append(
                f"{symbol}: {missing} execution candles are missing in {len(holes)} gaps: {shown}"
                f"{' …' if len(holes) > _SHOWN else ''}; nothing trades in a gap"
            )

    def _mark(
        self,
        symbol: str,
        stored: Sequence[StoredSeries],
        execution: Timeframe,
        start_ms: int,
        end_ms: int,
    ) -> Candles | None:
        """Return the best mark candles there are: of the execution timeframe, else finer, else
        the finest coarser ones."""
        series = [one for one in stored if one.symbol == symbol and one.kind is DataKind.MARK]
        frames = sorted(one.timeframe for one in series if one.timeframe is not None)
        overlapping = {
            one.timeframe
            for one in series
            if one.first_ts_ms < end_ms and one.last_ts_ms >= start_ms - 31 * 24 * _HOUR_MS
        }
        frames = [one for one in frames if one in overlapping]
        if not frames:
            return None
        finer = [one for one in frames if can_aggregate(one, execution)]
        coarser = [one for one in frames if one > execution]
        if not finer and not coarser:
            return None
        # The execution timeframe counts as finer: it can be made of itself.
        best = finer[-1] if finer else coarser[0]
        self._note_source(stored, symbol, DataKind.MARK, best)
        begin = best.floor(start_ms)
        marks = self.store.mark_candles(self.spec.venue, symbol, best, begin, end_ms)
        return aggregate(marks, execution) if best < execution else marks

    def _note_mark(
        self, symbol: str, mark: Candles | None, ready: ExecutionBars, execution: Timeframe
    ) -> None:
        if mark is None:
            self.remarks.append(
                f"{symbol}: no mark price is stored, last price stands in for liquidation"
            )
            return
        if mark.timeframe != execution:
            self.remarks.append(
                f"{symbol}: mark price is known per {mark.timeframe}; within it, last price held "
                "to the mark's range stands in"
            )
        if ready.mark_coverage < 1.0:
            self.remarks.append(
                f"{symbol}: mark price covers {ready.mark_coverage:.2%} of the range, last price "
                "stands in elsewhere"
            )

    def _funding(
        self, symbol: str, stored: Sequence[StoredSeries], start_ms: int, end_ms: int
    ) -> tuple[FundingRates | None, int]:
        """Return the settlements of the range and how many holes they have.

        Raises DataRefused for a hole, unless the spec allows gaps; then a note says it.
        """
        venue = self.spec.venue
        if venue is Venue.BINANCE_SPOT:
            self.remarks.append(f"{symbol}: spot has no funding; none is charged")
            return None, 0
        if not self.store.has(venue, symbol, DataKind.FUNDING):
            self._missing_funding(symbol, f"no funding of {symbol} is stored")
            return None, 1
        self._note_source(stored, symbol, DataKind.FUNDING, None)
        around = self.store.funding(
            venue, symbol, start_ms - 2 * _LONGEST_FUNDING_MS, end_ms + 2 * _LONGEST_FUNDING_MS
        )
        holes = [
            hole
            for hole in funding_gaps(around)
            if hole.end_ms > start_ms and hole.start_ms < end_ms
        ]
        words = [str(hole) for hole in holes[:_SHOWN]]
        inside = around.between(start_ms, end_ms)
        if not len(around) or int(around.ts_ms[0]) > start_ms + _LONGEST_FUNDING_MS:
            first = utc_text(int(around.ts_ms[0])) if len(around) else "the end"
            words.insert(0, f"{utc_text(start_ms)} to {first}")
        if len(around) and int(around.ts_ms[-1]) < end_ms - _LONGEST_FUNDING_MS - 60_000:
            words.append(f"{utc_text(int(around.ts_ms[-1]))} to {utc_text(end_ms)}")
        if words:
            self._missing_funding(symbol, f"funding of {symbol} has holes: {', '.join(words)}")
        return inside, len(words)

    def _missing_funding(self, symbol: str, words: str) -> None:
        if not self.spec.allow_gaps:
            raise DataRefused(
                f"{words}; a backtest without it would not tell the truth",
                next_step=f"Import it: perpdesk data import FILE --venue {self.spec.venue.value} "
                f"--symbol {symbol} --kind funding; or choose another range; or run with "
                "--allow-gaps and see it marked in the result.",
            )
        self.warnings.append(f"{words}; nothing is charged or paid there")
