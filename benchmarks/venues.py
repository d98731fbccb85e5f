"""Measure adapters and emulator, and fail where a promise is not kept.

usage: python -m benchmarks.venues [--only streams|sustained|download|orders] [--rounds 3]
       [--json FILE]
streams    how late a message of a stream is in the reader's hand, as an event; beside it what
           aiohttp and json alone need
sustained  2,000 messages a second over 40 streams by a client on one core; then how many it bears
download   a year of minutes: our own speed against what the venue's limits allow
orders     orders and cancels a second through the emulator's doors; beside it an echo
Everything runs on loopback, servers in processes of their own. Figures are medians of the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ADAPTERS: Final = ("binance", "bybit")
CORES: Final = sorted(os.sched_getaffinity(0))
CLIENT_CORE: Final = str(CORES[0])
SERVER_CORE: Final = str(CORES[-1])
QUIET_RATE, QUIET_S = 200, 8
PROMISED_RATE, PROMISED_S = 2_000, 20
CLIMB: Final = (4_000, 6_000, 8_000, 12_000, 16_000, 24_000)
CLIMB_S: Final = 5
BEHIND_MS: Final = 250.0
"""A client whose messages are later than this does not bear the rate."""
YEAR_DAYS: Final = 365
ORDERS_S: Final = 5

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A figure and its bound. wants: ">=" or "<="."""

    name: str
    figure: str
    wants: str
    bound: float

    def holds(self, value: float) -> bool:
        """Tell whether the bound is kept."""
        return value >= self.bound if self.wants == ">=" else value <= self.bound


def _both(name: str, figure: str, wants: str, bound: float) -> tuple[Promise, ...]:
    return tuple(
        Promise(name=f"{each}: {name}", figure=f"{each} {figure}", wants=wants, bound=bound)
        for each in ADAPTERS
    )


PROMISES: Final[dict[str, tuple[Promise, ...]]] = {
    "streams": (
        *_both("message to event, median (ms)", "p50_ms", "<=", 2),
        *_both("message to event, 99 % (ms)", "p99_ms", "<=", 25),
        *_both("median over aiohttp and json alone", "p50_ratio", "<=", 8),
    ),
    "sustained": (
        *_both("lag at 2,000 a second, 99 % (ms)", "p99_ms", "<=", 100),
        *_both("lag in the last quarter, 99 % (ms)", "last_p99_ms", "<=", 100),
        *_both("events that waited at most", "most_waiting", "<=", 2_000),
        *_both("part of the messages that came", "came_share", ">=", 0.999),
        *_both("messages a second that it bears", "most_s", ">=", 4_000),
    ),
    "download": (
        Promise(
            name="binance: own speed over what its weight limit allows",
            figure="binance over_limit",
            wants=">=",
            bound=5,
        ),
        # 600 calls in 5 s are 120,000 candles a second: more would be of no use to anyone.
        Promise(
            name="bybit: own speed over what its call limit allows",
            figure="bybit over_limit",
            wants=">=",
            bound=1,
        ),
    ),
    "orders": (
        *_both("requests over those of an echo", "of_echo", ">=", 0.2),
        *_both("orders placed and canceled a second", "orders_s", ">=", 200),
    ),
}


# Processes.


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[str]:
    """Run a contestant that serves; yields its address."""
    command = [sys.executable, "-m", f"benchmarks.contestants.{module}", *arguments]
    server = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())["address"]
    finally:
        server.stdin.close()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def contestant(module: str, *arguments: str) -> Figures:
    """Run one contestant and return its line."""
    command = [sys.executable, "-m", f"benchmarks.contestants.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {module} failed\n{done.stderr}")
    line: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return line


def show(name: str, figures: Figures) -> None:
    """Print one contestant's figures."""
    print(f"  {name:16} " + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    sys.stdout.flush()


def _read(address: str, name: str, rate: int, seconds: int) -> Figures:
    return contestant("venue_flood_reader", address, name, str(rate), str(seconds), CLIENT_CORE)


# Cases: each returns the figures of one round by name.


def streams() -> Figures:
    """Measure how late events are where nothing is in a hurry."""
    found: Figures = {}
    with serving("venue_flood", SERVER_CORE) as address:
        raw = _read(address, "raw", QUIET_RATE, QUIET_S)
        show("aiohttp alone", raw)
        for name in ADAPTERS:
            figures = _read(address, name, QUIET_RATE, QUIET_S)
            show(name, figures)
            found[f"{name} p50_ms"] = figures["p50_ms"]
            found[f"{name} p99_ms"] = figures["p99_ms"]
            found[f"{name} p50_ratio"] = figures["p50_ms"] / raw["p50_ms"]
    return found


def _is_behind(figures: Figures) -> bool:
    """Tell whether the client does not bear the rate. Coalesced quotes have come, too."""
    return figures["last_p99_ms"] > BEHIND_MS or figures["came_share"] < 0.98


def sustained() -> Figures:
    """Measure the promised rate, then climb until the client falls behind."""
    found: Figures = {}
    with serving("venue_flood", SERVER_CORE) as address:
        for name in ADAPTERS:
            figures = _read(address, name, PROMISED_RATE, PROMISED_S)
            show(f"{name} {PROMISED_RATE}/s", figures)
            for key in ("p99_ms", "last_p99_ms", "most_waiting", "came_share"):
                found[f"{name} {key}"] = figures[key]
            most = figures["came_s"] if figures["last_p99_ms"] <= BEHIND_MS else 0.0
            for rate in CLIMB:
                figures = _read(address, name, rate, CLIMB_S)
                show(f"{name} {rate}/s", figures)
                if _is_behind(figures):
                    # Once more: somebody else may have had the core for a moment.
                    figures = _read(address, name, rate, CLIMB_S)
                    show(f"{name} {rate}/s", figures)
                if _is_behind(figures):
                    break
                most = figures["came_s"]
                if figures["sent_s"] < 0.9 * rate:
                    break  # The server can send no more.
            found[f"{name} most_s"] = round(most, -2)
    return found


def download() -> Figures:
    """Measure a year of minutes without a budget, against the venue's own limit."""
    found: Figures = {}
    with serving("venue_download", "serve") as address:
        for name in ADAPTERS:
            figures = contestant("venue_download", "run", address, name, str(YEAR_DAYS))
            show(name, figures)
            found[f"{name} over_limit"] = figures["limit_s"] / figures["wall_s"]
            found[f"{name} over_granted"] = figures["granted_s"] / figures["wall_s"]
    return found


def orders() -> Figures:
    """Measure orders through the doors beside an echo."""
    found: Figures = {}
    with serving("venue_orders", "serve") as address:
        echo = contestant("venue_orders", "run", address, "echo", str(ORDERS_S))
        show("echo", echo)
        for name in ADAPTERS:
            figures = contestant("venue_orders", "run", address, name, str(ORDERS_S))
            show(name, figures)
            found[f"{name} of_echo"] = figures["requests_s"] / echo["requests_s"]
            found[f"{name} orders_s"] = figures["orders_s"]
    return found


CASES: Final[dict[str, Callable[[], Figures]]] = {
    "streams": streams,
    "sustained": sustained,
    "download": download,
    "orders": orders,
}


def main() -> int:
    """Run the rounds, print every promise with its measured figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.venues")
    parser.add_argument("--only", choices=sorted(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if len(CORES) < 2:
        print(
            "note: one core alone: client and server share it, so figures are worse than they are"
        )
    kept = True
    document: dict[str, float] = {}
    for case in CASES if options.only is None else (options.only,):
        rounds: list[Figures] = []
        for number in range(options.rounds):
            print(f"{case}, round {number + 1} of {options.rounds}", flush=True)
            rounds.append(CASES[case]())
        medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
        document |= {f"{case}: {name}": round(value, 3) for name, value in medians.items()}
        for promise in PROMISES[case]:
            value = medians[promise.figure]
            holds = promise.holds(value)
            kept &= holds
            print(
                f"{'kept  ' if holds else 'BROKEN'} {case}: {promise.name} "
                f"{value:,.3f} (wanted {promise.wants} {promise.bound:,})",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
