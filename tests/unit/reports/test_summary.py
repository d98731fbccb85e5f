"""The summary for a terminal, and the catalog behind it."""

from dataclasses import fields
from decimal import Decimal
from operator import attrgetter
from pathlib import Path

from tests.unit.reports.builders import candles_of, curve_of

from perpdesk.reports.catalog import CATALOG
from perpdesk.reports.metrics import Metrics, compute_metrics
from perpdesk.reports.summary import summary_rows
from perpdesk.reports.trade_statistics import Costs, TradeStatistics

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def losing_run() -> Metrics:
    return compute_metrics(
        curve_of([110.0, 88.0, 90.0]),
        [],
        initial_capital=Decimal(100),
        benchmark=[candles_of([(10, 10, 10, 12), (12, 12, 9, 9), (9, 9, 9, 9)], timeframe="1d")],
    )


def test_the_summary_shows_signs_and_units() -> None:
    rows = dict(summary_rows(losing_run()))
    assert rows["Net profit"] == "-10.00"
    assert rows["Total return"] == "-10.00 %"
    assert rows["Max drawdown"] == "-20.00 %"
    assert rows["Trades"] == "0"
    assert rows["Win rate"] == "–"
    assert rows["Buy and hold"] == "-10.00 %"
    assert rows["Buy and hold, drawdown"] == "-25.00 %"


def test_a_run_without_candles_has_nothing_to_hold() -> None:
    metrics = compute_metrics(curve_of([100.0]), [], initial_capital=Decimal(100), benchmark=())
    assert not any(label.startswith("Buy") for label, _ in summary_rows(metrics))


def test_every_entry_of_the_catalog_is_a_metric_and_is_written_without_a_value() -> None:
    metrics = losing_run()
    for entry in CATALOG:
        attrgetter(entry.path)(metrics)
        assert entry.text(metrics)
        assert entry.meaning.endswith(".")


def test_every_metric_is_explained_in_the_document() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    names = [field.name for cls in (Metrics, TradeStatistics, Costs) for field in fields(cls)]
    assert [name for name in names if f"`{name}`" not in document] == []
