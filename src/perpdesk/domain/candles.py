"""Market data as frozen columns. A candle is named by its open time, in UTC milliseconds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from perpdesk.domain.errors import UsageRefused

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
MONDAY_OFFSET_MS: Final = 4 * DAY_MS
"""1970-01-01 was a Thursday: the first Monday came four days later."""


class Venue(StrEnum):
    """The exchanges whose rules we know. BINANCE_SPOT holds long series for study only."""

    BINANCE = "binance"
    BYBIT = "bybit"
    BINANCE_SPOT = "binance-spot"


class DataKind(StrEnum):
    """What a stored series holds."""

    CANDLES = "candles"
    MARK = "mark"
    FUNDING = "funding"
    TRADES = "trades"
    OPEN_INTEREST = "open_interest"


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """A candle length, 1m … 1M, ordered by length; a month counts as its shortest, 28 days."""

    duration_ms: int
    name: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "1m", "15m", "1h", "1d", "1w" or "1M".

        Raises UsageRefused for anything else, and for lengths that do not divide a day evenly.
        """
        match = re.fullmatch(r"([1-9]\d{0,4})([mhdwM])", text.strip())
        if match is None:
            raise UsageRefused(
                f"{text!r} is not a timeframe",
                next_step="Write a number and a unit, as in 1m, 5m, 15m, 1h, 4h, 1d, 1w or 1M.",
            )
        count, unit = int(match[1]), match[2]
        unit_ms = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS, "M": 28 * DAY_MS}[unit]
        duration_ms = count * unit_ms
        whole = count == 1 if unit in "wM" else DAY_MS % duration_ms == 0 or duration_ms == DAY_MS
        if unit == "d" and count in (3,):
            whole = True
        if not whole:
            raise UsageRefused(
                f"timeframe {text} does not divide a day evenly",
                next_step="Use one that both exchanges know, such as 5m, 1h, 4h, 1d, 1w or 1M.",
            )
        return cls(duration_ms, f"{count}{unit}")

    @property
    def is_month(self) -> bool:
        """Tell whether candles follow the calendar instead of a fixed length."""
        return self.name.endswith("M")

    def floor(self, ts_ms: int) -> int:
        """Return the open time of the candle that holds `ts_ms`; weeks open on Monday, UTC."""
        if self.is_month:
            moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
            return _month_open_ms(moment.year, moment.month)
        offset = MONDAY_OFFSET_MS if self.name.endswith("w") else 0
        return (ts_ms - offset) // self.duration_ms * self.duration_ms + offset

    def close_ms(self, open_ms: int) -> int:
        """Return the time at which the candle that opened at `open_ms` is closed."""
        if not self.is_month:
            return open_ms + self.duration_ms
        moment = datetime.fromtimestamp(open_ms / 1000, UTC)
        year, month = divmod(moment.year * 12 + moment.month, 12)
        return _month_open_ms(year, month + 1)

    def floor_all(self, ts_ms: Times) -> Times:
        """Return `floor` of every time. Shape (n,) int64 in, (n,) int64 out."""
        if self.is_month:
            months = ts_ms.astype("datetime64[ms]").astype("datetime64[M]")
            return months.astype("datetime64[ms]").astype(np.int64)
        offset = MONDAY_OFFSET_MS if self.name.endswith("w") else 0
        return (ts_ms - offset) // self.duration_ms * self.duration_ms + offset

    def close_all(self, open_ms: Times) -> Times:
        """Return `close_ms` of every open time. Shape (n,) int64 in, (n,) int64 out."""
        if self.is_month:
            months = open_ms.astype("datetime64[ms]").astype("datetime64[M]") + 1
            return months.astype("datetime64[ms]").astype(np.int64)
        return open_ms + self.duration_ms

    def __str__(self) -> str:
        return self.name


def _month_open_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candles:
    """Candles of one symbol, ascending and unique in `ts_ms`. Columns share one length.

    ts_ms: open times, (n,) int64. open, high, low, close: (n,) float64 in quote currency.
    volume: (n,) float64 in base currency; zeros for mark prices, which have none.
    """

    venue: Venue
    symbol: str
    timeframe: Timeframe
    ts_ms: Times
    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values

    def __len__(self) -> int:
        return len(self.ts_ms)

    def __getitem__(self, rows: slice) -> Self:
        """Return the candles of a slice as views; nothing is copied."""
        return replace(
            self,
            ts_ms=self.ts_ms[rows],
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
        )

    def between(self, start_ms: int, end_ms: int) -> Self:
        """Return the candles with start_ms <= open time < end_ms."""
        first, last = np.searchsorted(self.ts_ms, [start_ms, end_ms])
        return self[int(first) : int(last)]

    def columns(self) -> Iterator[tuple[str, Values]]:
        """Yield the five value columns by name, in the order open, high, low, close, volume."""
        for name in ("open", "high", "low", "close", "volume"):
            yield name, getattr(self, name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FundingRates:
    """Recorded funding settlements of one symbol, ascending in `ts_ms`.

    ts_ms: settlement times, (n,) int64; may lie some ms past the hour, as the venue sends them.
    rate: (n,) float64, fraction of notional per interval; longs pay when positive.
    mark_price: (n,) float64, NaN where the row came without a mark.
    """

    venue: Venue
    symbol: str
    ts_ms: Times
    rate: Values
    mark_price: Values

    def __len__(self) -> int:
        return len(self.ts_ms)

    def between(self, start_ms: int, end_ms: int) -> Self:
        """Return the settlements with start_ms <= time < end_ms."""
        first, last = np.searchsorted(self.ts_ms, [start_ms, end_ms])
        rows = slice(int(first), int(last))
        return replace(
            self, ts_ms=self.ts_ms[rows], rate=self.rate[rows], mark_price=self.mark_price[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trades:
    """Recorded trades of one symbol, ascending in `ts_ms`.

    ts_ms, trade_id: (n,) int64. price, quantity: (n,) float64. is_buyer_maker: (n,) bool, true
    where the taker sold.
    """

    venue: Venue
    symbol: str
    ts_ms: Times
    trade_id: Times
    price: Values
    quantity: Values
    is_buyer_maker: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenInterest:
    """Recorded open interest of one symbol on a period's grid, ascending in `ts_ms`.

    ts_ms: (n,) int64. open_interest: (n,) float64, base currency.
    """

    venue: Venue
    symbol: str
    timeframe: Timeframe
    ts_ms: Times
    open_interest: Values

    def __len__(self) -> int:
        return len(self.ts_ms)
