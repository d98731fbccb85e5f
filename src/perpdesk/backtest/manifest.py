"""What a run rests on: spec, versions, data, rules and assumptions, so that it can be repeated."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import perpdesk
from perpdesk.backtest.runner import BacktestResult
from perpdesk.domain.numbers import plain

_PACKAGES: Final = ("backtrader", "numpy", "pandas", "pyarrow", "pydantic")


def run_manifest(result: BacktestResult) -> dict[str, Any]:
    """Return the manifest of a run: plain values, ready for JSON."""
    spec, data = result.spec, result.data
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.content_hash(),
        "range": {"start_ms": data.start_ms, "end_ms": data.end_ms},
        "timeframe": data.timeframe.name,
        "execution_timeframe": data.execution_timeframe.name,
        "strategy": {
            "key": result.strategy.key(),
            "params": result.parameters.model_dump(mode="json"),
            "params_hash": result.parameters.content_hash(),
            "source_sha256": result.strategy_source_hash,
        },
        "versions": versions(),
        "git_revision": git_revision(),
        "data": list(data.sources),
        "coverage": {
            symbol: {
                "mark": round(each.execution.mark_coverage, 6),
                "funding_rows": each.funding_rows,
                "funding_holes": each.funding_gap_count,
                "execution_bars": len(each.execution),
            }
            for symbol, each in data.symbols.items()
        },
        "rules": {
            symbol: {
                "observed_ms": each.observed_ms,
                "tiers_observed_ms": each.tiers_observed_ms,
                "tick_size": each.tick_size,
                "step_size": each.step_size,
                "min_notional": each.min_notional,
                "liquidation_fee_rate": each.liquidation_fee_rate,
                "tiers": list(each.tiers),
                "note": each.note,
            }
            for symbol, each in result.instruments.items()
        },
        "fee_schedule": {
            symbol: {
                "name": each.fees.name,
                "periods": [
                    {
                        "valid_from_ms": period.valid_from_ms,
                        "maker": period.rates.maker,
                        "taker": period.rates.taker,
                    }
                    for period in each.fees.periods
                ],
            }
            for symbol, each in result.instruments.items()
        },
        "fill_model": result.fill_model,
        "sizing": spec.sizing.build().describe(),
        "min_risk_reward": plain(spec.desk_settings().limits.floor_of(result.strategy.key())),
        "confirm_delay_ms": spec.confirm_delay_ms,
        "seed": spec.seed,
        "lookahead": result.verdict,
        "notes": list(result.notes),
        "warnings": list(result.warnings),
    }


def versions() -> dict[str, str]:
    """Return the versions of everything whose arithmetic a result rests on."""
    return {
        "perpdesk": perpdesk.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def git_revision() -> str | None:
    """Return the commit that the package's source is checked out at, None outside a checkout."""
    folder = Path(perpdesk.__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
