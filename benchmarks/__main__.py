"""Compare a run with its peers, and fail where a promise is not kept.

usage: python -m benchmarks [--rounds 3] [--only dense|few] [--json FILE]
Contestants take turns within each round; every figure is the median of ratios within one round, so
that a machine which grows slower meanwhile does not decide. Needs the recorded one-minute series of
two years (binance-spot/BTCUSDT/1m) in the shared folder beside the project, or in PERPDESK_SHARED.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CASES: Final = {"dense": ("9", "21"), "few": ("500", "2000")}
"""Averages that cross about 50,000 times in two years of minutes, and fewer than 1,000 times."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio and its bound. wants: ">=" or "<="."""

    case: str
    name: str
    over: tuple[str, str]
    under: tuple[str, str]
    wants: str
    bound: float

    def ratio(self, costs: dict[str, dict[str, float]]) -> float:
        """Return the ratio within one round."""
        return costs[self.over[0]][self.over[1]] / costs[self.under[0]][self.under[1]]

    def holds(self, value: float) -> bool:
        """Tell whether the bound is kept."""
        return value >= self.bound if self.wants == ">=" else value <= self.bound


PROMISES: Final = (
    Promise("dense", "speed over plain Backtrader", ("bt", "cpu_s"), ("run", "cpu_s"), ">=", 6),
    Promise("few", "speed over plain Backtrader", ("bt", "cpu_s"), ("run", "cpu_s"), ">=", 40),
    Promise("few", "speed over backtesting.py", ("bpy", "cpu_s"), ("run", "cpu_s"), ">=", 1),
    Promise(
        "dense", "memory of plain Backtrader", ("run", "peak_mb"), ("bt", "peak_mb"), "<=", 0.75
    ),
    Promise("few", "memory of plain Backtrader", ("run", "peak_mb"), ("bt", "peak_mb"), "<=", 0.65),
    Promise("dense", "time with all artifacts", ("all", "wall_s"), ("run", "wall_s"), "<=", 1.2),
    Promise("few", "time with all artifacts", ("all", "wall_s"), ("run", "wall_s"), "<=", 1.2),
)


def shared_file(name: str) -> Path:
    """Return a recorded series; say plainly where it was looked for if it is not there."""
    shared = Path(os.environ.get("PERPDESK_SHARED", ROOT.parent / "shared"))
    path = shared / "market" / name
    if not path.exists():
        sys.exit(f"error: {path} is not there; set PERPDESK_SHARED to the folder of recorded data")
    return path


def contestant(module: str, *arguments: str) -> dict[str, Any]:
    """Run one contestant in a process of its own and return its line."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.contestants.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {module} failed\n{done.stderr}")
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return line


def run_round(case: str, series: Path, data_dir: Path) -> dict[str, dict[str, float]]:
    """Let every contestant run once."""
    fast, slow = CASES[case]
    ours = ("perpdesk_run", str(data_dir), fast, slow)
    costs = {
        "run": contestant(*ours, "run"),
        "all": contestant(*ours, "artifacts"),
        "bt": contestant("plain_backtrader", str(series), fast, slow),
        "bpy": contestant("backtesting_py", str(series), fast, slow),
    }
    for name, cost in costs.items():
        print(
            f"  {name:4} {cost['crossings']:7,.0f} trades  cpu {cost['cpu_s']:7.2f} s  "
            f"wall {cost['wall_s']:7.2f} s  peak {cost['peak_mb']:5.0f} MB",
            flush=True,
        )
    return costs


def main() -> int:
    """Import the series, run the rounds, print every promise with its measured ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(CASES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    series = shared_file("binance-spot/BTCUSDT/1m.parquet")
    kept = True
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        command = [sys.executable, "-m", "perpdesk", "data", "import", str(series), "--json"]
        names = ["--venue", "binance-spot", "--symbol", "BTCUSDT", "--timeframe", "1m"]
        environment = {**os.environ, "DATA_DIR": folder}
        subprocess.run([*command, *names], check=True, env=environment, stdout=subprocess.DEVNULL)
        for case in CASES if options.only is None else (options.only,):
            rounds = []
            for number in range(options.rounds):
                print(f"{case}, round {number + 1} of {options.rounds}", flush=True)
                rounds.append(run_round(case, series, data_dir))
            for promise in PROMISES:
                if promise.case != case:
                    continue
                value = statistics.median(promise.ratio(costs) for costs in rounds)
                figures[f"{case}: {promise.name}"] = round(value, 3)
                holds = promise.holds(value)
                kept &= holds
                print(
                    f"{'kept  ' if holds else 'BROKEN'} {case}: {promise.name} "
                    f"{value:.2f} (wanted {promise.wants} {promise.bound})",
                    flush=True,
                )
            fast, slow = CASES[case]
            shares = contestant("perpdesk_run", str(data_dir), fast, slow, "profile")
            print("  where the time goes: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if kept else 1


sys.exit(main())
