"""Metrics of a run: one frozen record of plain values, computed from a curve and its trades."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import DAY_MS, Candles
from perpdesk.domain.numbers import ATOMS_PER_UNIT
from perpdesk.reports import statistics as st
from perpdesk.reports.drawdown import (
    Drawdown,
    drawdown_depths,
    max_drawdown,
    ulcer_index,
    wealth_of,
)
from perpdesk.reports.periods import Floats, Series, daily_returns, monthly_returns
from perpdesk.reports.round_trip import RoundTrip
from perpdesk.reports.trade_statistics import (
    Bin,
    Costs,
    TradeStatistics,
    columns_of,
    costs_of,
    r_distribution,
    trade_statistics,
    traded_notional,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReturn:
    """The return of one calendar month, UTC, as a fraction."""

    year: int
    month: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyAndHold:
    """Holding the symbols in equal parts, first open to last close, without leverage or costs."""

    total_return: float
    cagr: float | None
    sharpe: float | None
    max_drawdown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What happened, measured. Definitions and units: docs/metrics.md.

    Returns, rates and depths are fractions (0.25 is 25 %); money is quote; None has no value by its
    definition. Drawdown depths are positive, VaR and CVaR negative when they lose. Ratios rest on
    the `day_count` returns between 00:00 UTC and 00:00 UTC, annualized with 365 days.
    """

    start_ms: int
    end_ms: int
    days: float
    day_count: int
    bar_count: int
    periods_per_year: int
    initial_capital: float
    final_equity: float
    net_pnl: float
    total_return: float
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sharpe_autocorrelation_adjusted: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    max_drawdown_amount: float
    max_drawdown_days: float | None
    max_drawdown_peak_ms: int | None
    max_drawdown_trough_ms: int | None
    max_drawdown_recovery_ms: int | None
    longest_underwater_days: float | None
    max_drawdown_daily: float | None
    max_drawdown_intrabar: float | None
    ulcer_index: float | None
    best_day: float | None
    worst_day: float | None
    positive_days_rate: float | None
    var_95: float | None
    var_95_gaussian: float | None
    var_95_cornish_fisher: float | None
    var_95_cornish_fisher_fell_back: bool
    cvar_95: float | None
    skewness: float | None
    excess_kurtosis: float | None
    psr_2012: float | None
    psr_2025: float | None
    min_track_record_days: float | None
    kelly_leverage: float | None
    exposure: float
    turnover_per_year: float | None
    traded_notional: float
    all_trades: TradeStatistics
    long_trades: TradeStatistics
    short_trades: TradeStatistics
    r_distribution: tuple[Bin, ...]
    costs: Costs
    monthly_returns: tuple[MonthlyReturn, ...]
    buy_and_hold: BuyAndHold | None

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics for JSON; those of `all_trades` stand at the top level beside it."""
        plain = dataclasses.asdict(self)
        return {**plain.pop("all_trades"), **plain}


def compute_metrics(
    curve: AccountCurve,
    trips: Sequence[RoundTrip],
    *,
    initial_capital: Decimal,
    benchmark: Sequence[Candles],
    max_drawdown_intrabar: float | None = None,
) -> Metrics:
    """Measure a run that began with `initial_capital` > 0; the curve has at least one row.

    benchmark: the candles of the run's own range by symbol, to hold beside it in equal parts.
    max_drawdown_intrabar: of `intrabar_drawdown`, where the worst of every bar is known.
    """
    assert len(curve), "a curve without rows has nothing to measure"
    equity = curve_series(curve, initial_capital=initial_capital)
    columns = columns_of(trips)
    notional = float(traded_notional(trips))
    average_equity = float(np.mean(equity.values)) / ATOMS_PER_UNIT
    years = equity.days / st.DAYS_PER_YEAR
    has_rate = average_equity > 0 and years > 0
    holding = holding_series(benchmark)
    months = (MonthlyReturn(year=y, month=m, value=v) for y, m, v in monthly_returns(equity))
    return Metrics(
        bar_count=len(curve),
        max_drawdown_intrabar=max_drawdown_intrabar,
        exposure=int(np.count_nonzero(curve.used_margin)) / len(curve),
        turnover_per_year=notional / average_equity / years if has_rate else None,
        traded_notional=notional,
        all_trades=trade_statistics(columns),
        long_trades=trade_statistics(columns.of(columns.is_long)),
        short_trades=trade_statistics(columns.of(~columns.is_long)),
        r_distribution=r_distribution(columns),
        costs=costs_of(trips),
        monthly_returns=tuple(months),
        buy_and_hold=_buy_and_hold(holding) if holding is not None else None,
        **_return_metrics(equity),
    )


def curve_series(curve: AccountCurve, *, initial_capital: Decimal) -> Series:
    """Return the equity of a curve in atoms; it starts one bar before the first row ends."""
    first_ms = int(curve.ts_ms[0])
    bar_ms = int(curve.ts_ms[1]) - first_ms if len(curve) > 1 else 1
    return Series(
        ts_ms=curve.ts_ms,
        values=curve.equity,
        lag_ms=1,
        start_ms=first_ms + 1 - bar_ms,
        start_value=float(initial_capital.scaleb(8)),
    )


def candle_series(candles: Candles) -> Series:
    """Return the closes of candles; wealth starts at the first open."""
    timeframe, times = candles.timeframe, candles.ts_ms
    return Series(
        ts_ms=timeframe.close_all(times) if timeframe.is_month else times,
        values=candles.close,
        lag_ms=0 if timeframe.is_month else timeframe.duration_ms,
        start_ms=int(times[0]),
        start_value=float(candles.open[0]),
    )


def holding_series(benchmark: Sequence[Candles]) -> Series | None:
    """Return the wealth of holding every symbol, equal parts at the start; None without candles.

    Each is bought at its own first open; where it has no candle, its last known close stands.
    """
    each = [candle_series(candles) for candles in benchmark if len(candles)]
    if len(each) < 2:
        return each[0] if each else None
    times = np.unique(np.concatenate([one.ts_ms + one.lag_ms for one in each]))
    parts = [one.at(times) / one.start_value for one in each]
    return Series(
        ts_ms=times,
        values=np.mean(parts, axis=0),
        lag_ms=0,
        start_ms=min(one.start_ms for one in each),
        start_value=1.0,
    )


def _return_metrics(equity: Series) -> dict[str, Any]:
    """Measure the returns and drawdowns of a run."""
    returns = daily_returns(equity)
    growth = float(equity.values[-1]) / equity.start_value
    cagr = _cagr(growth, returns, equity.days)
    fall = max_drawdown(equity.values, start=equity.start_value)
    daily_depths = drawdown_depths(wealth_of(returns), start=1.0)
    var_cf, fell_back = st.var_cornish_fisher(returns)
    has_days = len(returns) >= 2
    return {
        "start_ms": equity.start_ms,
        "end_ms": equity.end_ms,
        "days": equity.days,
        "day_count": len(returns),
        "periods_per_year": st.DAYS_PER_YEAR,
        "initial_capital": equity.start_value / ATOMS_PER_UNIT,
        "final_equity": float(equity.values[-1]) / ATOMS_PER_UNIT,
        "net_pnl": (float(equity.values[-1]) - equity.start_value) / ATOMS_PER_UNIT,
        "total_return": growth - 1,
        "cagr": cagr,
        "volatility": st.volatility(returns),
        "sharpe": st.sharpe_ratio(returns),
        "sharpe_autocorrelation_adjusted": st.autocorrelation_adjusted_sharpe(returns),
        "sortino": st.sortino_ratio(returns) if has_days else None,
        "calmar": cagr / fall.depth if cagr is not None and fall else None,
        **_drawdown_metrics(equity, fall),
        "max_drawdown_daily": float(np.max(daily_depths)) if has_days else None,
        "ulcer_index": ulcer_index(daily_depths) if has_days else None,
        "best_day": float(np.max(returns)) if has_days else None,
        "worst_day": float(np.min(returns)) if has_days else None,
        "positive_days_rate": float(np.mean(returns > 0)) if has_days else None,
        "var_95": st.var_historical(returns),
        "var_95_gaussian": st.var_gaussian(returns),
        "var_95_cornish_fisher": var_cf,
        "var_95_cornish_fisher_fell_back": fell_back,
        "cvar_95": st.es_historical(returns),
        "kelly_leverage": st.kelly_of_returns(returns),
        **_significance_metrics(returns),
    }


def _drawdown_metrics(equity: Series, fall: Drawdown | None) -> dict[str, Any]:
    names = ("days", "peak_ms", "trough_ms", "recovery_ms")
    if fall is None:
        times: Mapping[str, float | None] = dict.fromkeys(names)
        return {
            "max_drawdown": 0.0,
            "max_drawdown_amount": 0.0,
            **{f"max_drawdown_{name}": value for name, value in times.items()},
            "longest_underwater_days": None,
        }

    def moment(row: int) -> int:
        return equity.start_ms if row < 0 else int(equity.ts_ms[row]) + equity.lag_ms

    peak_row, recovery_row = fall.peak_row, fall.recovery_row
    peak = equity.start_value if peak_row < 0 else float(equity.values[peak_row])
    end_ms = equity.end_ms if recovery_row is None else moment(recovery_row)
    longest_ms = moment(fall.longest_to_row) - moment(fall.longest_from_row)
    return {
        "max_drawdown": fall.depth,
        "max_drawdown_amount": (peak - float(equity.values[fall.trough_row])) / ATOMS_PER_UNIT,
        "max_drawdown_days": (end_ms - moment(peak_row)) / DAY_MS,
        "max_drawdown_peak_ms": moment(peak_row),
        "max_drawdown_trough_ms": moment(fall.trough_row),
        "max_drawdown_recovery_ms": None if recovery_row is None else end_ms,
        "longest_underwater_days": longest_ms / DAY_MS,
    }


def _significance_metrics(returns: Floats) -> dict[str, float | None]:
    shape = st.shape_of(returns)
    daily = st.sharpe_ratio(returns, periods_per_year=1)
    if shape is None or daily is None:
        names = ("skewness", "excess_kurtosis", "psr_2012", "psr_2025", "min_track_record_days")
        return dict.fromkeys(names)
    form = {"skewness": shape.skewness, "kurtosis": shape.kurtosis}
    return {
        "skewness": shape.skewness,
        "excess_kurtosis": shape.kurtosis - 3,
        "psr_2012": st.psr_2012(daily, n=len(returns), **form),
        "psr_2025": st.psr_2025(daily, n=len(returns), **form),
        "min_track_record_days": st.min_track_record_2012(daily, **form),
    }


def _buy_and_hold(series: Series) -> BuyAndHold:
    returns = daily_returns(series)
    growth = float(series.values[-1]) / series.start_value
    fall = max_drawdown(series.values, start=series.start_value)
    return BuyAndHold(
        total_return=growth - 1,
        cagr=_cagr(growth, returns, series.days),
        sharpe=st.sharpe_ratio(returns),
        max_drawdown=fall.depth if fall else 0.0,
    )


def _cagr(growth: float, returns: Floats, days: float) -> float | None:
    """Return the annual growth; less than two daily returns do not make a year."""
    if len(returns) < 2 or not math.isfinite(growth):
        return None
    return st.annual_return(growth, years=days / st.DAYS_PER_YEAR)
