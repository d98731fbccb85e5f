"""Execution bars as integer columns: last price, mark price, volume and funding of one symbol."""

from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Candles, FundingRates, Times, Values
from perpdesk.domain.events import BarClosed, FundingSettlement, Ohlc
from perpdesk.domain.numbers import ATOMS_PER_UNIT, amount_of, decimal_of

Atoms = npt.NDArray[np.int64]


def price_atoms(prices: Values) -> Atoms:
    """Return prices as whole numbers of 1e-8. Shape (n,) float64 in, (n,) int64 out.

    Exact for every price with at most eight decimals below 9e7.
    """
    return np.rint(prices * ATOMS_PER_UNIT).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceColumns:
    """Four prices per bar, (n,) int64 in atoms of 1e-8."""

    open: Atoms
    high: Atoms
    low: Atoms
    close: Atoms

    @classmethod
    def of(cls, candles: Candles) -> "PriceColumns":
        """Return the prices of candles."""
        return cls(
            open=price_atoms(candles.open),
            high=price_atoms(candles.high),
            low=price_atoms(candles.low),
            close=price_atoms(candles.close),
        )

    def ohlc(self, index: int) -> Ohlc:
        """Return one bar's prices as Decimals."""
        return Ohlc(
            open=amount_of(int(self.open[index])),
            high=amount_of(int(self.high[index])),
            low=amount_of(int(self.low[index])),
            close=amount_of(int(self.close[index])),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExecutionBars:
    """The finest bars of one symbol, with everything the exchange needs of them.

    ts_ms, close_ms: (n,) int64. volume: (n,) float64 in base. funding: settlements by the index of
    the bar that holds them; funding_bars: those indices, ascending. mark_coverage: share of bars,
    0..1, whose mark is recorded; elsewhere last price stands in.
    """

    symbol: str
    ts_ms: Times
    close_ms: Times
    last: PriceColumns
    mark: PriceColumns
    volume: Values
    funding: dict[int, tuple[FundingSettlement, ...]]
    funding_bars: list[int]
    mark_coverage: float

    def __len__(self) -> int:
        return len(self.ts_ms)

    def bar(self, index: int) -> BarClosed:
        """Return one bar as the exchange takes it."""
        last = self.last.ohlc(index)
        return BarClosed(
            symbol=self.symbol,
            ts_ms=int(self.ts_ms[index]),
            close_ms=int(self.close_ms[index]),
            last=last,
            mark=last if self.mark is self.last else self.mark.ohlc(index),
            volume=decimal_of(float(self.volume[index])),
            funding=self.funding.get(index, ()),
        )

    def next_funding(self, index: int) -> int | None:
        """Return the first bar at or after `index` in which funding settles."""
        place = bisect_left(self.funding_bars, index)
        return self.funding_bars[place] if place < len(self.funding_bars) else None


def execution_bars(
    candles: Candles, *, mark: Candles | None, funding: FundingRates | None
) -> ExecutionBars:
    """Return execution bars from stored data.

    mark: candles of the same timeframe, or coarser; coarser ones bound the path, as the last price
    is clamped into the range of the mark candle around it. Finer marks are aggregated beforehand.
    """
    close_ms = candles.timeframe.close_all(candles.ts_ms)
    last = PriceColumns.of(candles)
    marks, covered = last, 0.0
    if mark is not None and len(mark):
        marks, covered = _marks(candles, last, mark)
    rows = _funding_rows(candles.ts_ms, close_ms, marks, mark, funding)
    return ExecutionBars(
        symbol=candles.symbol,
        ts_ms=candles.ts_ms,
        close_ms=close_ms,
        last=last,
        mark=marks,
        volume=candles.volume,
        funding=rows,
        funding_bars=sorted(rows),
        mark_coverage=covered,
    )


def _covering(mark: Candles, ts_ms: Times) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return for each time the index of the mark candle around it, and whether there is one."""
    index = np.searchsorted(mark.ts_ms, ts_ms, side="right") - 1
    held = np.maximum(index, 0)
    covered = (index >= 0) & (ts_ms < mark.timeframe.close_all(mark.ts_ms)[held])
    return held, covered


def _marks(candles: Candles, last: PriceColumns, mark: Candles) -> tuple[PriceColumns, float]:
    index, covered = _covering(mark, candles.ts_ms)
    recorded = PriceColumns.of(mark)
    share = float(np.count_nonzero(covered)) / max(1, len(candles))
    if mark.timeframe == candles.timeframe:
        columns = {
            name: np.where(covered, getattr(recorded, name)[index], getattr(last, name))
            for name in ("open", "high", "low", "close")
        }
    else:
        low, high = recorded.low[index], recorded.high[index]
        columns = {
            name: np.where(covered, np.clip(getattr(last, name), low, high), getattr(last, name))
            for name in ("open", "high", "low", "close")
        }
    return PriceColumns(**columns), share


def _funding_rows(
    ts_ms: Times,
    close_ms: Times,
    marks: PriceColumns,
    mark: Candles | None,
    funding: FundingRates | None,
) -> dict[int, tuple[FundingSettlement, ...]]:
    """Return the settlements by the bar that holds them.

    The mark of a settlement is the recorded one; else the open of the mark candle that begins
    within a minute of it; else the mark at the open of its bar. A settlement inside a hole of the
    candles settles on the first bar after the hole, at its own time's mark where one is recorded.
    """
    if funding is None or not len(funding):
        return {}
    rows: dict[int, tuple[FundingSettlement, ...]] = {}
    bar_index = np.searchsorted(ts_ms, funding.ts_ms, side="right") - 1
    for row in range(len(funding)):
        when = int(funding.ts_ms[row])
        index = int(bar_index[row])
        if index < 0:
            continue
        if when >= int(close_ms[index]):
            index += 1
            if index >= len(ts_ms):
                continue
        price = _settlement_mark(when, row, index, marks, mark, funding)
        settlement = FundingSettlement(
            ts_ms=max(when, int(ts_ms[index])),
            rate=decimal_of(float(funding.rate[row])),
            mark_price=price,
        )
        rows[index] = (*rows.get(index, ()), settlement)
    return rows


def _settlement_mark(
    when: int,
    row: int,
    index: int,
    marks: PriceColumns,
    mark: Candles | None,
    funding: FundingRates,
) -> Decimal:
    recorded = float(funding.mark_price[row])
    if recorded == recorded:  # not NaN
        return decimal_of(recorded)
    if mark is not None and len(mark):
        place = int(np.searchsorted(mark.ts_ms, when, side="right")) - 1
        if place >= 0 and when - int(mark.ts_ms[place]) < 60_000:
            return decimal_of(float(mark.open[place]))
    return amount_of(int(marks.open[index]))
