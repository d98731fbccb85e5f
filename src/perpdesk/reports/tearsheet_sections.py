"""The tables and small charts of a tear sheet; none of them needs a script."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np

from perpdesk.reports import formatting as fmt
from perpdesk.reports.catalog import BY_PATH, CATALOG
from perpdesk.reports.markup import bar_cell, cell, row_head, table, text
from perpdesk.reports.metrics import Metrics
from perpdesk.reports.round_trip import RoundTrip
from perpdesk.reports.tearsheet_data import TRADES, TearsheetData, symbols_of
from perpdesk.reports.tearsheet_svg import histogram, scatter
from perpdesk.reports.trade_statistics import TradeStatistics, columns_of, trade_statistics

_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905

_REASONS: Final = {
    "TAKE_PROFIT": "Take profit",
    "STOP_LOSS": "Stop loss",
    "EXIT": "Exit signal",
    "ENTRY": "Reversed by an opposite entry",
    "LIQUIDATION": "Liquidation",
    "CLOSE_OUT": "Closed out at the end",
}


def monthly_table(metrics: Metrics) -> str:
    """Return the heat table of monthly returns, years down, months across."""
    values = {(month.year, month.month): month.value for month in metrics.monthly_returns}
    years = sorted({year for year, _ in values})
    strongest = max((abs(value) for value in values.values()), default=0.0) or 1.0
    rows = []
    for year in years:
        cells, growth = [row_head(str(year))], 1.0
        for month in range(1, 13):
            value = values.get((year, month))
            growth *= 1 + (value or 0.0)
            cells.append(_heat_cell(value, strongest))
        cells.append(_heat_cell(growth - 1, max(strongest, abs(growth - 1)), kind=" total"))
        rows.append(cells)
    caption = "Monthly returns in percent, UTC calendar months"
    return table(["Year", *_MONTHS, "Year"], rows, caption=caption, kind="heat")


def _heat_cell(value: float | None, strongest: float, *, kind: str = "") -> str:
    if value is None:
        return f'<td class="n{kind}"></td>'
    share = round(100 * abs(value) / strongest)
    sign = "up" if value > 0 else "down" if value < 0 else "zero"
    written = fmt.ratio(value * 100, digits=1, signed=True)
    return f'<td class="n {sign}{kind}" style="--heat:{share}%">{text(written)}</td>'


def distributions(trips: Sequence[RoundTrip], *, quote: str) -> tuple[str, str]:
    """Return the histograms of net profit and of R multiples; empty without such trades."""
    closed = [trip for trip in trips if trip.is_closed]
    net = np.array([float(trip.net_pnl) for trip in closed])
    r = np.array([trip.r_multiple for trip in closed if trip.r_multiple is not None])
    return (
        histogram(
            net,
            write=lambda value: text(fmt.amount(value, signed=True)),
            label=f"Distribution of net profit per trade in {quote}",
            unit=f"net profit, {text(quote)}",
        ),
        histogram(
            r,
            write=lambda value: text(fmt.r_multiple(value)),
            label="Distribution of R multiples per trade",
            unit="R multiple",
        ),
    )


def excursion_scatter(data: TearsheetData) -> tuple[str, str]:
    """Return the MAE/MFE scatter of the trades that the page lists, and its unit."""
    shown = [trip for trip in data.trips[:TRADES] if trip.mae is not None and trip.mfe is not None]
    with_risk = sum(trip.stop_loss is not None for trip in shown)
    in_r = with_risk * 5 >= len(shown) * 4
    unit = "R" if in_r else data.quote
    xs, ys, won = [], [], []
    for trip in shown:
        risk = _initial_risk(trip) if in_r else 1.0
        if risk is None or trip.mae is None or trip.mfe is None:
            continue
        xs.append(-trip.mae / risk)
        ys.append(trip.mfe / risk)
        won.append(trip.net_pnl > 0)
    label = "Maximum adverse against maximum favorable excursion of each trade"
    return scatter(xs, ys, won, label=label, unit=unit), unit


def _initial_risk(trip: RoundTrip) -> float | None:
    if trip.stop_loss is None:
        return None
    return float(abs(trip.entry_price - trip.stop_loss) * trip.quantity) or None


def costs_table(data: TearsheetData) -> str:
    """Return how much of the profit before costs each cost took, as a waterfall."""
    costs = data.metrics.costs
    net = float(sum(trip.net_pnl for trip in data.trips))
    steps = [
        ("Slippage", -costs.slippage),
        ("Fees", -costs.fees),
        ("Funding", -costs.funding),
        ("Liquidation", -costs.liquidation),
    ]
    before = net + costs.total
    levels = [before]
    for _, change in steps:
        levels.append(levels[-1] + change)
    low, high = min(0.0, *levels), max(0.0, *levels)
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return (value - low) / width

    rows = [_waterfall_row("Before costs", before, place(0), place(before), "total")]
    for (name, change), start, end in zip(steps, levels, levels[1:], strict=False):
        kind = "up" if change > 0 else "down"
        rows.append(_waterfall_row(name, change, place(start), place(end), kind))
    rows.append(_waterfall_row("Net profit of trades", net, place(0), place(net), "total"))
    caption = f"What trading cost, in {data.quote}"
    return table(["", "", data.quote], rows, caption=caption, kind="bars")


def _waterfall_row(name: str, value: float, start: float, end: float, kind: str) -> list[str]:
    amount = fmt.amount(value + 0.0, signed=True)
    return [row_head(name), bar_cell(start, end, kind=kind), cell(amount, sign=value)]


def exits_table(data: TearsheetData) -> str:
    """Return how trades ended, how often, and what that brought."""
    found: dict[str, list[RoundTrip]] = {}
    for trip in data.trips:
        if trip.exit_reason is not None:
            found.setdefault(trip.exit_reason.value, []).append(trip)
    most = max((len(trips) for trips in found.values()), default=1)
    rows = []
    for reason, trips in sorted(found.items(), key=lambda item: -len(item[1])):
        net = float(sum(trip.net_pnl for trip in trips))
        share = len(trips) / max(len(data.trips), 1)
        rows.append(
            [
                row_head(_REASONS.get(reason, reason)),
                bar_cell(0, len(trips) / most, kind="up" if net > 0 else "down"),
                cell(fmt.count(len(trips))),
                cell(fmt.percent(share, digits=1)),
                cell(fmt.amount(net, signed=True), sign=net),
            ]
        )
    header = ["How", "", "Trades", "Share", f"Net, {data.quote}"]
    return table(header, rows, caption="How trades ended", kind="bars")


_SIDE_ROWS: Final = (
    "trade_count",
    "win_rate",
    "profit_factor",
    "expectancy",
    "average_r_multiple",
    "average_win",
    "average_loss",
    "tp_hits",
    "sl_hits",
    "liquidations",
    "longest_losing_streak",
    "average_holding_hours",
)


_SYMBOL_COLUMNS: Final = ("trade_count", "win_rate", "profit_factor", "average_r_multiple")


def sides_table(metrics: Metrics) -> str:
    """Return long and short beside all trades."""
    sides = (metrics.all_trades, metrics.long_trades, metrics.short_trades)
    rows = [
        [row_head("Net profit"), *(_side_amount(side.net_pnl) for side in sides)],
        [row_head("Fees"), *(cell(fmt.amount(side.fees)) for side in sides)],
        [row_head("Funding"), *(_side_amount(side.funding) for side in sides)],
    ]
    listed = [[row_head(_entry_label(name)), *_side_cells(name, sides)] for name in _SIDE_ROWS]
    rows = [listed[0], rows[0], *listed[1:], *rows[1:]]
    return table(["", "All", "Long", "Short"], rows, caption="Long and short apart", kind="sides")


def symbols_section(data: TearsheetData) -> str:
    """Return what each symbol brought; nothing where there is one alone."""
    symbols = symbols_of(data)
    if len(symbols) < 2:
        return ""
    rows = []
    for symbol in symbols:
        trips = [trip for trip in data.trips if trip.symbol == symbol]
        found = trade_statistics(columns_of(trips))
        listed = [one for name in _SYMBOL_COLUMNS for one in _side_cells(name, [found])]
        amounts = (_side_amount(found.funding), _side_amount(found.net_pnl))
        rows.append([row_head(symbol), *listed, cell(fmt.amount(found.fees)), *amounts])
    heads = [_entry_label(name) for name in _SYMBOL_COLUMNS]
    header = ["Symbol", *heads, "Fees", "Funding", f"Net, {data.quote}"]
    listed_rows = table(header, rows, caption="What each symbol brought", kind="sides")
    return f'<section id="symbols"><h2>By symbol</h2>{listed_rows}</section>'


def _side_amount(value: float) -> str:
    return cell(fmt.amount(value, signed=True), sign=value)


def _entry_label(name: str) -> str:
    return BY_PATH[f"all_trades.{name}"].label


def _side_cells(name: str, sides: Sequence[TradeStatistics]) -> list[str]:
    write = BY_PATH[f"all_trades.{name}"].write
    return [cell(write(getattr(side, name))) for side in sides]


def metrics_tables(metrics: Metrics) -> str:
    """Return every metric with its meaning in one line, by group."""
    blocks = []
    for group, entries in groupby(CATALOG, key=lambda entry: entry.group):
        rows = [
            [
                f'<th scope="row">{text(entry.label)}<small>{text(entry.meaning)}</small></th>',
                cell(entry.text(metrics)),
            ]
            for entry in entries
        ]
        blocks.append(table(["Metric", "Value"], rows, caption=group, kind="metrics"))
    return "".join(f'<div class="block">{block}</div>' for block in blocks)
