"""Ratios and tail risk against empyrical, and where they have no value at all."""

import math
import warnings

import numpy as np
import pytest

from perpdesk.reports import statistics as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

RETURNS = np.random.default_rng(7).standard_t(4, 500) * 0.02 + 0.001
"""Fat-tailed days, as crypto has them."""

YEAR = {"annualization": 365}


def test_sharpe_equals_empyrical_with_365_days() -> None:
    expected = empyrical.sharpe_ratio(RETURNS, **YEAR)
    assert st.sharpe_ratio(RETURNS) == pytest.approx(expected, rel=1e-12)


def test_sortino_equals_empyrical_with_365_days() -> None:
    expected = empyrical.sortino_ratio(RETURNS, **YEAR)
    assert st.sortino_ratio(RETURNS) == pytest.approx(expected, rel=1e-12)


def test_volatility_equals_empyrical() -> None:
    expected = empyrical.annual_volatility(RETURNS, **YEAR)
    assert st.volatility(RETURNS) == pytest.approx(expected, rel=1e-12)


def test_annual_return_equals_empyrical() -> None:
    growth, years = st.growth_of(RETURNS), len(RETURNS) / 365
    expected = empyrical.annual_return(RETURNS, **YEAR)
    assert st.annual_return(growth, years=years) == pytest.approx(expected, rel=1e-9)


def test_historical_var_and_shortfall_equal_empyrical() -> None:
    var, shortfall = st.var_historical(RETURNS), st.es_historical(RETURNS)
    assert var == pytest.approx(empyrical.value_at_risk(RETURNS), rel=1e-12)
    assert shortfall == pytest.approx(empyrical.conditional_value_at_risk(RETURNS), rel=1e-12)


def test_the_365_day_sharpe_exceeds_the_252_day_one_by_the_root_of_their_ratio() -> None:
    crypto, stocks = st.sharpe_ratio(RETURNS), st.sharpe_ratio(RETURNS, periods_per_year=252)
    assert crypto is not None
    assert stocks is not None
    assert crypto / stocks == pytest.approx(1.2035, abs=5e-5)


@pytest.mark.parametrize("flat", [[], [0.01], [0.0] * 9, [0.001] * 9])
def test_without_variance_there_is_no_ratio(flat: list[float]) -> None:
    returns = np.array(flat, dtype=np.float64)
    assert st.sharpe_ratio(returns) is None
    assert st.autocorrelation_adjusted_sharpe(returns) is None
    assert st.shape_of(returns) is None
    assert st.var_gaussian(returns) is None
    assert st.es_gaussian(returns) is None
    assert st.var_cornish_fisher(returns) == (None, False)
    assert st.kelly_of_returns(returns) is None


def test_without_a_loss_there_is_no_sortino_ratio() -> None:
    assert st.sortino_ratio(np.array([0.01, 0.02, 0.0])) is None


def test_without_returns_nothing_has_a_value() -> None:
    none = np.array([], dtype=np.float64)
    assert st.downside_deviation(none) is None
    assert st.downside_potential(none) is None
    assert st.sortino_ratio(none) is None
    assert st.volatility(none) is None
    assert st.var_historical(none) is None
    assert st.es_historical(none) is None


def test_annual_return_knows_ruin_no_time_and_absurd_growth() -> None:
    assert st.annual_return(0.0, years=1.0) == -1.0
    assert st.annual_return(2.0, years=0.0) is None
    assert st.annual_return(2.0, years=1e-4) is None
    assert st.annual_return(1.21, years=2.0) == pytest.approx(0.1)


def test_positive_autocorrelation_lowers_the_sharpe_ratio() -> None:
    noise = np.random.default_rng(3).normal(0.001, 0.01, 4000)
    smooth = np.convolve(noise, [0.6, 0.4])[1:-1]
    plain, adjusted = st.sharpe_ratio(smooth), st.autocorrelation_adjusted_sharpe(smooth)
    assert plain is not None
    assert adjusted is not None
    assert 0 < adjusted < plain


def test_lo_adjustment_of_two_periods_matches_his_formula_by_hand() -> None:
    # eta(2) = 2 / sqrt(2 + 2 rho): deviations -1 1 1 -1 give rho = (-1 + 1 - 1) / 4 = -1/4.
    returns = np.array([0.0, 0.02, 0.02, 0.0])
    per_period = 0.01 / math.sqrt(4e-4 / 3)
    expected = per_period * 2 / math.sqrt(1.5)
    adjusted = st.autocorrelation_adjusted_sharpe(returns, periods_per_year=2)
    assert adjusted == pytest.approx(expected, rel=1e-12)


def test_cornish_fisher_falls_back_where_it_is_no_quantile_function() -> None:
    crash = np.array([0.01] * 99 + [-0.9])
    value, fell_back = st.var_cornish_fisher(crash)
    assert fell_back
    assert value == st.var_gaussian(crash)


def test_the_two_psr_conventions_differ_on_the_same_fund() -> None:
    fund = {"skewness": -2.448, "kurtosis": 10.164}
    older, newer = st.psr_2012(0.4557, n=24, **fund), st.psr_2025(0.4557, n=24, **fund)
    assert older == pytest.approx(0.913, abs=1e-3)
    assert newer == pytest.approx(0.987, abs=1e-3)


def test_significance_without_a_variance_has_no_value() -> None:
    # 1 - 5 x 1 + (3 - 1) / 4 = -3.5
    assert st.psr_2012(1.0, n=24, skewness=5.0, kurtosis=3.0) is None
    assert st.psr_2025(1.0, n=24, skewness=5.0, kurtosis=3.0, benchmark=1.0) is None


def test_a_sharpe_ratio_below_its_benchmark_never_has_a_long_enough_record() -> None:
    assert st.min_track_record_2012(-0.1, skewness=0.0, kurtosis=3.0) is None
    assert st.min_track_record_2025(0.1, skewness=0.0, kurtosis=3.0, benchmark=0.2) is None


def test_kelly_of_a_coin_that_loses_is_negative() -> None:
    assert st.kelly_of_bet(win_probability=0.4, net_odds=1.0) == pytest.approx(-0.2)
