"""A synthetic market for the demo: made from a seed, repeatable, never mistaken for a real one.

Each symbol follows one shared and one own source of moves. Volatility clusters (GARCH(1,1) with
Student-t shocks, and a slow daily rhythm), the market jumps a few times a month, volume follows
volatility, the mark price follows last with a mean-reverting basis, and funding follows the basis.
A bar is built from finer steps, so that open, high, low and close belong together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import (
    DAY_MS,
    HOUR_MS,
    Candles,
    DataKind,
    FundingRates,
    Timeframe,
    Values,
    Venue,
)
from perpdesk.domain.errors import UsageRefused
from perpdesk.marketdata.aggregation import aggregate
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.series import SeriesKey, WriteReport

STEPS_PER_BAR: Final = 12
JUMPS_PER_DAY: Final = 0.1
FUNDING_INTERVAL_MS: Final = 8 * HOUR_MS
BASE_RATE: Final = 0.0001
"""Both venues' interest component for eight hours; funding rests there while the basis is small."""

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
START_MS: Final = 1_704_067_200_000
"""2024-01-01."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Character:
    """How one symbol behaves. tick: price grid. volatility: of a day, as a fraction. beta: how much
    of the shared move it takes. daily_volume: quote currency a day."""

    price: float
    tick: float
    step: float
    volatility: float
    beta: float
    daily_volume: float


CHARACTERS: Final = {
    "BTCUSDT": _Character(
        price=42_000, tick=0.1, step=0.001, volatility=0.026, beta=0.9, daily_volume=9e9
    ),
    "ETHUSDT": _Character(
        price=2_300, tick=0.01, step=0.001, volatility=0.034, beta=0.85, daily_volume=5e9
    ),
    "SOLUSDT": _Character(
        price=100, tick=0.001, step=1, volatility=0.052, beta=0.75, daily_volume=1.5e9
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSeries:
    """Candles, mark prices and funding of one synthetic symbol."""

    candles: Candles
    mark: Candles
    funding: FundingRates


def source_name(seed: int) -> str:
    """Return what the manifest says of synthetic data."""
    return f"synthetic seed={seed}"


def generate_market(
    seed: int,
    *,
    symbols: Sequence[str] = SYMBOLS,
    start_ms: int = START_MS,
    days: int = 120,
    timeframe: Timeframe | None = None,
    venue: Venue = Venue.BINANCE,
) -> dict[str, SyntheticSeries]:
    """Return a synthetic market by symbol; the same arguments give the same numbers everywhere.

    timeframe: 5m unless given; it must divide 8 hours. Raises UsageRefused for a symbol that has no
    character, and for a start that is not a UTC midnight.
    """
    frame = timeframe or Timeframe.parse("5m")
    unknown = [symbol for symbol in symbols if symbol not in CHARACTERS]
    if unknown:
        raise UsageRefused(
            f"no synthetic {unknown[0]} can be made",
            next_step=f"Choose among {', '.join(CHARACTERS)}.",
        )
    if start_ms % DAY_MS or days < 1 or FUNDING_INTERVAL_MS % frame.duration_ms or frame.is_month:
        raise UsageRefused(
            "a synthetic market begins at midnight UTC and lasts whole days, in candles of 8h or "
            "less",
            next_step="Give a date, at least one day, and a timeframe such as 1m, 5m or 1h.",
        )
    bars = days * DAY_MS // frame.duration_ms
    shared = _moves(np.random.Generator(np.random.PCG64([seed, 0])), bars, frame)
    ts_ms = start_ms + np.arange(bars, dtype=np.int64) * frame.duration_ms
    market: dict[str, SyntheticSeries] = {}
    for symbol in symbols:
        # A symbol's own stream does not depend on which others are made beside it.
        number = 1 + list(CHARACTERS).index(symbol)
        random = np.random.Generator(np.random.PCG64([seed, number]))
        market[symbol] = _series(random, shared, ts_ms, symbol, frame, venue)
    return market


def write_sample(
    store: CandleStore, seed: int, market: dict[str, SyntheticSeries]
) -> list[WriteReport]:
    """Store a synthetic market, marked as such; raises DataRefused over recorded data."""
    source = source_name(seed)
    for series in market.values():
        for kind, timeframe in (
            (DataKind.CANDLES, series.candles.timeframe),
            (DataKind.MARK, series.mark.timeframe),
            (DataKind.FUNDING, None),
        ):
            symbol = series.candles.symbol
            key = SeriesKey(
                venue=series.candles.venue, symbol=symbol, kind=kind, timeframe=timeframe
            )
            store.require_source(key, source)
    reports: list[WriteReport] = []
    for series in market.values():
        reports.append(store.write_candles(series.candles, source=source))
        reports.append(store.write_candles(series.mark, DataKind.MARK, source=source))
        reports.append(store.write_funding(series.funding, source=source))
    return reports


@dataclass(frozen=True, slots=True)
class _Moves:
    """Log returns of the fine steps (bars x STEPS_PER_BAR) in units of a day's volatility, and the
    relative activity of each bar."""

    returns: npt.NDArray[np.float64]
    activity: Values


def _moves(random: np.random.Generator, bars: int, timeframe: Timeframe) -> _Moves:
    """Draw clustered, fat-tailed moves with rare jumps; a day's returns deviate by about 1."""
    bars_per_day = DAY_MS / timeframe.duration_ms
    shocks = random.standard_t(5, bars) / np.sqrt(5 / 3)
    # The variance forgets a shock with a half-life of about half a day, whatever the timeframe.
    persistence = 0.5 ** (2 / bars_per_day)
    weight = 0.8 * np.sqrt(1 - persistence)
    variance = np.empty(bars)
    level = 1.0
    for bar, square in enumerate((shocks * shocks).tolist()):
        variance[bar] = level
        level = (1 - persistence) + level * (persistence - weight + weight * min(square, 16.0))
    hours = np.arange(bars) * (timeframe.duration_ms / HOUR_MS) % 24
    rhythm = 1 + 0.25 * np.sin((hours - 8) / 24 * 2 * np.pi)
    volatility = np.sqrt(np.minimum(variance, 30.0)) * rhythm
    # A bridge: the fine steps of a bar add up to its shock.
    fine = random.standard_normal((bars, STEPS_PER_BAR))
    fine += (shocks * np.sqrt(STEPS_PER_BAR) - fine.sum(axis=1))[:, None] / STEPS_PER_BAR
    returns = fine * (volatility / np.sqrt(bars_per_day * STEPS_PER_BAR))[:, None]
    jumps = random.random(bars) < JUMPS_PER_DAY / bars_per_day
    sizes = random.normal(-0.15, 0.8, bars)
    returns[:, STEPS_PER_BAR // 2] += np.where(jumps, sizes, 0.0)
    return _Moves(returns, volatility * (np.abs(shocks) ** 0.5 + 0.3) + 5 * jumps)


def _series(
    random: np.random.Generator,
    shared: _Moves,
    ts_ms: npt.NDArray[np.int64],
    symbol: str,
    timeframe: Timeframe,
    venue: Venue,
) -> SyntheticSeries:
    character = CHARACTERS[symbol]
    own = _moves(random, len(ts_ms), timeframe)
    beta = character.beta
    returns = beta * shared.returns + np.sqrt(1 - beta * beta) * own.returns
    path = character.price * np.exp(np.cumsum(returns.ravel()) * character.volatility)
    prices = _bars(path, character.price, character.tick)
    activity = beta * shared.activity + (1 - beta) * own.activity
    volume = _volume(random, activity, prices["close"], character, timeframe)
    basis = _basis(random, len(ts_ms), timeframe)
    mark_path = path * (1 - np.repeat(basis, STEPS_PER_BAR))
    mark = _bars(mark_path, character.price, character.tick / 10)
    fine = Candles(
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=ts_ms,
        volume=np.zeros(len(ts_ms)),
        **mark,
    )
    hour = Timeframe.parse("1h")
    return SyntheticSeries(
        candles=Candles(
            venue=venue, symbol=symbol, timeframe=timeframe, ts_ms=ts_ms, volume=volume, **prices
        ),
        mark=aggregate(fine, hour) if timeframe < hour else fine,
        funding=_funding(fine, basis, venue, symbol),
    )


def _bars(path: Values, first: float, tick: float) -> dict[str, Values]:
    """Return open, high, low, close of the fine path on the price grid; bars join without gaps."""
    ticks = np.maximum(np.rint(path / tick), 1).reshape(-1, STEPS_PER_BAR)
    opens = np.concatenate(([np.rint(first / tick)], ticks[:-1, -1]))
    decimals = max(0, round(-np.log10(tick)))
    grid = {
        "open": opens,
        "high": np.maximum(ticks.max(axis=1), opens),
        "low": np.minimum(ticks.min(axis=1), opens),
        "close": ticks[:, -1],
    }
    return {name: np.round(values * tick, decimals) for name, values in grid.items()}


def _volume(
    random: np.random.Generator,
    activity: Values,
    close: Values,
    character: _Character,
    timeframe: Timeframe,
) -> Values:
    """Return base volume that grows with volatility, with noise of its own."""
    per_bar = character.daily_volume * timeframe.duration_ms / DAY_MS
    quote = per_bar * activity**1.3 * np.exp(random.normal(-0.08, 0.4, len(activity)))
    steps = np.maximum(np.rint(quote / close / character.step), 1)
    return np.round(steps * character.step, 8)


def _basis(random: np.random.Generator, bars: int, timeframe: Timeframe) -> Values:
    """Return (last - mark) / mark as a mean-reverting walk around a slow sentiment."""
    per_hour = timeframe.duration_ms / HOUR_MS
    fast, slow = 0.5 ** (per_hour / 1.5), 0.5 ** (per_hour / 96)
    noise = random.normal(0, 1, (2, bars))
    quick, mood = 0.0, 0.0
    basis = np.empty(bars)
    for bar in range(bars):
        quick = fast * quick + np.sqrt(1 - fast * fast) * noise[0, bar]
        mood = slow * mood + np.sqrt(1 - slow * slow) * noise[1, bar]
        basis[bar] = 0.0003 * quick + 0.0004 * mood
    return basis


def _funding(mark: Candles, basis: Values, venue: Venue, symbol: str) -> FundingRates:
    """Return settlements every eight hours: the mean basis, held to within 0.05 % of the base rate.

    rate = P + clamp(base rate - P, -0.05 %, 0.05 %), then limited to 0.3 %, to 1e-8.
    """
    bars = FUNDING_INTERVAL_MS // mark.timeframe.duration_ms
    premium = basis[: len(basis) // bars * bars].reshape(-1, bars).mean(axis=1)
    rate = premium + np.clip(BASE_RATE - premium, -0.0005, 0.0005)
    ends = np.arange(1, len(premium) + 1) * bars
    return FundingRates(
        venue=venue,
        symbol=symbol,
        ts_ms=mark.ts_ms[0] + ends * mark.timeframe.duration_ms,
        rate=np.round(np.clip(rate, -0.003, 0.003), 8),
        mark_price=mark.close[ends - 1].copy(),
    )
