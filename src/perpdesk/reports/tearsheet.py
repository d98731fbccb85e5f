"""The tear sheet: one HTML file that holds all it needs and asks the network for nothing."""

import base64
import hashlib
from functools import cache
from importlib import resources
from string import Template

from perpdesk.reports import formatting as fmt
from perpdesk.reports import tearsheet_header as header
from perpdesk.reports import tearsheet_sections as sections
from perpdesk.reports.markup import text
from perpdesk.reports.tearsheet_data import TRADES, TearsheetData, embedded, payload_of

__all__ = ["TearsheetData", "render_tearsheet"]

_NO_STOPS = '<p class="hint">No trade had a stop, so none has an R multiple.</p>'
_NO_TRADES = '<p class="hint">No trades.</p>'


def render_tearsheet(report: TearsheetData) -> str:
    """Return the page as text, to be written as UTF-8.

    The page forbids itself every connection, and every script but its own, by a content security
    policy; text from outside is escaped besides.
    """
    scripts = {
        "library": _asset("lightweight-charts.js").strip(),
        "script": _asset("tearsheet.js") + _asset("trades.js"),
    }
    pnl, r_multiples = sections.distributions(report.trips, quote=report.quote)
    scatter, unit = sections.excursion_scatter(report)
    return Template(_asset("tearsheet.html")).substitute(
        policy=_policy(*scripts.values()),
        title=text(f"{report.strategy} · tear sheet"),
        css=_asset("tearsheet.css"),
        strategy=text(report.strategy),
        facts=header.facts(report),
        badges=header.badges(report),
        headline=header.headline(report),
        notes=header.notes(report),
        cards=header.cards(report),
        trades_note=_trades_note(len(report.trips)),
        months=sections.monthly_table(report.metrics),
        pnl_histogram=pnl or _NO_TRADES,
        r_histogram=r_multiples or _NO_STOPS,
        scatter=scatter or _NO_TRADES,
        scatter_note=_scatter_note(len(report.trips), unit) if scatter else "",
        costs=sections.costs_table(report),
        exits=sections.exits_table(report),
        sides=sections.sides_table(report.metrics),
        symbols=sections.symbols_section(report),
        metrics=sections.metrics_tables(report.metrics),
        provenance=header.provenance(report),
        attribution=text(" ".join(_asset("lightweight-charts.NOTICE.txt").split()))
        + " Licensed under the Apache License 2.0.",
        payload=embedded(payload_of(report)),
        **scripts,
    )


def _trades_note(count: int) -> str:
    if count <= TRADES:
        return f"All {fmt.count(count)} trades are listed." if count else ""
    return (
        f"The first {fmt.count(TRADES)} of {fmt.count(count)} trades are listed and drawn; "
        "all of them are in trades.csv and in every figure of this page."
    )


def _scatter_note(count: int, unit: str) -> str:
    which = f"the first {fmt.count(TRADES)} trades" if count > TRADES else "every trade"
    scale = "multiples of the initial risk" if unit == "R" else text(unit)
    return (
        f"Worst and best open profit of {which}, in {scale}; blue ended with a profit. "
        "Click a dot to see the trade."
    )


def _policy(*scripts: str) -> str:
    digests = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    return resources.files("perpdesk.reports").joinpath("assets", name).read_text(encoding="utf-8")
