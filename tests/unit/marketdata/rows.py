"""Small series made by hand, for the tests of market data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perpdesk.domain.candles import (
    Candles,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)

START_MS = 1_672_531_200_000  # 2023-01-01
NOW_MS = 1_700_000_000_000  # 2023-11-14
M5 = Timeframe.parse("5m")
H1 = Timeframe.parse("1h")


def make_candles(
    count: int = 10,
    *,
    timeframe: Timeframe = M5,
    start_ms: int = START_MS,
    symbol: str = "BTCUSDT",
    venue: Venue = Venue.BINANCE,
    base: float = 100.0,
    **columns: Any,
) -> Candles:
    """Bars that rise by one quote unit each; any column may be given instead."""
    steps = np.arange(count, dtype=np.float64)
    values: dict[str, Any] = {
        "ts_ms": start_ms + np.arange(count, dtype=np.int64) * timeframe.duration_ms,
        "open": base + steps,
        "high": base + steps + 2,
        "low": base + steps - 1,
        "close": base + steps + 1,
        "volume": 10 + steps,
    }
    values |= {name: np.asarray(column) for name, column in columns.items()}
    return Candles(venue=venue, symbol=symbol, timeframe=timeframe, **values)


def make_funding(
    hours: Sequence[float], *, symbol: str = "BTCUSDT", venue: Venue = Venue.BINANCE
) -> FundingRates:
    """Settlements at the given hours after the start."""
    ts_ms = START_MS + np.round(np.asarray(hours) * 3_600_000).astype(np.int64)
    return FundingRates(
        venue=venue,
        symbol=symbol,
        ts_ms=ts_ms,
        rate=np.full(len(ts_ms), 0.0001),
        mark_price=np.full(len(ts_ms), np.nan),
    )


def make_trades(count: int = 5, *, start_ms: int = START_MS, first_id: int = 1) -> Trades:
    """Trades two to a millisecond."""
    numbers = np.arange(count, dtype=np.int64)
    return Trades(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        ts_ms=start_ms + numbers // 2,
        trade_id=first_id + numbers,
        price=100.0 + numbers.astype(np.float64),
        quantity=np.full(count, 0.5),
        is_buyer_maker=numbers % 2 == 0,
    )


def make_open_interest(
    count: int = 10,
    *,
    timeframe: Timeframe = M5,
    start_ms: int = START_MS,
    symbol: str = "BTCUSDT",
    venue: Venue = Venue.BINANCE,
    base: float = 20_000.0,
) -> OpenInterest:
    """Readings that rise by one contract each."""
    steps = np.arange(count, dtype=np.int64)
    return OpenInterest(
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=start_ms + steps * timeframe.duration_ms,
        open_interest=base + steps.astype(np.float64),
    )
