"""From a result to what its tear sheet shows."""

from collections.abc import Mapping
from typing import Any

from perpdesk.backtest.runner import BacktestResult
from perpdesk.domain.numbers import plain
from perpdesk.marketdata.gaps import utc_text
from perpdesk.marketdata.series import RECORDED
from perpdesk.reports.tearsheet_data import TearsheetData


def tearsheet_data(
    result: BacktestResult, manifest: Mapping[str, Any], *, run_id: str
) -> TearsheetData:
    """Return the page's content."""
    spec, data = result.spec, result.data
    facts = {
        "Venue": spec.venue.value,
        "Symbols": ", ".join(spec.symbols),
        "Timeframe": f"{data.timeframe} (executed on {data.execution_timeframe})",
        "Range": f"{utc_text(data.start_ms)} to {utc_text(data.end_ms)} UTC",
        "Capital": f"{plain(spec.initial_capital)} USDT",
        "Leverage": f"{plain(spec.leverage)}x {spec.margin_mode.value}",
        "Run": run_id,
    }
    if spec.window is not None:
        facts["Window"] = spec.window
    notes = list(result.notes)
    return TearsheetData(
        strategy=result.strategy.key(),
        facts=facts,
        curve=result.curve,
        trips=result.trips,
        metrics=result.metrics,
        candles=result.candles,
        initial_capital=spec.initial_capital,
        lookahead_verdict=result.verdict.text,
        lookahead_passed=result.verdict.passed,
        is_synthetic=any(source.source != RECORDED for source in data.sources),
        notes=notes,
        provenance=_provenance(result, manifest),
    )


def _provenance(result: BacktestResult, manifest: Mapping[str, Any]) -> dict[str, str]:
    rows = {f"version of {name}": text for name, text in manifest["versions"].items()}
    rows["git revision"] = manifest["git_revision"] or "not a checkout"
    for source in result.data.sources:
        name = " ".join(part for part in (source.symbol, source.kind, source.timeframe) if part)
        rows[f"data: {name}"] = f"{source.content_hash[:16]} ({source.rows:,} rows)"
    rows["strategy source"] = result.strategy_source_hash[:16]
    params = result.parameters.model_dump(mode="json")
    rows["parameters"] = ", ".join(f"{name}={value}" for name, value in params.items()) or "none"
    rows["sizing"] = manifest["sizing"]
    rows["risk-reward floor"] = manifest["min_risk_reward"]
    rows |= {name.replace("_", " "): text for name, text in result.fill_model.items()}
    for symbol, schedule in manifest["fee_schedule"].items():
        rows[f"fees of {symbol}"] = schedule["name"]
    return rows
