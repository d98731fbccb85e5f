"""The summary of a run for a terminal: a dozen lines that decide whether to read on."""

from typing import Final

from perpdesk.reports import formatting as fmt
from perpdesk.reports.catalog import BY_PATH
from perpdesk.reports.metrics import Metrics

_PATHS: Final = (
    "net_pnl",
    "total_return",
    "cagr",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "max_drawdown_days",
    "all_trades.trade_count",
    "all_trades.win_rate",
    "all_trades.profit_factor",
    "all_trades.expectancy",
    "all_trades.average_r_multiple",
    "all_trades.tp_hits",
    "all_trades.sl_hits",
    "all_trades.liquidations",
    "exposure",
    "costs.fees",
    "costs.funding",
    "costs.slippage",
)


def summary_rows(metrics: Metrics) -> list[tuple[str, str]]:
    """Return (label, value) rows, values written with their sign and unit."""
    rows = [(BY_PATH[path].label, BY_PATH[path].text(metrics)) for path in _PATHS]
    hold = metrics.buy_and_hold
    if hold is not None:
        rows.append(("Buy and hold", fmt.percent(hold.total_return, signed=True)))
        rows.append(("Buy and hold, drawdown", fmt.percent(-hold.max_drawdown)))
    return rows
