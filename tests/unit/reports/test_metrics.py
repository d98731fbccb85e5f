"""Metrics of small runs, worked by hand."""

import json
import math
from decimal import Decimal

import numpy as np
import pytest
from tests.unit.reports.builders import (
    DAY_MS,
    HOUR_MS,
    MIDNIGHT_MS,
    EventLog,
    candles_of,
    curve_of,
)

from perpdesk.domain.order import OrderPurpose, Side
from perpdesk.reports.metrics import Metrics, compute_metrics
from perpdesk.reports.trades import RoundTrip, round_trips

HUNDRED = Decimal(100)


def metrics_of(
    equity: list[float], *, bar_ms: int = DAY_MS, start_ms: int = MIDNIGHT_MS
) -> Metrics:
    curve = curve_of(equity, bar_ms=bar_ms, start_ms=start_ms)
    return compute_metrics(curve, [], initial_capital=HUNDRED, benchmark=())


def trades_of(
    outcomes: list[tuple[str, OrderPurpose]], *, stop: str | None = "95"
) -> list[RoundTrip]:
    """Return one long trade of 1 at 100 per (exit price, reason), an hour each, fees 0.5 each."""
    log = EventLog()
    for row, (price, reason) in enumerate(outcomes):
        start_ms = MIDNIGHT_MS + row * 2 * HOUR_MS
        entry = f"entry{row}"
        if stop:
            log.accept(f"stop{row}", Side.SELL, OrderPurpose.STOP_LOSS, trigger=stop, parent=entry)
        log.fill(Side.BUY, "1", "100", fee="0.25", order=entry, ts_ms=start_ms)
        pnl = str(Decimal(price) - 100)
        log.fill(
            Side.SELL,
            "1",
            price,
            purpose=reason,
            fee="0.25",
            pnl=pnl,
            slippage="0.1",
            ts_ms=start_ms + HOUR_MS,
        )
    return round_trips(log.events)


def test_returns_are_taken_at_midnight_utc_and_compound_to_the_whole() -> None:
    # From 18:00: six hourly bars of the first day, a whole day, one bar of the third.
    equity = [100.0] * 5 + [110.0] + [120.0] * 23 + [99.0] + [148.5]
    metrics = metrics_of(equity, bar_ms=HOUR_MS, start_ms=MIDNIGHT_MS + 18 * HOUR_MS)
    assert metrics.day_count == 3
    assert metrics.best_day == pytest.approx(0.5)
    assert metrics.worst_day == pytest.approx(-0.1)
    assert metrics.total_return == pytest.approx(0.485)
    assert metrics.days == pytest.approx(31 / 24)
    assert metrics.start_ms == MIDNIGHT_MS + 18 * HOUR_MS
    assert metrics.positive_days_rate == pytest.approx(2 / 3)


def test_ratios_of_four_days_by_hand() -> None:
    # Returns 0.1, -0.1, 0.2, -0.05: mean 0.0375.
    metrics = metrics_of([110.0, 99.0, 118.8, 112.86])
    deviation = math.sqrt((0.0625**2 + 0.1375**2 + 0.1625**2 + 0.0875**2) / 3)
    assert metrics.sharpe == pytest.approx(0.0375 / deviation * math.sqrt(365))
    assert metrics.volatility == pytest.approx(deviation * math.sqrt(365))
    downside = math.sqrt((0.1**2 + 0.05**2) / 4)
    assert metrics.sortino == pytest.approx(0.0375 / downside * math.sqrt(365))
    assert metrics.cagr == pytest.approx(1.1286 ** (365 / 4) - 1)
    assert metrics.max_drawdown == pytest.approx(0.1)
    assert metrics.calmar == pytest.approx((1.1286 ** (365 / 4) - 1) / 0.1)
    assert metrics.ulcer_index == pytest.approx(math.sqrt((0.1**2 + 0.05**2) / 4))
    assert metrics.var_95 == pytest.approx(-0.1 + 0.15 * 0.05)
    assert metrics.cvar_95 == pytest.approx(-0.1)
    assert metrics.kelly_leverage == pytest.approx(0.0375 / deviation**2)


def test_a_drawdown_names_its_peak_trough_recovery_and_length() -> None:
    metrics = metrics_of([110.0, 88.0, 99.0, 110.0, 120.0])
    assert metrics.max_drawdown == pytest.approx(0.2)
    assert metrics.max_drawdown_amount == pytest.approx(22.0)
    assert metrics.max_drawdown_peak_ms == MIDNIGHT_MS + DAY_MS
    assert metrics.max_drawdown_trough_ms == MIDNIGHT_MS + 2 * DAY_MS
    assert metrics.max_drawdown_recovery_ms == MIDNIGHT_MS + 4 * DAY_MS
    assert metrics.max_drawdown_days == 3
    assert metrics.longest_underwater_days == 3


def test_a_drawdown_from_the_first_bar_to_the_end_starts_with_the_run() -> None:
    metrics = metrics_of([90.0, 95.0])
    assert metrics.max_drawdown_peak_ms == MIDNIGHT_MS
    assert metrics.max_drawdown_recovery_ms is None
    assert metrics.max_drawdown_days == 2


def test_drawdown_sees_every_bar_and_the_daily_one_only_midnights() -> None:
    equity = [100.0] * 10 + [50.0] + [100.0] * 13 + [95.0] * 24
    metrics = metrics_of(equity, bar_ms=HOUR_MS)
    assert metrics.max_drawdown == pytest.approx(0.5)
    assert metrics.max_drawdown_daily == pytest.approx(0.05)


@pytest.mark.parametrize("equity", [[100.0], [105.0], [100.0] * 24, [90.0] * 5])
def test_a_run_of_less_than_two_days_has_no_ratios(equity: list[float]) -> None:
    metrics = metrics_of(equity, bar_ms=HOUR_MS)
    for name in ("sharpe", "sortino", "calmar", "cagr", "var_95", "cvar_95", "psr_2012"):
        assert getattr(metrics, name) is None
    assert metrics.all_trades.win_rate is None
    assert metrics.all_trades.trade_count == 0
    assert metrics.costs.total == 0


def test_a_run_without_trades_has_no_division_errors_and_no_signal() -> None:
    metrics = metrics_of([100.0] * 400)
    assert (metrics.sharpe, metrics.sortino, metrics.calmar) == (None, None, None)
    assert (metrics.cagr, metrics.max_drawdown, metrics.ulcer_index) == (0.0, 0.0, 0.0)
    assert metrics.r_distribution == ()
    assert len(metrics.monthly_returns) == 14


def test_ruin_is_a_loss_of_everything_and_ends_the_returns() -> None:
    metrics = metrics_of([50.0, -10.0, -10.0])
    assert metrics.cagr == -1.0
    assert metrics.total_return == pytest.approx(-1.1)
    assert metrics.max_drawdown == pytest.approx(1.1)
    assert metrics.worst_day == pytest.approx(-1.2)


def test_trades_are_counted_by_hand() -> None:
    trips = trades_of(
        [
            ("110.5", OrderPurpose.TAKE_PROFIT),
            ("105.5", OrderPurpose.EXIT),
            ("95.5", OrderPurpose.STOP_LOSS),
            ("94.5", OrderPurpose.STOP_LOSS),
            ("100.5", OrderPurpose.CLOSE_OUT),
            ("98.5", OrderPurpose.LIQUIDATION),
        ]
    )
    metrics = compute_metrics(curve_of([107.0]), trips, initial_capital=HUNDRED, benchmark=())
    trades = metrics.all_trades  # net 10, 5, -5, -6, 0, -2
    assert (trades.trade_count, trades.win_count, trades.loss_count) == (6, 2, 3)
    assert trades.win_rate == pytest.approx(2 / 6)
    assert trades.profit_factor == pytest.approx(15 / 13)
    assert trades.expectancy == pytest.approx(2 / 6)
    assert trades.net_pnl == 2.0
    assert trades.average_win == 7.5
    assert trades.average_loss == pytest.approx(-13 / 3)
    assert trades.payoff_ratio == pytest.approx(7.5 / (13 / 3))
    assert (trades.best_trade, trades.worst_trade) == (10.0, -6.0)
    assert trades.average_r_multiple == pytest.approx(2 / 30)
    assert trades.median_r_multiple == pytest.approx(-0.2)
    assert (trades.tp_hits, trades.sl_hits, trades.liquidations) == (1, 2, 1)
    assert trades.exit_reasons["CLOSE_OUT"] == 1
    assert (trades.longest_winning_streak, trades.longest_losing_streak) == (2, 2)
    assert trades.average_holding_hours == 1.0
    assert (metrics.costs.fees, metrics.costs.liquidation) == (2.75, 0.25)
    assert metrics.costs.slippage == pytest.approx(0.6)
    assert metrics.costs.total == pytest.approx(3.6)
    assert metrics.long_trades == trades
    assert metrics.short_trades.trade_count == 0


def test_the_r_distribution_counts_every_trade_with_a_stop_once() -> None:
    trips = trades_of([("89", OrderPurpose.EXIT), ("110.5", OrderPurpose.EXIT)])  # -2.3 R, 2 R
    metrics = compute_metrics(curve_of([98.5]), trips, initial_capital=HUNDRED, benchmark=())
    filled = [bin_ for bin_ in metrics.r_distribution if bin_.count]
    assert [(bin_.lower, bin_.upper, bin_.count) for bin_ in filled] == [
        (None, -2.0, 1),
        (2.0, 2.5, 1),
    ]


def test_trades_without_a_stop_have_no_r_multiple() -> None:
    trips = trades_of([("110", OrderPurpose.EXIT)], stop=None)
    metrics = compute_metrics(curve_of([109.5]), trips, initial_capital=HUNDRED, benchmark=())
    assert metrics.all_trades.average_r_multiple is None
    assert metrics.r_distribution == ()


def test_a_trip_still_open_costs_money_but_is_no_trade_yet() -> None:
    log = EventLog()
    log.fill(Side.BUY, "1", "100", fee="0.25")
    metrics = compute_metrics(
        curve_of([99.75]), round_trips(log.events), initial_capital=HUNDRED, benchmark=()
    )
    assert metrics.all_trades.trade_count == 0
    assert metrics.costs.fees == 0.25


def test_costs_tell_liquidation_and_funding_apart() -> None:
    log = EventLog()
    log.fill(Side.BUY, "1", "100", fee="0.25")
    log.fund("-0.4")
    log.fill(Side.SELL, "1", "90", purpose=OrderPurpose.LIQUIDATION, fee="1", pnl="-10")
    metrics = compute_metrics(
        curve_of([88.35]), round_trips(log.events), initial_capital=HUNDRED, benchmark=()
    )
    costs = metrics.costs
    assert (costs.fees, costs.liquidation, costs.funding) == (0.25, 1.0, 0.4)
    assert costs.total == pytest.approx(1.65)


def test_exposure_is_the_share_of_bars_that_end_with_a_position() -> None:
    curve = curve_of([100.0] * 4, used=[0, 10, 10, 0])
    metrics = compute_metrics(curve, [], initial_capital=HUNDRED, benchmark=())
    assert metrics.exposure == 0.5


def test_turnover_is_traded_value_per_average_equity_and_year() -> None:
    trips = trades_of([("100", OrderPurpose.EXIT)])  # 200 traded
    curve = curve_of([100.0] * 73)  # a fifth of a year
    metrics = compute_metrics(curve, trips, initial_capital=HUNDRED, benchmark=())
    assert metrics.traded_notional == 200
    assert metrics.turnover_per_year == pytest.approx(10)


def test_monthly_returns_follow_the_calendar() -> None:
    metrics = metrics_of([110.0] * 31 + [99.0] * 29 + [198.0])  # January, February 2024, 1 March
    assert [(month.year, month.month) for month in metrics.monthly_returns] == [
        (2024, 1),
        (2024, 2),
        (2024, 3),
    ]
    assert [month.value for month in metrics.monthly_returns] == pytest.approx([0.1, -0.1, 1.0])


def test_a_run_that_ends_at_a_month_end_does_not_touch_the_next_month() -> None:
    assert len(metrics_of([110.0] * 31).monthly_returns) == 1


def test_buy_and_hold_runs_from_the_first_open_to_the_last_close() -> None:
    candles = candles_of(
        [(100, 120, 80, 90), (90, 100, 90, 99), (99, 130, 99, 126)], timeframe="1d"
    )
    metrics = compute_metrics(
        curve_of([100.0] * 3), [], initial_capital=HUNDRED, benchmark=[candles]
    )
    hold = metrics.buy_and_hold
    assert hold is not None
    assert hold.total_return == pytest.approx(0.26)
    assert hold.max_drawdown == pytest.approx(0.1)
    returns = np.array([-0.1, 0.1, 126 / 99 - 1])
    expected = float(np.mean(returns) / np.std(returns, ddof=1)) * math.sqrt(365)
    assert hold.sharpe == pytest.approx(expected)


def test_several_symbols_are_held_in_equal_parts() -> None:
    first = candles_of([(100, 120, 80, 90), (90, 100, 90, 80), (80, 130, 80, 120)], timeframe="1d")
    # Half the weight from a day later on, and no candle on the last day: its last close stands.
    other = candles_of(
        [(10, 30, 10, 20)], timeframe="1d", symbol="ETHUSDT", start_ms=MIDNIGHT_MS + DAY_MS
    )
    hold = compute_metrics(
        curve_of([100.0] * 3), [], initial_capital=HUNDRED, benchmark=[first, other]
    ).buy_and_hold
    assert hold is not None
    # (0.9 + 1) / 2, (0.8 + 2) / 2, (1.2 + 2) / 2.
    assert hold.total_return == pytest.approx(0.6)
    assert hold.max_drawdown == pytest.approx(0.05)
    assert hold.cagr == pytest.approx(1.6 ** (365 / 3) - 1)


def test_hourly_and_daily_candles_hold_alike() -> None:
    hourly = [(100.0 + i, 101.0 + i, 99.0 + i, 100.5 + i) for i in range(72)]
    daily = [(hourly[d * 24][0], 999.0, 1.0, hourly[d * 24 + 23][3]) for d in range(3)]
    held = [
        compute_metrics(
            curve_of([100.0] * 3), [], initial_capital=HUNDRED, benchmark=[benchmark]
        ).buy_and_hold
        for benchmark in (candles_of(hourly), candles_of(daily, timeframe="1d"))
    ]
    assert held[0] is not None
    assert held[1] is not None
    assert held[0].sharpe == held[1].sharpe
    assert held[0].total_return == held[1].total_return


def test_monthly_candles_are_known_when_their_month_is_over() -> None:
    candles = candles_of([(100, 110, 90, 110)], timeframe="1M")
    metrics = compute_metrics(
        curve_of([100.0] * 31), [], initial_capital=HUNDRED, benchmark=[candles]
    )
    assert metrics.buy_and_hold is not None
    assert metrics.buy_and_hold.cagr == pytest.approx(1.1 ** (365 / 31) - 1)


def test_metrics_become_strict_json() -> None:
    trips = trades_of([("110", OrderPurpose.TAKE_PROFIT)])
    metrics = compute_metrics(
        curve_of([105.0, 109.5]), trips, initial_capital=HUNDRED, benchmark=()
    )
    read = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert read["win_rate"] == 1.0
    assert read["profit_factor"] is None
    assert read["net_pnl"] == 9.5
    assert read["monthly_returns"] == [{"year": 2024, "month": 1, "value": pytest.approx(0.095)}]
    assert read["costs"]["fees"] == 0.5
    assert read["buy_and_hold"] is None
