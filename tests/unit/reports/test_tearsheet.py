"""The tear sheet: self-contained, escaped, complete, and equal to the metrics."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from tests.unit.reports.builders import HOUR_MS, MIDNIGHT_MS, EventLog, candles_of, curve_of

from perpdesk.domain.order import OrderPurpose, Side
from perpdesk.reports.catalog import CATALOG
from perpdesk.reports.markup import text
from perpdesk.reports.metrics import compute_metrics
from perpdesk.reports.tearsheet import TearsheetData, render_tearsheet
from perpdesk.reports.trades import round_trips, with_excursions

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`${payload}&"
SECTIONS = (
    "equity trades months pnl r excursions costs exits sides metrics provenance".split()  # noqa: SIM905
)


def report_of(trade_count: int = 6, *, stop: bool = True, **changes: Any) -> TearsheetData:
    log, n = EventLog(), 24 * 70
    steps = np.random.default_rng(4).normal(0, 0.4, n)
    close = 100 + np.cumsum(steps)
    bars = candles_of(
        [
            (c - s, max(c, c - s) + 0.2, min(c, c - s) - 0.2, c)
            for c, s in zip(close, steps, strict=True)
        ]
    )
    ends = [
        ("106", OrderPurpose.TAKE_PROFIT),
        ("98", OrderPurpose.STOP_LOSS),
        ("101", OrderPurpose.EXIT),
    ]
    equity, cash = np.full(n, 1000.0), 0.0
    for row in range(trade_count):
        at_ms, (price, reason) = MIDNIGHT_MS + row * 2 * HOUR_MS, ends[row % 3]
        if stop:
            log.accept(
                f"stop{row}", Side.SELL, OrderPurpose.STOP_LOSS, trigger="98", parent=f"entry{row}"
            )
        log.fill(Side.BUY, "1", "100", fee="0.05", order=f"entry{row}", ts_ms=at_ms)
        log.fund("-0.01", ts_ms=at_ms)
        log.fill(
            Side.SELL,
            "1",
            price,
            purpose=reason,
            fee="0.05",
            pnl=str(Decimal(price) - 100),
            slippage="0.02",
            ts_ms=at_ms + HOUR_MS,
        )
        cash += float(price) - 100 - 0.11
        equity[min(2 * row + 1, n - 1) :] = 1000 + cash
    trips = with_excursions(round_trips(log.events), {"BTCUSDT": bars})
    curve = curve_of(equity.tolist(), bar_ms=HOUR_MS)
    capital = Decimal(1000)
    given: dict[str, Any] = {
        "strategy": "smc@1",
        "facts": {"Symbol": "BTCUSDT", "Venue": "binance"},
        "curve": curve,
        "trips": trips,
        "metrics": compute_metrics(curve, trips, initial_capital=capital, benchmark=[bars]),
        "candles": {"BTCUSDT": bars},
        "initial_capital": capital,
        "provenance": {"perpdesk": "0.1.0"},
    }
    return TearsheetData(**{**given, **changes})


class Page(HTMLParser):
    """Collect the elements and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def payload(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self._inside("data"))
        return loaded

    def _inside(self, identity: str) -> str:
        scripts = [at for tag, at in self.elements if tag == "script"]
        row = next(i for i, at in enumerate(scripts) if at.get("id") == identity)
        return [data for tag, data in self.texts if tag == "script" and data.strip()][row]


def test_the_page_points_nowhere() -> None:
    html = render_tearsheet(report_of())
    for tag, attributes in Page(html).elements:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        assert not {"src", "href", "srcset", "action", "background"} & set(attributes)
    assert "@import" not in html
    assert not re.search(r"url\(", html.split("</style>")[0])
    addresses = set(re.findall(r"https?://[^\s\"'`<$]+", html))
    assert addresses == {
        "http://www.w3.org/2000/svg",  # a namespace
        "https://www.apache.org/licenses/LICENSE-2.0",  # the library's licence
        "https://www.tradingview.com/",  # its attribution, as text
        "https://www.tradingview.com/?utm_medium=lwc-link&utm_campaign=lwc-chart",  # its logo
    }


def test_the_page_forbids_itself_every_connection_and_every_foreign_script() -> None:
    html = render_tearsheet(report_of())
    policy = next(at["content"] for tag, at in Page(html).elements if "http-equiv" in at)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_text_stays_text() -> None:
    hostile = report_of(
        strategy=HOSTILE,
        facts={HOSTILE: HOSTILE},
        notes=[HOSTILE],
        provenance={HOSTILE: HOSTILE},
        quote=HOSTILE,
        lookahead_verdict=HOSTILE,
    )
    page = Page(render_tearsheet(hostile))
    assert "img" not in page.tags()
    assert page.tags().count("script") == Page(render_tearsheet(report_of())).tags().count("script")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.payload()["quote"] == HOSTILE
    assert HOSTILE in [data for _, data in page.texts]


def test_a_hostile_symbol_stays_text() -> None:
    calm = report_of()
    candles = {HOSTILE: calm.candles["BTCUSDT"]}
    page = Page(render_tearsheet(report_of(candles=candles)))
    assert "img" not in page.tags()
    assert page.payload()["symbols"] == [HOSTILE, "BTCUSDT"]


def test_every_section_is_there() -> None:
    elements = Page(render_tearsheet(report_of())).elements
    identities = [attributes.get("id") for tag, attributes in elements if tag == "section"]
    assert identities == SECTIONS


def test_several_symbols_are_told_apart() -> None:
    alone = report_of()
    other = [replace(trip, symbol="ETHUSDT") for trip in alone.trips[:2]]
    page = render_tearsheet(report_of(trips=[*other, *alone.trips[2:]]))
    section = page[page.index('<section id="symbols">') :].partition("</section>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in section.split("<tr>")]
    rows = {row[0]: [*row[1:4], *row[5:]] for row in cells if row}
    # Each trade pays 0.1 of fees and 0.01 of funding: 5.89 and -2.11; then 0.89, 5.89, -2.11, 0.89.
    assert rows["ETHUSDT"] == ["2", "50.00 %", "2.79", "0.2000", "−0.0200", "+3.78"]
    assert rows["BTCUSDT"] == ["4", "75.00 %", "3.64", "0.4000", "−0.0400", "+5.56"]
    assert 'id="symbols"' not in render_tearsheet(alone)


def test_every_metric_stands_on_the_page_as_it_was_measured() -> None:
    report = report_of()
    html = render_tearsheet(report)
    for entry in CATALOG:
        row = f'<th scope="row">{text(entry.label)}<small>{text(entry.meaning)}</small></th>'
        after = html.split(row, 1)[1]
        assert after.startswith(f'<td class="n ">{text(entry.text(report.metrics))}</td>')


def test_verdicts_and_notes_come_first() -> None:
    html = render_tearsheet(
        report_of(
            lookahead_verdict="not falsified",
            lookahead_passed=True,
            is_synthetic=True,
            notes=["mark prices stood in"],
        )
    )
    assert '<li class="badge good">look-ahead: not falsified</li>' in html
    assert '<li class="badge warn">synthetic data</li>' in html
    assert html.index("mark prices stood in") < html.index('id="equity"')


@pytest.mark.parametrize(("passed", "kind"), [(False, "bad"), (None, "warn")])
def test_a_verdict_that_is_no_pass_does_not_look_like_one(passed: bool | None, kind: str) -> None:
    html = render_tearsheet(report_of(lookahead_passed=passed, lookahead_verdict="x"))
    assert f'<li class="badge {kind}">look-ahead: x</li>' in html


@pytest.mark.parametrize(
    ("equity", "said"),
    [
        ([1100.0, 880.0, 1200.0], "The deepest fall from a peak was 20.00 %; it took 2.0 days."),
        ([1100.0, 880.0, 990.0], "was 20.00 %; after 2.0 days it is not made up for."),
        ([1000.0, 1100.0, 1210.0], "1,000.00 USDT became 1,210.00 USDT in 3.0 days: "),
    ],
)
def test_the_result_is_said_in_one_plain_sentence(equity: list[float], said: str) -> None:
    curve = curve_of(equity)
    metrics = compute_metrics(curve, [], initial_capital=Decimal(1000), benchmark=())
    html = render_tearsheet(report_of(0, curve=curve, metrics=metrics))
    headline = html.split('<p class="headline">')[1].split("</p>")[0]
    assert said in headline
    assert ("fall" in headline) == (metrics.max_drawdown > 0)


def test_the_curve_keeps_the_deepest_drawdown_and_the_end() -> None:
    report = report_of()
    rng = np.random.default_rng(9)
    curve = curve_of((1000 + np.cumsum(rng.normal(0, 3, 30_000))).tolist(), bar_ms=60_000)
    metrics = compute_metrics(curve, [], initial_capital=Decimal(1000), benchmark=())
    page = Page(render_tearsheet(report_of(curve=curve, metrics=metrics)))
    columns = page.payload()["equity"]
    assert len(columns["equity"]) == len(columns["slots"]) == len(columns["times"]) <= 2000
    assert min(columns["depth"]) == pytest.approx(-100 * metrics.max_drawdown, abs=1e-3)
    assert columns["equity"][-1] == pytest.approx(metrics.final_equity, abs=0.01)
    assert np.all(np.diff(columns["slots"]) > 0)
    assert len(report.curve) == 24 * 70


def test_a_curve_that_is_short_enough_is_drawn_row_by_row() -> None:
    report = report_of()
    columns = Page(render_tearsheet(report)).payload()["equity"]
    assert columns["equity"][1:] == np.round(report.curve.equity / 1e8, 2).tolist()
    held = report.candles["BTCUSDT"]
    expected = 1000 * held.close[-1] / held.open[0]
    assert columns["hold"][-1] == pytest.approx(expected, abs=0.01)


def test_several_symbols_are_held_in_equal_parts_beside_the_run() -> None:
    report = report_of()
    other = candles_of([(10, 10, 10, 20)] * 24 * 70, symbol="ETHUSDT")
    candles = {**report.candles, "ETHUSDT": other}
    metrics = compute_metrics(
        report.curve, [], initial_capital=Decimal(1000), benchmark=list(candles.values())
    )
    html = render_tearsheet(report_of(candles=candles, metrics=metrics))
    columns = Page(html).payload()["equity"]
    assert columns["hold_symbol"] == "BTCUSDT, ETHUSDT in equal parts"
    held = report.candles["BTCUSDT"]
    expected = 1000 * (held.close[-1] / held.open[0] + 2) / 2
    assert columns["hold"][-1] == pytest.approx(expected, abs=0.01)
    assert "where holding BTCUSDT, ETHUSDT in equal parts made" in html


def test_trades_beyond_the_list_are_counted_and_said_to_be_left_out() -> None:
    report = report_of(2_100)
    html = render_tearsheet(report)
    assert len(Page(html).payload()["trades"]["id"]) == 2_000
    assert "The first 2,000 of 2,100 trades are listed" in html
    assert report.metrics.all_trades.trade_count == 2_100


def test_candles_say_what_they_were_joined_from() -> None:
    candles = candles_of([(1, 2, 0.5, 1)] * 6000, timeframe="1m")
    columns = Page(render_tearsheet(report_of(candles={"BTCUSDT": candles}))).payload()["candles"]
    assert (columns["BTCUSDT"]["timeframe"], columns["BTCUSDT"]["source"]) == ("3m", "1m")
    assert columns["BTCUSDT"]["source_count"] == 6000


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_of_hardly_anything_still_has_a_page(count: int) -> None:
    curve = curve_of([1000.0])
    report = report_of(count, stop=False)
    metrics = compute_metrics(curve, report.trips, initial_capital=Decimal(1000), benchmark=())
    html = render_tearsheet(report_of(count, stop=False, curve=curve, metrics=metrics, candles={}))
    assert "No trade had a stop" in html
    assert "NaN" not in html.split("<script")[0]


def test_without_stops_excursions_are_in_quote() -> None:
    html = render_tearsheet(report_of(stop=False))
    assert 'data-unit="USDT"' in html
    assert 'data-unit="R"' in render_tearsheet(report_of())


def test_the_waterfall_leads_from_gross_to_the_net_profit_of_the_trades() -> None:
    html = render_tearsheet(report_of())
    # Six trades: 2 x (6 - 2 + 1) before fees of 0.6 and funding of 0.06; slippage 0.12 was inside.
    for label, value in (
        ("Before costs", "+10.12"),
        ("Slippage", "−0.1200"),
        ("Fees", "−0.6000"),
        ("Funding", "−0.0600"),
        ("Net profit of trades", "+9.34"),
    ):
        row = html.split(f'<th scope="row">{label}</th>', 1)[1].split("</tr>")[0]
        assert f">{value}</td>" in row


def test_the_vendored_library_keeps_its_licence_and_is_attributed() -> None:
    html = render_tearsheet(report_of())
    assert "TradingView Lightweight Charts Copyright (c) 2026 TradingView, Inc." in html
    assert "Licensed under Apache License 2.0" in html
