"""Ratios, tail risk and significance of a series of period returns; plain formulas on floats.

Every function answers None where its definition has no value (too few periods, no variance): never
an infinity, never NaN. Returns are simple returns per period, (n,) float64; gains are positive.
Source of the definitions: reference/reliability.md E.1.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Returns = npt.NDArray[np.float64]

DAYS_PER_YEAR: Final = 365
"""Crypto trades every day; libraries made for stocks use 252 and show less by sqrt(365/252)."""

_NORMAL: Final = NormalDist()
_FLAT: Final = 1e-14
"""Returns closer together than this differ by float noise only."""


def sharpe_ratio(
    returns: Returns, *, risk_free: float = 0.0, periods_per_year: float = DAYS_PER_YEAR
) -> float | None:
    """Return mean(r - f) / sd(r - f) x sqrt(periods per year), the deviation with divisor n - 1."""
    if _is_flat(returns):
        return None
    ratio = (float(np.mean(returns)) - risk_free) / float(np.std(returns, ddof=1))
    return ratio * math.sqrt(periods_per_year)


def autocorrelation_adjusted_sharpe(
    returns: Returns, *, periods_per_year: float = DAYS_PER_YEAR
) -> float | None:
    """Return the Sharpe ratio annualized as if returns followed an AR(1) process.

    Source: A. Lo, The Statistics of Sharpe Ratios, 2002: the closed form of eta(q) for AR(1).
    """
    per_period = sharpe_ratio(returns, periods_per_year=1)
    if per_period is None or len(returns) < 3:
        return None
    centered = returns - np.mean(returns)
    rho = float(np.sum(centered[1:] * centered[:-1]) / np.sum(centered**2))
    q = periods_per_year
    inflation = 1 + 2 * rho / (1 - rho) * (1 - (1 - rho**q) / (q * (1 - rho)))
    return per_period * math.sqrt(q / inflation) if inflation > 0 else None


def downside_deviation(returns: Returns, *, minimum: float = 0.0) -> float | None:
    """Return sqrt(mean(min(r - minimum, 0)^2)) over all periods, gains included as zeros."""
    if not len(returns):
        return None
    return math.sqrt(float(np.mean(np.minimum(returns - minimum, 0.0) ** 2)))


def downside_potential(returns: Returns, *, minimum: float = 0.0) -> float | None:
    """Return mean(max(minimum - r, 0)) over all periods."""
    return float(np.mean(np.maximum(minimum - returns, 0.0))) if len(returns) else None


def sortino_ratio(
    returns: Returns, *, minimum: float = 0.0, periods_per_year: float = DAYS_PER_YEAR
) -> float | None:
    """Return mean(r - minimum) / downside deviation x sqrt(periods per year)."""
    deviation = downside_deviation(returns, minimum=minimum)
    if deviation is None or deviation <= _FLAT:
        return None
    return (float(np.mean(returns)) - minimum) / deviation * math.sqrt(periods_per_year)


def annual_return(growth: float, *, years: float) -> float | None:
    """Return growth^(1 / years) - 1, where growth is final over initial wealth; -1 after ruin."""
    if years <= 0:
        return None
    if growth <= 0:
        return -1.0
    exponent = math.log(growth) / years
    return math.expm1(exponent) if exponent < 700 else None


def growth_of(returns: Returns) -> float:
    """Return final over initial wealth: the product of 1 + r."""
    return float(np.prod(1 + returns))


def volatility(returns: Returns, *, periods_per_year: float = DAYS_PER_YEAR) -> float | None:
    """Return the annual standard deviation, divisor n - 1."""
    if len(returns) < 2:
        return None
    return float(np.std(returns, ddof=1)) * math.sqrt(periods_per_year)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Mean, deviation, skewness and kurtosis, all with divisor n; kurtosis of a normal is 3."""

    mean: float
    deviation: float
    skewness: float
    kurtosis: float


def shape_of(returns: Returns) -> Shape | None:
    """Return the moments, or None without variance."""
    if _is_flat(returns):
        return None
    mean = float(np.mean(returns))
    centered = returns - mean
    variance = float(np.mean(centered**2))
    return Shape(
        mean=mean,
        deviation=math.sqrt(variance),
        skewness=float(np.mean(centered**3)) / variance**1.5,
        kurtosis=float(np.mean(centered**4)) / variance**2,
    )


# Tail risk. A loss is a negative return.
def var_historical(returns: Returns, *, confidence: float = 0.95) -> float | None:
    """Return the quantile at 1 - confidence by linear interpolation (Hyndman-Fan type 7)."""
    return float(np.quantile(returns, 1 - confidence)) if len(returns) >= 2 else None


def es_historical(returns: Returns, *, confidence: float = 0.95) -> float | None:
    """Return the mean of the returns at or below the historical VaR (CVaR, expected shortfall)."""
    quantile = var_historical(returns, confidence=confidence)
    return None if quantile is None else float(np.mean(returns[returns <= quantile]))


def var_gaussian(returns: Returns, *, confidence: float = 0.95) -> float | None:
    """Return mean + z x deviation, z being the normal quantile of 1 - confidence."""
    shape = shape_of(returns)
    z = _NORMAL.inv_cdf(1 - confidence)
    return None if shape is None else shape.mean + z * shape.deviation


def es_gaussian(returns: Returns, *, confidence: float = 0.95) -> float | None:
    """Return mean - deviation x pdf(z) / (1 - confidence)."""
    shape = shape_of(returns)
    if shape is None:
        return None
    density = _NORMAL.pdf(_NORMAL.inv_cdf(1 - confidence))
    return shape.mean - shape.deviation * density / (1 - confidence)


def var_cornish_fisher(returns: Returns, *, confidence: float = 0.95) -> tuple[float | None, bool]:
    """Return the VaR corrected for skewness and kurtosis, and whether it fell back to Gaussian.

    The expansion is no quantile function where skewness or kurtosis is large: there it is not
    monotone, and the Gaussian value stands in.
    """
    shape = shape_of(returns)
    if shape is None:
        return None, False
    s, k = shape.skewness, shape.kurtosis - 3
    # Its slope in z is a z^2 + b z + c: positive for every z, or the expansion folds back.
    a, b, c = k / 8 - s * s / 6, s / 3, 1 - k / 8 + 5 * s * s / 36
    is_monotone = c > 0 and (b * b < 4 * a * c or (abs(a) < _FLAT and abs(b) < _FLAT))
    if not is_monotone:
        return var_gaussian(returns, confidence=confidence), True
    z = _NORMAL.inv_cdf(1 - confidence)
    corrected = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    return shape.mean + corrected * shape.deviation, False


# Significance. Sharpe ratios are per period here, kurtosis of a normal is 3.
def sharpe_standard_error(
    sharpe: float, *, periods: float, skewness: float, kurtosis: float
) -> float | None:
    """Return the standard error of a per-period Sharpe ratio over `periods`; None below zero.

    `periods` is n - 1 in the convention of 2012 and n in that of 2025.
    """
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return math.sqrt(variance / periods) if variance > 0 and periods > 0 else None


def psr_2012(
    sharpe: float, *, n: int, skewness: float, kurtosis: float, benchmark: float = 0.0
) -> float | None:
    """Return the probability that the true Sharpe ratio exceeds `benchmark`, both per period.

    Source: Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier, 2012: variance at the
    observed ratio, divisor n - 1.
    """
    error = sharpe_standard_error(sharpe, periods=n - 1, skewness=skewness, kurtosis=kurtosis)
    return None if error is None else _NORMAL.cdf((sharpe - benchmark) / error)


def psr_2025(
    sharpe: float, *, n: int, skewness: float, kurtosis: float, benchmark: float = 0.0
) -> float | None:
    """Return the probability of `psr_2012` in the authors' revision of 2025.

    Source: Lopez de Prado, Lipton and Zoonekynd, Sharpe Ratio Inference, SSRN 5520741: variance at
    the benchmark ratio, divisor n.
    """
    error = sharpe_standard_error(benchmark, periods=n, skewness=skewness, kurtosis=kurtosis)
    return None if error is None else _NORMAL.cdf((sharpe - benchmark) / error)


def min_track_record_2012(
    sharpe: float,
    *,
    skewness: float,
    kurtosis: float,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float | None:
    """Return how many periods it takes until `psr_2012` reaches `confidence`; None if it cannot."""
    error = sharpe_standard_error(sharpe, periods=1, skewness=skewness, kurtosis=kurtosis)
    if error is None or sharpe <= benchmark:
        return None
    return 1 + (error * _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def min_track_record_2025(
    sharpe: float,
    *,
    skewness: float,
    kurtosis: float,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float | None:
    """Return how many periods it takes until `psr_2025` reaches `confidence`; None if it cannot."""
    error = sharpe_standard_error(benchmark, periods=1, skewness=skewness, kurtosis=kurtosis)
    if error is None or sharpe <= benchmark:
        return None
    return (error * _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


# Kelly.
def kelly_of_bet(*, win_probability: float, net_odds: float) -> float:
    """Return the growth-optimal fraction p - (1 - p) / b to stake at net odds b to 1."""
    return win_probability - (1 - win_probability) / net_odds


def kelly_of_returns(returns: Returns, *, risk_free: float = 0.0) -> float | None:
    """Return the growth-optimal leverage mean(r - f) / variance, divisor n - 1. The full Kelly.

    Nobody should trade the full Kelly of a measured mean: a quarter of it is the desk's default.
    """
    if _is_flat(returns):
        return None
    return (float(np.mean(returns)) - risk_free) / float(np.var(returns, ddof=1))


def _is_flat(returns: Returns) -> bool:
    return len(returns) < 2 or float(np.ptp(returns)) <= _FLAT
