"""What a tear sheet is given, and the compact columns that its charts draw."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import Candles
from perpdesk.domain.numbers import ATOMS_PER_UNIT
from perpdesk.reports.downsampling import coarse_candles, extreme_rows
from perpdesk.reports.drawdown import max_drawdown
from perpdesk.reports.metrics import Metrics, curve_series, holding_series
from perpdesk.reports.round_trip import RoundTrip

EQUITY_POINTS: Final = 2_000
CANDLES: Final = 4_000
TRADES: Final = 2_000
_NAMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TearsheetData:
    """Everything a tear sheet shows. All text is escaped on the page.

    strategy: the heading, as in "smc@1". facts: the line under it, as in {"Symbols": "BTCUSDT"}.
    lookahead_verdict: what the self-test found; lookahead_passed: whether nothing was falsified,
    None where it did not run. notes: what a reader must know before he trusts the numbers.
    candles: by symbol, in equal parts held beside the run. provenance: versions, data
    hashes and assumptions.
    """

    strategy: str
    facts: Mapping[str, str]
    curve: AccountCurve
    trips: Sequence[RoundTrip]
    metrics: Metrics
    candles: Mapping[str, Candles]
    initial_capital: Decimal
    quote: str = "USDT"
    lookahead_verdict: str = "not tested"
    lookahead_passed: bool | None = None
    is_synthetic: bool = False
    notes: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def symbols_of(data: TearsheetData) -> list[str]:
    """Return the symbols of the run, those with candles first."""
    symbols = list(data.candles)
    return symbols + sorted({trip.symbol for trip in data.trips} - set(symbols))


def held_text(data: TearsheetData) -> str:
    """Return what is held beside the run, as it stands after the word "holding"."""
    symbols = [symbol for symbol, candles in data.candles.items() if len(candles)]
    shown = ", ".join(symbols[:_NAMED]) + (" …" if len(symbols) > _NAMED else "")
    return f"{shown} in equal parts" if len(symbols) > 1 else shown


def payload_of(data: TearsheetData) -> dict[str, Any]:
    """Return the columns of the charts and of the trade table, ready for JSON."""
    symbols = symbols_of(data)
    return {
        "quote": data.quote,
        "symbols": symbols,
        "equity": _equity_columns(data),
        "candles": {
            symbol: _candle_columns(candles)
            for symbol, candles in data.candles.items()
            if len(candles)
        },
        "trades": trade_columns(data.trips[:TRADES], symbols),
    }


def embedded(payload: Mapping[str, Any]) -> str:
    """Return JSON that may stand inside a script element: no tag can begin or end in it."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _equity_columns(data: TearsheetData) -> dict[str, Any]:
    """Return equity, holding and depth at slots of equal length.

    slots: evenly spaced times (s), because the chart spaces points evenly. times: when each value
    was really seen (s). equity, hold: quote; depth: percent below the peak, negative.
    """
    series = curve_series(data.curve, initial_capital=data.initial_capital)
    fall = max_drawdown(series.values, start=series.start_value)
    rows = extreme_rows(
        series.values, limit=EQUITY_POINTS - 2, keep=[fall.trough_row] if fall else []
    )
    # The peak so far, block by block: what lies between two kept rows counts as well.
    starts = np.concatenate(([0], rows[:-1] + 1))
    starts = np.minimum(starts, rows)
    peaks = np.maximum.accumulate(np.maximum.reduceat(series.values, starts))
    peaks = np.maximum(np.maximum(peaks, series.values[rows]), series.start_value)
    equity = series.values[rows] / ATOMS_PER_UNIT
    times = data.curve.ts_ms[rows] + 1
    slots = np.linspace(series.start_ms, series.end_ms, len(rows) + 1) // 1000
    start = float(data.initial_capital)
    columns = {
        "slots": slots.astype(np.int64).tolist(),
        "times": [series.start_ms // 1000, *(times // 1000).tolist()],
        "equity": [_rounded(start), *np.round(equity, 2).tolist()],
        "depth": [0.0, *np.round((series.values[rows] / peaks - 1) * 100, 3).tolist()],
    }
    holding = holding_series(list(data.candles.values()))
    if holding is not None:
        worth = holding.at(times) / holding.start_value * start
        columns["hold"] = [_rounded(start), *np.round(worth, 2).tolist()]
        columns["hold_symbol"] = held_text(data)
    return columns


def _candle_columns(candles: Candles) -> dict[str, Any]:
    coarse = coarse_candles(candles, limit=CANDLES)
    digits = _price_digits(float(np.min(coarse.low)))
    return {
        "timeframe": str(coarse.timeframe),
        "source": str(candles.timeframe),
        "source_count": len(candles),
        "digits": digits,
        "time": (coarse.ts_ms // 1000).tolist(),
        **{
            name: np.round(column, digits).tolist()
            for name, column in coarse.columns()
            if name != "volume"
        },
    }


def trade_columns(trips: Sequence[RoundTrip], symbols: Sequence[str]) -> dict[str, list[Any]]:
    """Return the trades by column; times in seconds, money and prices as floats."""
    row_of = {symbol: row for row, symbol in enumerate(symbols)}

    def money(name: str) -> list[float | None]:
        values = (getattr(trip, name) for trip in trips)
        return [None if value is None else _rounded(float(value)) for value in values]

    def price(name: str) -> list[float | None]:
        values = (getattr(trip, name) for trip in trips)
        return [None if value is None else float(f"{value:.10g}") for value in values]

    return {
        "id": [trip.trade_id for trip in trips],
        "symbol": [row_of[trip.symbol] for trip in trips],
        "side": [trip.side.sign for trip in trips],
        "entered": [trip.entry_ts_ms // 1000 for trip in trips],
        "left": [None if t.exit_ts_ms is None else t.exit_ts_ms // 1000 for t in trips],
        "reason": [None if trip.exit_reason is None else str(trip.exit_reason) for trip in trips],
        "r": [None if trip.r_multiple is None else round(trip.r_multiple, 3) for trip in trips],
        **{name: price(name) for name in ("quantity", "entry_price", "exit_price")},
        **{name: price(name) for name in ("stop_loss", "take_profit")},
        **{name: money(name) for name in ("net_pnl", "fees", "funding", "mae", "mfe")},
    }


def _rounded(value: float) -> float:
    """Keep cents, or six digits where the amount is smaller than that."""
    return round(value, 2) if abs(value) >= 1 else round(value, 6)


def _price_digits(price: float) -> int:
    """Return decimals enough for six significant digits of a price."""
    return min(12, max(2, 5 - math.floor(math.log10(price)))) if price > 0 else 2
