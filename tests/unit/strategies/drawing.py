"""Candles drawn by hand or by a seed, and recorded ones, for the strategies' tests."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from perpdesk.domain.candles import Candles, Timeframe, Venue
from perpdesk.strategies.base import StrategyContext

FIRST_MS = 1_672_531_200_000  # 2023-01-01T00:00:00Z, a Sunday


def drawn(
    rows: Sequence[tuple[float, float, float, float]],
    *,
    timeframe: str = "1h",
    first_ms: int = FIRST_MS,
) -> Candles:
    """Return candles of (open, high, low, close) rows."""
    columns = np.array(rows, np.float64).reshape(-1, 4).T.copy()
    length = Timeframe.parse(timeframe)
    return Candles(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        timeframe=length,
        ts_ms=first_ms + np.arange(len(rows), dtype=np.int64) * length.duration_ms,
        open=columns[0],
        high=columns[1],
        low=columns[2],
        close=columns[3],
        volume=np.ones(len(rows)),
    )


def closes(values: Sequence[float], *, spread: float = 0.5, timeframe: str = "1h") -> Candles:
    """Return candles that open at the close before and reach `spread` beyond open and close."""
    opens = [values[0], *values[:-1]]
    return drawn(
        [
            (o, max(o, c) + spread, min(o, c) - spread, c)
            for o, c in zip(opens, values, strict=True)
        ],
        timeframe=timeframe,
    )


def wandering(rows: int, *, seed: int = 7, timeframe: str = "1h", tick: float = 0.0) -> Candles:
    """Return a seeded random market around 30,000; with `tick`, prices lie on that grid."""
    generator = np.random.Generator(np.random.PCG64(seed))
    close = 30_000 * np.exp(np.cumsum(generator.standard_t(4, rows) * 0.004))
    if tick:
        close = np.round(close / tick) * tick
    opens = np.concatenate([close[:1], close[:-1]])
    reach = np.abs(generator.normal(0, 0.003, (2, rows))) * close
    if tick:
        reach = np.round(reach / tick) * tick
    length = Timeframe.parse(timeframe)
    return Candles(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        timeframe=length,
        ts_ms=FIRST_MS + np.arange(rows, dtype=np.int64) * length.duration_ms,
        open=opens,
        high=np.maximum(opens, close) + reach[0],
        low=np.minimum(opens, close) - reach[1],
        close=close,
        volume=generator.lognormal(3, 1, rows),
    )


def recorded(folder: Path, venue: str, symbol: str, timeframe: str) -> Candles:
    """Return a recorded series of the shared folder."""
    table = pq.read_table(folder / "market" / venue / symbol / f"{timeframe}.parquet")
    column = {name: table[name].to_numpy() for name in table.column_names}
    return Candles(
        venue=Venue(venue),
        symbol=symbol,
        timeframe=Timeframe.parse(timeframe),
        ts_ms=column["ts"],
        open=column["open"],
        high=column["high"],
        low=column["low"],
        close=column["close"],
        volume=column["volume"],
    )


def context_of(candles: Candles, *, tick_size: str = "0.1") -> StrategyContext:
    """Return what a strategy may know of these candles' instrument."""
    return StrategyContext(
        venue=candles.venue,
        symbol=candles.symbol,
        timeframe=candles.timeframe,
        tick_size=Decimal(tick_size),
    )
