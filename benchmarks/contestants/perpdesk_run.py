"""perpdesk: `ema_trend` through Cerebro with full futures accounting.

usage: python -m benchmarks.contestants.perpdesk_run DATA_DIR FAST SLOW run|artifacts|profile
`run` stops at the measured result, `artifacts` also writes every file, `profile` tells where the
time goes. The check for look-ahead and the verification of the ledger are part of the run.
"""

import cProfile
import json
import pstats
import sys
from collections import defaultdict
from pathlib import Path

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


def profile(service: BacktestService, spec: RunSpec) -> None:
    """Print the share of time by part, as the profiler sees it."""
    profiler = cProfile.Profile()
    with quiet_collector():
        profiler.enable()
        service.run(spec)
        profiler.disable()
    parts: dict[str, float] = defaultdict(float)
    for (file, _, name), row in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        parts[_part_of(file, name)] += row[2]
    total = sum(parts.values())
    shares = {name: round(seconds / total, 3) for name, seconds in parts.items()}
    print(json.dumps(dict(sorted(shares.items(), key=lambda item: -item[1]))))


def _part_of(file: str, name: str) -> str:
    rooms = {
        "marketdata": "load",
        "strategies": "indicators and signals",
        "cerebro": "Cerebro loop and driver",
        "simulation": "exchange",
        "trading": "desk",
        "domain": "exchange",
        "reports": "reports",
        "backtest": "artifacts",
    }
    for room, part in rooms.items():
        if f"/perpdesk/{room}/" in file:
            return part
    if "backtrader" in file:
        return "Cerebro loop and driver"
    return "reports" if "json" in name or "csv" in name else "library code and built-ins"


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
