"""The catalog of metrics: what each is called, how it is written, and what it means in one line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from perpdesk.reports import formatting as fmt
from perpdesk.reports.metrics import Metrics

Write = Callable[[Any], str]
_FLAT: Final = "all_trades."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One metric. path: attribute of Metrics, dots lead inside. write: value to text."""

    path: str
    group: str
    label: str
    write: Write
    meaning: str

    def text(self, metrics: Metrics) -> str:
        """Return the value as people read it."""
        return self.write(attrgetter(self.path)(metrics))

    def text_in(self, stored: Mapping[str, Any]) -> str:
        """Return the value in a result file, where `all_trades` lies flat, as people read it.

        A metric that the file is too old to know is a dash.
        """
        value: Any = stored
        for name in self.path.removeprefix(_FLAT).split("."):
            if name not in value:
                return fmt.NOTHING
            value = value[name]
        return self.write(value)


def _signed_percent(value: float | None) -> str:
    return fmt.percent(value, signed=True)


def _loss(depth: float | None) -> str:
    return fmt.percent(None if depth is None else -depth)


def _signed_amount(value: float | None) -> str:
    return fmt.amount(value, signed=True)


def _loss_amount(value: float | None) -> str:
    return fmt.amount(None if value is None else -value)


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


_ROWS: Final[tuple[tuple[str, tuple[tuple[str, str, Write, str], ...]], ...]] = (
    (
        "Result",
        (
            ("initial_capital", "Initial capital", fmt.amount, "Cash at the start."),
            ("final_equity", "Final equity", fmt.amount, "Cash and open profit at the last bar."),
            ("net_pnl", "Net profit", _signed_amount, "Final equity less initial capital."),
            ("total_return", "Total return", _signed_percent, "Net profit over initial capital."),
            (
                "cagr",
                "CAGR",
                _signed_percent,
                "Yearly growth that compounds to the total return; a year has 365 days.",
            ),
            ("days", "Length", fmt.days, "From the open of the first bar to the last close."),
            ("exposure", "Exposure", fmt.percent, "Share of bars that end with an open position."),
            (
                "turnover_per_year",
                "Turnover",
                lambda value: fmt.NOTHING if value is None else f"{fmt.ratio(value, digits=1)} ×",
                "Value of all fills per year over the average equity.",
            ),
            ("traded_notional", "Traded value", fmt.amount, "Value of all fills, in and out."),
        ),
    ),
    (
        "Risk-adjusted",
        (
            (
                "sharpe",
                "Sharpe",
                fmt.ratio,
                "Mean daily return over its deviation (n − 1), times √365; risk-free rate 0.",
            ),
            (
                "sharpe_autocorrelation_adjusted",
                "Sharpe, Lo-adjusted",
                fmt.ratio,
                "The same, allowing for days that follow one another (AR(1), Lo 2002).",
            ),
            (
                "sortino",
                "Sortino",
                fmt.ratio,
                "Mean daily return over the deviation of losses (divisor n, all days), times √365.",
            ),
            ("calmar", "Calmar", fmt.ratio, "CAGR over the maximum drawdown."),
            ("volatility", "Volatility", fmt.percent, "Deviation of daily returns times √365."),
            (
                "kelly_leverage",
                "Kelly leverage",
                lambda value: fmt.NOTHING if value is None else f"{fmt.ratio(value)} ×",
                "Mean over variance of daily returns: full Kelly, an upper bound and no advice.",
            ),
        ),
    ),
    (
        "Drawdown",
        (
            (
                "max_drawdown",
                "Max drawdown",
                _loss,
                "Deepest fall from a peak of equity, seen at every bar, from the initial capital.",
            ),
            ("max_drawdown_amount", "… in quote", _loss_amount, "The same fall as an amount."),
            (
                "max_drawdown_days",
                "… lasted",
                fmt.days,
                "From that peak until it was reached again, or to the end.",
            ),
            ("max_drawdown_peak_ms", "… peak", fmt.moment, "When it began, UTC."),
            ("max_drawdown_trough_ms", "… trough", fmt.moment, "When it was deepest, UTC."),
            (
                "max_drawdown_recovery_ms",
                "… recovered",
                fmt.moment,
                "When the peak was reached again; a dash if it never was.",
            ),
            (
                "longest_underwater_days",
                "Longest under water",
                fmt.days,
                "Longest time below an earlier peak, however shallow.",
            ),
            (
                "max_drawdown_daily",
                "Max drawdown, daily",
                _loss,
                "The same, seen at 00:00 UTC only: what tools on daily data report.",
            ),
            (
                "max_drawdown_intrabar",
                "Max drawdown, intrabar",
                _loss,
                "Deepest fall from a close to the mark's worst within a later execution bar.",
            ),
            (
                "ulcer_index",
                "Ulcer index",
                fmt.percent,
                "Root of the mean squared daily drawdown: depth and length together.",
            ),
        ),
    ),
    (
        "Days and tails",
        (
            ("best_day", "Best day", _signed_percent, "Highest return between two midnights UTC."),
            ("worst_day", "Worst day", _signed_percent, "Lowest return between two midnights UTC."),
            ("positive_days_rate", "Positive days", fmt.percent, "Share of days with a gain."),
            (
                "var_95",
                "VaR 95 %, historical",
                _signed_percent,
                "One day in twenty was worse than this.",
            ),
            ("cvar_95", "CVaR 95 %", _signed_percent, "Mean of the days at or beyond that VaR."),
            (
                "var_95_gaussian",
                "VaR 95 %, Gaussian",
                _signed_percent,
                "The same if days were normally distributed.",
            ),
            (
                "var_95_cornish_fisher",
                "VaR 95 %, Cornish-Fisher",
                _signed_percent,
                "Corrected for skewness and kurtosis.",
            ),
            (
                "var_95_cornish_fisher_fell_back",
                "… fell back to Gaussian",
                _yes_no,
                "Yes where skewness or kurtosis is too large for the correction.",
            ),
            ("skewness", "Skewness", fmt.ratio, "Below 0: large losses rather than large gains."),
            ("excess_kurtosis", "Excess kurtosis", fmt.ratio, "Above 0: fatter tails than normal."),
        ),
    ),
    (
        "Significance",
        (
            (
                "psr_2012",
                "PSR (2012)",
                fmt.percent,
                "Probability that the true Sharpe exceeds 0; variance at the observed Sharpe.",
            ),
            (
                "psr_2025",
                "PSR (2025)",
                fmt.percent,
                "The authors' revision: variance at the benchmark Sharpe, divisor n.",
            ),
            (
                "min_track_record_days",
                "Minimum track record",
                fmt.days,
                "Days that PSR (2012) needs to reach 95 % at this Sharpe.",
            ),
            ("day_count", "Daily returns", fmt.count, "How many these ratios rest on."),
        ),
    ),
    (
        "Trades",
        (
            ("all_trades.trade_count", "Trades", fmt.count, "Closed round trips, flat to flat."),
            ("all_trades.win_rate", "Win rate", fmt.percent, "Share with a net profit."),
            (
                "all_trades.profit_factor",
                "Profit factor",
                fmt.ratio,
                "Net profits over net losses; a dash without a loss.",
            ),
            (
                "all_trades.expectancy",
                "Expectancy",
                _signed_amount,
                "Mean net profit of a trade.",
            ),
            (
                "all_trades.average_r_multiple",
                "Average R",
                fmt.r_multiple,
                "Mean net profit per amount at risk between entry and first stop.",
            ),
            (
                "all_trades.median_r_multiple",
                "Median R",
                fmt.r_multiple,
                "The trade in the middle.",
            ),
            ("all_trades.average_win", "Average win", _signed_amount, "Mean of the winners."),
            ("all_trades.average_loss", "Average loss", _signed_amount, "Mean of the losers."),
            (
                "all_trades.payoff_ratio",
                "Payoff ratio",
                fmt.ratio,
                "Average win over average loss.",
            ),
            ("all_trades.best_trade", "Best trade", _signed_amount, "Highest net profit."),
            ("all_trades.worst_trade", "Worst trade", _signed_amount, "Lowest net profit."),
            ("all_trades.tp_hits", "Take-profit hits", fmt.count, "Trades that a target ended."),
            ("all_trades.sl_hits", "Stop-loss hits", fmt.count, "Trades that a stop ended."),
            ("all_trades.liquidations", "Liquidations", fmt.count, "Trades the exchange ended."),
            (
                "all_trades.longest_winning_streak",
                "Longest winning streak",
                fmt.count,
                "Winners in a row, in the order of exits.",
            ),
            (
                "all_trades.longest_losing_streak",
                "Longest losing streak",
                fmt.count,
                "Losers in a row.",
            ),
            (
                "all_trades.average_holding_hours",
                "Average holding time",
                fmt.hours,
                "Mean time from first entry to last exit.",
            ),
            (
                "all_trades.median_holding_hours",
                "Median holding time",
                fmt.hours,
                "The trade in the middle.",
            ),
        ),
    ),
    (
        "Costs",
        (
            ("costs.fees", "Trading fees", fmt.amount, "Maker and taker fees of all other fills."),
            (
                "costs.funding",
                "Funding paid",
                fmt.amount,
                "Paid less received; negative when more was received.",
            ),
            (
                "costs.slippage",
                "Slippage",
                fmt.amount,
                "Already inside the fill prices; shown to be known.",
            ),
            (
                "costs.liquidation",
                "Liquidation costs",
                fmt.amount,
                "Fees of forced closes.",
            ),
            ("costs.total", "All costs", fmt.amount, "The four together."),
        ),
    ),
)

CATALOG: Final = tuple(
    Entry(path=path, group=group, label=label, write=write, meaning=meaning)
    for group, rows in _ROWS
    for path, label, write, meaning in rows
)
"""Every metric in the order of the report."""

BY_PATH: Final = {entry.path: entry for entry in CATALOG}


def entry_of(name: str) -> Entry:
    """Return the entry of a metric by its name at the top level of a result file."""
    return BY_PATH.get(name) or BY_PATH[_FLAT + name]
