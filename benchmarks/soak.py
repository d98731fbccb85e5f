"""Soak both adapters in bad weather, and fail where a promise is not kept.

usage: python -m benchmarks.soak [--hours 24] [--symbols 20] [--weather 10] [--seed 1] [--speed 60]
The emulator runs in a process of its own, the client in another; time is virtual, 60 times as fast
as the wall. A table shows how the client stands, the last line is the result as JSON. Exit code 1
where a promise is broken.

The promises: memory of the client grows by less than 1 MB a virtual hour once it is warm, the
number of tasks and threads is bounded; every candle is told once, none is missing, each equals what
REST says; no order is sent twice; fills, positions and open orders are those of the emulator.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.contestants.venue_soak_world import Plan, add_options

ROOT: Final = Path(__file__).resolve().parent.parent
SLOPE_MB_PER_HOUR: Final = 1.0
WARM_SHARE: Final = 1 / 3
"""How much of a soak is warm-up: caches that are bounded by number fill meanwhile."""
FEWEST_HOURS: Final = 6.0
"""A shorter soak cannot tell growth from the filling of caches: its slope is shown, not judged."""
COLUMNS: Final = (
    "hour",
    "rss_mb",
    "blocks_k",
    "tasks",
    "threads",
    "events",
    "candles",
    "sent",
    "unknown",
    "fills",
    "lost",
    "lag_ms",
)


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "faulthandler", "-m", f"benchmarks.contestants.{module}"]
    # glibc gives threads heaps of their own, and what lies fragmented in them looks like growth.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _run(plan: Plan) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run both processes to the end; return samples and verdict."""
    samples: list[dict[str, Any]] = []
    verdict: dict[str, Any] = {}
    emulator = _start("venue_soak_world", *plan.arguments())
    try:
        assert emulator.stdout is not None
        address = json.loads(emulator.stdout.readline())["address"]
        client = _start("venue_soak_client", address, *plan.arguments())
        try:
            assert client.stdout is not None
            print("  ".join(f"{name:>9}" for name in COLUMNS), flush=True)
            for line in client.stdout:
                row = json.loads(line)
                if "sample" in row:
                    samples.append(row["sample"])
                    print("  ".join(f"{row['sample'][name]:>9}" for name in COLUMNS), flush=True)
                else:
                    verdict = row["verdict"]
        finally:
            client.terminate()
            ended = client.wait()
        if not verdict:
            words = f"the client ended without a verdict (exit code {ended})"
            verdict = {"problem_counts": {words: 1}}
    finally:
        assert emulator.stdin is not None
        emulator.stdin.close()
        try:
            emulator.wait(timeout=10)
        except subprocess.TimeoutExpired:
            emulator.kill()
            emulator.wait()
    return samples, verdict


def growth(samples: list[dict[str, Any]], name: str) -> float:
    """Return the slope of a figure by virtual hour, least squares, over the warm part."""
    warm = samples[int(len(samples) * WARM_SHARE) :]
    if len(warm) < 3:
        return 0.0
    hours = np.array([each["hour"] for each in warm])
    return float(np.polyfit(hours, [each[name] for each in warm], 1)[0])


def _is_bounded(samples: list[dict[str, Any]], name: str) -> bool:
    """Tell whether the last third stands no higher than the middle one, but for noise."""
    third = len(samples) // 3
    if not third:
        return True
    middle = statistics.median(each[name] for each in samples[third : 2 * third])
    last = statistics.median(each[name] for each in samples[-third:])
    return bool(last <= middle * 1.2 + 8)


def main() -> int:
    """Run the soak and judge it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    add_options(parser)
    plan = Plan(**vars(parser.parse_args()))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    began = time.monotonic()
    samples, verdict = _run(plan)
    broken = [f"{name}: {count}" for name, count in verdict["problem_counts"].items()]
    broken += verdict.get("errors", [])
    slope = growth(samples, "rss_mb")
    if plan.hours >= FEWEST_HOURS and slope >= SLOPE_MB_PER_HOUR:
        broken.append(f"memory grows by {slope:.2f} MB a virtual hour")
    broken += [f"{name} grow" for name in ("tasks", "threads") if not _is_bounded(samples, name)]
    for line in broken:
        print(f"BROKEN {line}", flush=True)
    for name, found in verdict.get("problems", {}).items():
        for each in found:
            print(f"  {name}: {each}", flush=True)
    result = {
        "kept": not broken,
        "broken": broken,
        "hours": plan.hours,
        "symbols": plan.symbols,
        "weather": plan.weather,
        "seed": plan.seed,
        "wall_s": round(time.monotonic() - began, 1),
        "rss_mb_per_hour": round(slope, 3),
        "slope_is_judged": plan.hours >= FEWEST_HOURS,
        "last": samples[-1] if samples else {},
        **{key: one for key, one in verdict.items() if key != "problems"},
    }
    print(json.dumps(result), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
