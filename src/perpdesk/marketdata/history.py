"""History of one venue, fetched and kept: download what is new, heal what is missing, go on to now.

All three only say which ranges of which series are wanted; `backfill.py` brings them.
"""

import difflib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from perpdesk.domain.candles import MINUTE_MS, DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused, VenueRejected, VenueUnavailable
from perpdesk.domain.ports import HistorySource, ReferenceSource
from perpdesk.marketdata.backfill import Backfill
from perpdesk.marketdata.backfill_plan import Wanted
from perpdesk.marketdata.backfill_report import SeriesProgress, SeriesReport
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import utc_text
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.reference import ReferenceKeeper
from perpdesk.marketdata.series import RECORDED, SeriesKey, StoredSeries, canonical_name

_Answer = TypeVar("_Answer")

FAR_MS: Final = 2**53
"""Later than any time: a range up to it ends at the venue's clock."""

OPEN_INTEREST_PERIODS: Final = tuple(
    Timeframe.parse(name) for name in ("5m", "15m", "30m", "1h", "4h", "1d")
)
"""Those that both venues know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A stored series that is left as it is, and why."""

    series: str
    reason: str


class History:
    """Recorded market data of one venue, in step with its source.

    label: what downloaded rows are marked with; series of another source are never touched. rules:
    what keeps the instruments of the same venue in step, an hour old at most, None to leave them.
    """

    def __init__(
        self,
        store: CandleStore,
        source: HistorySource,
        reference: ReferenceSource,
        *,
        label: str = RECORDED,
        rules: ReferenceKeeper | None = None,
        patience: Patience | None = None,
        concurrency: int = 8,
        on_progress: Callable[[SeriesProgress], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._source = source
        self._reference = reference
        self._label = label
        self._rules = rules
        self._patience = patience or Patience()
        self._backfill = Backfill(
            store,
            source,
            label=label,
            patience=self._patience,
            concurrency=concurrency,
            on_progress=on_progress,
        )
        self.skipped: tuple[Skipped, ...] = ()

    @property
    def venue(self) -> Venue:
        """Return whose history this is."""
        return self._source.venue

    def reports(self) -> tuple[SeriesReport, ...]:
        """Return what has become of every series so far, also after an interruption."""
        return self._backfill.reports()

    async def download(
        self,
        symbols: Sequence[str],
        *,
        timeframe: Timeframe,
        kinds: Sequence[DataKind],
        since_ms: int,
        until_ms: int | None = None,
    ) -> tuple[SeriesReport, ...]:
        """Bring the kinds of data of the symbols from `since_ms` to `until_ms`, now unless given.

        Nothing before a symbol was listed is asked for. Raises VenueRejected, naming the nearest
        symbol, before anything is downloaded.
        """
        end_ms = FAR_MS if until_ms is None else until_ms
        if since_ms >= end_ms:
            raise UsageRefused(
                f"the start {utc_text(since_ms)} is not before the end {utc_text(end_ms)}",
                next_step="Give --since the earlier of the two times.",
            )
        if since_ms >= (now_ms := await self._asked(self._source.now_ms)):
            raise UsageRefused(
                f"the start {utc_text(since_ms)} has not come yet: at {self.venue} it is "
                f"{utc_text(now_ms)}",
                next_step="Give an earlier --since.",
            )
        wanted: list[Wanted] = []
        for symbol in dict.fromkeys(symbols):
            listed_ms = await self._asked(partial(self._listed_ms, symbol))
            if listed_ms >= end_ms:
                raise UsageRefused(
                    f"{symbol} was listed on {self.venue} on {utc_text(listed_ms)}, after the end "
                    "of the range",
                    next_step="Give a later --until.",
                )
            wanted += [
                self._wanted(symbol, kind, timeframe, max(since_ms, listed_ms), end_ms)
                for kind in kinds
            ]
        await self._refresh_rules(symbols)
        return await self._backfill.run(wanted)

    async def heal(self, symbols: Sequence[str] = ()) -> tuple[SeriesReport, ...]:
        """Bring what stored series lack between their ends, and damaged parts, from the venue."""
        wanted = [
            Wanted(
                key=one.key,
                start_ms=one.first_ts_ms,
                end_ms=one.last_ts_ms + 1,
                period=self._period(one.key),
                holes_only=True,
            )
            for one in self._ours(symbols)
        ]
        return await self._backfill.run(wanted)

    async def sync(self, symbols: Sequence[str] = ()) -> tuple[SeriesReport, ...]:
        """Bring stored series from their last row up to now.

        Symbols that are not traded any more are skipped, unless they are named.
        """
        found = self._ours(symbols)
        traded = set(await self._asked(self._reference.symbols)) | set(symbols)
        gone = [one for one in found if one.symbol not in traded]
        self.skipped += tuple(
            Skipped(series=str(one.key), reason=f"{one.symbol} is not traded there any more")
            for one in gone
        )
        wanted = [
            Wanted(
                key=one.key,
                start_ms=_after(one),
                end_ms=FAR_MS,
                period=self._period(one.key),
            )
            for one in found
            if one not in gone
        ]
        await self._refresh_rules([one.symbol for one in found if one.symbol in traded])
        return await self._backfill.run(wanted)

    def _wanted(
        self, symbol: str, kind: DataKind, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> Wanted:
        has_candles = kind in (DataKind.CANDLES, DataKind.MARK)
        key = SeriesKey(
            venue=self.venue,
            symbol=symbol,
            kind=kind,
            timeframe=Timeframe.parse(canonical_name(timeframe)) if has_candles else None,
        )
        period = None
        if kind is DataKind.OPEN_INTEREST:
            period = self._period(key) or _nearest_period(timeframe)
        return Wanted(key=key, start_ms=start_ms, end_ms=end_ms, period=period)

    def _period(self, key: SeriesKey) -> Timeframe | None:
        """Return the period of stored open interest; None for other kinds, or where none is."""
        if key.kind is not DataKind.OPEN_INTEREST:
            return None
        is_stored = self._store.has(key.venue, key.symbol, key.kind)
        return self._store.period(key) if is_stored else None

    def _ours(self, symbols: Sequence[str]) -> list[StoredSeries]:
        """Return the stored series meant, less those of another source, which are skipped."""
        here = [one for one in self._store.series() if one.venue is self.venue]
        for symbol in symbols:
            if not any(one.symbol == symbol for one in here):
                raise DataRefused(
                    f"nothing of {symbol} is stored of {self.venue}",
                    next_step=_did_you_mean(symbol, [one.symbol for one in here])
                    or f"Download it: perpdesk data download {symbol} --venue {self.venue}",
                )
        meant = [one for one in here if not symbols or one.symbol in symbols]
        self.skipped = tuple(
            Skipped(series=str(one.key), reason=f"it is {one.source} data, not {self._label}")
            for one in meant
            if one.source != self._label
        )
        return [one for one in meant if one.source == self._label]

    async def _refresh_rules(self, symbols: Sequence[str]) -> None:
        """Keep the rules that belong to what is downloaded now."""
        if self._rules is not None and symbols:
            await self._asked(partial(self._rules.refresh_if_older, sorted(set(symbols))))

    async def _listed_ms(self, symbol: str) -> int:
        try:
            return await self._source.first_ms(symbol)
        except VenueRejected as error:
            raise await self._explained(error, symbol) from error

    async def _explained(self, error: VenueRejected, symbol: str) -> VenueRejected:
        """Return a refusal that names the symbol, and the nearest one where it is unknown."""
        message = error.message if symbol in error.message else f"{symbol}: {error.message}"
        if error.next_step:
            return VenueRejected(message, code=error.code, next_step=error.next_step)
        try:
            known = await self._reference.symbols()
        except (VenueUnavailable, VenueRejected):
            return VenueRejected(message, code=error.code)
        if symbol in known:
            return VenueRejected(message, code=error.code)
        return VenueRejected(
            f"{self.venue} has no perpetual {symbol} ({error.message})",
            code=error.code,
            next_step=_did_you_mean(symbol, known)
            or "See which there are: perpdesk data instruments --fetch",
        )

    async def _asked(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            return await self._patience.ask(call)
        except VenueUnavailable as error:
            raise VenueUnavailable(
                f"{self.venue} does not answer: {error.message}; nothing was downloaded",
                next_step=error.next_step or "Check the network, then run the same command again.",
            ) from error


def _did_you_mean(symbol: str, known: Sequence[str]) -> str:
    """Return the nearest known symbols as a question, nothing where none is near."""
    near = difflib.get_close_matches(symbol, sorted(set(known)), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _nearest_period(timeframe: Timeframe) -> Timeframe:
    """Return the longest period of open interest that a candle of the timeframe is made of."""
    shorter = [period for period in OPEN_INTEREST_PERIODS if period <= timeframe]
    return shorter[-1] if shorter else OPEN_INTEREST_PERIODS[0]


def _after(one: StoredSeries) -> int:
    """Return where a series goes on after its last row."""
    if one.kind is DataKind.TRADES:
        return one.last_ts_ms  # others of the same millisecond may have been cut off
    if one.kind is DataKind.FUNDING:
        return one.last_ts_ms + MINUTE_MS  # a settlement is known by its minute
    return one.last_ts_ms + 1
