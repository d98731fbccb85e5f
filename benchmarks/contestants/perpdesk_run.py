"""perpdesk: `ema_trend` through Cerebro with full futures accounting.

usage: python -m benchmarks.contestants.perpdesk_run DATA_DIR FAST SLOW run|artifacts|profile
`run` stops at the measured result, `artifacts` also writes every file, `profile` tells where the
time goes. The check for look-ahead and the verification of the ledger are part of the run.
"""

import cProfile
import json
import pstats
import sys
from pathlib import Path
from typing import Final

from benchmarks.contestants.cost import measured, report
from perpdesk.backtest.service import BacktestService
from perpdesk.backtest.spec import RunSpec, read_spec
from perpdesk.bootstrap import backtest_service
from perpdesk.cerebro.collector import quiet_collector
from perpdesk.settings import Settings


def spec_of(fast: str, slow: str) -> RunSpec:
    """Return the run: always in the market, turned at every crossing, one coin at a time."""
    return read_spec(
        {
            "venue": "binance-spot",
            "symbols": "BTCUSDT",
            "strategy": "ema_trend",
            "timeframe": "1m",
            "params": {"fast": fast, "slow": slow, "stop_atr": 0},
            "sizing": {"rule": "quantity", "value": 1},
            "min_risk_reward": 0,
            "initial_capital": 10_000_000,
            "fees": {"commission": "0.0005"},
            "slippage": {"model": "none"},
            "max_volume_share": None,
        },
        origin="benchmark",
    )


# What a part of the run calls first; its time is theirs with all they call, less the parts within.
PARTS: Final = {
    "load": ("preflight.py", "run"),
    "indicators": ("base.py", "_compute"),
    "exchange": ("exchange.py", "process"),
    "guard": ("exchange.py", "guard"),
    "desk": ("desk.py", "on_signal"),
    "look-ahead check": ("lookahead.py", "check_strategy"),
    "account curve": ("account_curve.py", "draw"),
    "trades": ("trades.py", "round_trips"),
    "excursions": ("excursions.py", "with_excursions"),
    "metrics": ("metrics.py", "compute_metrics"),
    "verification": ("verification.py", "verify_run"),
    "artifacts": ("catalog.py", "finish"),
}
WITHIN_LOOP: Final = ("indicators", "exchange", "guard", "desk")
REPORTS: Final = ("account curve", "trades", "excursions", "metrics", "verification", "artifacts")


def profile(service: BacktestService, spec: RunSpec) -> None:
    """Print the share of time by part, as the profiler sees it."""
    profiler = cProfile.Profile()
    with quiet_collector():
        profiler.enable()
        service.run(spec)
        profiler.disable()
    rows = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    spent = {
        (Path(file).name, name): cumulative
        for (file, _, name), (_, _, _, cumulative, _) in rows.items()
        if "/perpdesk/" in file
    }
    parts = {part: spent.get(place, 0.0) for part, place in PARTS.items()}
    whole = spent["service.py", "run"]
    loop = spent["engine.py", "run_batch"] - sum(parts[part] for part in WITHIN_LOOP)
    shares = {
        "load": parts["load"],
        "indicators": parts["indicators"],
        "Cerebro loop and driver": loop,
        "exchange": parts["exchange"] + parts["guard"],
        "desk": parts["desk"],
        "look-ahead check": parts["look-ahead check"],
        "reports": sum(parts[part] for part in REPORTS),
    }
    shares["rest"] = whole - sum(shares.values())
    print(json.dumps({part: round(seconds / whole, 3) for part, seconds in shares.items()}))


def main() -> None:
    """Run once and print the cost, or the profile."""
    folder, fast, slow, mode = sys.argv[1:5]
    service = backtest_service(Settings(_env_file=None, data_dir=Path(folder)))
    spec = spec_of(fast, slow)
    if mode == "profile":
        profile(service, spec)
        return
    with measured() as cost:
        if mode == "run":
            with quiet_collector():
                result = service.runner.run(spec)
        else:
            result = service.run(spec).result
    report(cost, crossings=len(result.trips), bars=len(result.curve))


main()
