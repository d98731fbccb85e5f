"""Seeded markets to try strategies on: drawn, not recorded, and the same on every machine."""

from typing import Final

import numpy as np

from perpdesk.domain.candles import Candles, Timeframe, Values, Venue

_FIRST_MS: Final = 1_672_531_200_000
"""2023-01-01T00:00:00Z."""


def random_market(
    rows: int, *, seed: int, timeframe: str = "1h", start_price: float = 30_000.0
) -> Candles:
    """Return a market with fat tails and changing volatility."""
    draw = np.random.Generator(np.random.PCG64(seed))
    mood = np.exp(0.5 * np.sin(np.arange(rows) / 150.0 + draw.uniform(0, 6)))
    steps = draw.standard_t(4, rows) * 0.004 * mood
    return market_of(
        start_price * np.exp(np.cumsum(steps)),
        reach=np.abs(draw.normal(0, 0.003, (2, rows))),
        volume=draw.lognormal(3, 1, rows),
        timeframe=timeframe,
    )


def difficult_markets(rows: int) -> dict[str, Candles]:
    """Return markets that break careless arithmetic, by what is difficult about them."""
    ramp = np.arange(rows, dtype=np.float64)
    jumps = np.where(ramp // 50 % 2 == 0, 100.0, 10_000.0)
    still = np.zeros((2, rows))
    return {
        "no candle": random_market(0, seed=1),
        "one candle": random_market(1, seed=1),
        "three candles": random_market(3, seed=1),
        "a flat market": market_of(np.full(rows, 0.1), reach=still),
        "a market without volume": market_of(100.0 + ramp % 7, reach=still, volume=np.zeros(rows)),
        "a market that only rises": market_of(1.0 + ramp, reach=still),
        "a market that only falls": market_of(rows + 1.0 - ramp, reach=still),
        "hundredfold jumps": market_of(jumps, reach=still + 0.01),
        "prices of a millionth": random_market(rows, seed=2, start_price=1e-4),
        "prices of a million": random_market(rows, seed=3, start_price=1e6),
    }


def market_of(
    close: Values,
    *,
    reach: Values,
    volume: Values | None = None,
    timeframe: str = "1h",
) -> Candles:
    """Return candles that open at the close before.

    reach: (2, n), how far high and low lie beyond open and close, as a fraction of the close.
    """
    opens = np.concatenate([close[:1], close[:-1]])
    length = Timeframe.parse(timeframe)
    return Candles(
        venue=Venue.BINANCE,
        symbol="BTCUSDT",
        timeframe=length,
        ts_ms=_FIRST_MS + np.arange(len(close), dtype=np.int64) * length.duration_ms,
        open=opens,
        high=np.maximum(opens, close) + reach[0] * close,
        low=np.minimum(opens, close) * (1.0 - reach[1]),
        close=close,
        volume=np.ones(len(close)) if volume is None else volume,
    )
