"""Drawdowns by hand, in blocks, and against empyrical."""

import warnings

import numpy as np
import pytest

from perpdesk.reports import drawdown as dd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical


def test_a_loss_in_the_first_period_is_a_drawdown_from_the_start() -> None:
    fall = dd.max_drawdown(np.array([90.0, 95.0, 101.0]), start=100.0)
    assert fall is not None
    assert fall.depth == pytest.approx(0.1)
    assert (fall.peak_row, fall.trough_row, fall.recovery_row) == (-1, 0, 2)


def test_the_deepest_and_the_longest_drawdown_may_be_two() -> None:
    wealth = np.array([100, 50, 100, 99, 98, 99, 99, 100, 110], dtype=np.int64)
    fall = dd.max_drawdown(wealth, start=100)
    assert fall == dd.Drawdown(
        depth=0.5,
        peak_row=0,
        trough_row=1,
        recovery_row=2,
        longest_from_row=2,
        longest_to_row=7,
    )


def test_a_drawdown_that_never_recovers_lasts_to_the_end() -> None:
    fall = dd.max_drawdown(np.array([1.0, 1.2, 0.9, 1.1, 1.0]), start=1.0)
    assert fall is not None
    assert fall.depth == pytest.approx(0.25)
    assert (fall.peak_row, fall.trough_row, fall.recovery_row) == (1, 2, None)
    assert (fall.longest_from_row, fall.longest_to_row) == (1, 4)


def test_wealth_that_never_falls_has_no_drawdown() -> None:
    assert dd.max_drawdown(np.array([1.0, 1.0, 2.0]), start=1.0) is None


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = np.random.default_rng(5).standard_t(3, 3000) * 0.01
    wealth = np.exp(np.cumsum(steps))
    whole = dd.max_drawdown(wealth, start=1.0)
    monkeypatch.setattr(dd, "_BLOCK", 7)
    assert dd.max_drawdown(wealth, start=1.0) == whole


def test_depth_equals_empyrical() -> None:
    returns = np.random.default_rng(11).standard_t(4, 800) * 0.02
    fall = dd.max_drawdown(dd.wealth_of(returns), start=1.0)
    assert fall is not None
    assert -fall.depth == pytest.approx(empyrical.max_drawdown(returns), rel=1e-12)
    depths = dd.drawdown_depths(dd.wealth_of(returns), start=1.0)
    assert float(np.max(depths)) == pytest.approx(fall.depth, rel=1e-12)


def test_ulcer_and_pain_by_hand() -> None:
    depths = np.array([0.0, 0.3, 0.4, 0.0])
    assert dd.ulcer_index(depths) == pytest.approx(0.25)
    assert dd.pain_index(depths) == pytest.approx(0.175)
    assert dd.ulcer_index(depths[:0]) is None
    assert dd.pain_index(depths[:0]) is None


def test_an_intrabar_fall_is_measured_from_the_best_earlier_close() -> None:
    # Best close before the second bar is 110, its low 99: 10 %. The third bar's own close of 120
    # is no peak for its low of 108, which lies 1.8 % below 110.
    closes, lows = np.array([110.0, 100.0, 120.0]), np.array([100.0, 99.0, 108.0])
    assert dd.intrabar_drawdown([(closes, lows)], start=100.0) == pytest.approx(0.1)


def test_an_intrabar_fall_in_the_first_bar_counts_from_the_capital() -> None:
    flat, low = np.array([100.0]), np.array([80.0])
    assert dd.intrabar_drawdown([(flat, low)], start=100.0) == pytest.approx(0.2)
    assert dd.intrabar_drawdown([(flat, flat)], start=100.0) == 0.0


def test_an_intrabar_peak_carries_over_to_the_next_block() -> None:
    first = np.array([100.0, 200.0]), np.array([100.0, 150.0])
    second = np.array([150.0]), np.array([120.0])
    assert dd.intrabar_drawdown([first, second], start=100.0) == pytest.approx(0.4)
