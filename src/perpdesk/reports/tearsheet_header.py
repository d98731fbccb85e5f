"""What a tear sheet says first: verdicts, facts, the result in a sentence, the key figures."""

from perpdesk.reports import formatting as fmt
from perpdesk.reports.catalog import BY_PATH
from perpdesk.reports.markup import attribute, sign_class, text
from perpdesk.reports.tearsheet_data import TearsheetData, held_text


def badges(data: TearsheetData) -> str:
    """Return the verdicts that decide whether the numbers below may be believed."""
    kind = {True: "good", False: "bad", None: "warn"}[data.lookahead_passed]
    found = [(kind, f"look-ahead: {data.lookahead_verdict}")]
    if data.is_synthetic:
        found.append(("warn", "synthetic data"))
    return "".join(f'<li class="badge {kind}">{text(word)}</li>' for kind, word in found)


def notes(data: TearsheetData) -> str:
    """Return what must be known before reading on, or nothing."""
    if not data.notes:
        return ""
    items = "".join(f"<li>{text(note)}</li>" for note in data.notes)
    return (
        f'<section class="notes" aria-label="Notes"><h2>Read first</h2><ul>{items}</ul></section>'
    )


def facts(data: TearsheetData) -> str:
    """Return the facts under the heading."""
    return "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in data.facts.items()
    )


def headline(data: TearsheetData) -> str:
    """Return the result in one plain sentence."""
    m, quote = data.metrics, text(data.quote)
    result = f'<b class="{sign_class(m.total_return)}">'
    result += f"{text(fmt.percent(m.total_return, signed=True))}</b>"
    said = (
        f"{text(fmt.amount(m.initial_capital))} {quote} became "
        f"{text(fmt.amount(m.final_equity))} {quote} in {text(fmt.days(m.days))}: {result}"
    )
    if m.buy_and_hold is not None and data.candles:
        held = text(fmt.percent(m.buy_and_hold.total_return, signed=True))
        said += f", where holding {text(held_text(data))} made {held}"
    if m.max_drawdown:
        lasted = text(fmt.days(m.max_drawdown_days))
        depth = text(fmt.percent(m.max_drawdown))
        said += f". The deepest fall from a peak was {depth}; "
        recovered = m.max_drawdown_recovery_ms is not None
        said += f"it took {lasted}" if recovered else f"after {lasted} it is not made up for"
    return said + "."


def cards(data: TearsheetData) -> str:
    """Return the eight numbers that everybody asks for first."""
    m, trades, hold = data.metrics, data.metrics.all_trades, data.metrics.buy_and_hold
    calmar = f"Calmar {fmt.ratio(m.calmar)}"
    wins = f"{fmt.count(trades.win_count)} won, {fmt.count(trades.loss_count)} lost"
    rows = [
        ("net_pnl", f"{fmt.percent(m.total_return, signed=True)} · {data.quote}", m.net_pnl),
        ("cagr", f"hold {fmt.percent(hold.cagr, signed=True)}" if hold else "per year", m.cagr),
        ("sharpe", f"hold {fmt.ratio(hold.sharpe)}" if hold else "365 days", m.sharpe),
        ("sortino", calmar, m.sortino),
        (
            "max_drawdown",
            f"hold {fmt.percent(-hold.max_drawdown)}" if hold else fmt.days(m.max_drawdown_days),
            -m.max_drawdown,
        ),
        ("all_trades.win_rate", wins, None),
        (
            "all_trades.profit_factor",
            f"payoff {fmt.ratio(trades.payoff_ratio)}",
            None if trades.profit_factor is None else trades.profit_factor - 1,
        ),
        (
            "all_trades.expectancy",
            f"{fmt.r_multiple(trades.average_r_multiple)} · {fmt.count(trades.trade_count)} trades",
            trades.expectancy,
        ),
    ]
    return "".join(_card(data, path, below, sign) for path, below, sign in rows)


def _card(data: TearsheetData, path: str, below: str, sign: float | None) -> str:
    entry = BY_PATH[path]
    value = entry.text(data.metrics)
    size = "longer" if len(value) > 13 else "long" if len(value) > 8 else ""
    return (
        f'<div class="card" data-tip={attribute(entry.meaning)}><dt>{text(entry.label)}</dt>'
        f'<dd class="{sign_class(sign)} {size}">{text(value)}</dd>'
        f'<dd class="sub">{_minus(below)}</dd></div>'
    )


def provenance(data: TearsheetData) -> str:
    """Return what made this run: versions, hashes, assumptions."""
    return "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in data.provenance.items()
    )


def _minus(value: str) -> str:
    """Set a minus sign after a word, too: "hold -5 %"."""
    return text(value).replace(" -", " −")
