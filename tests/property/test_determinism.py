"""The same inputs give byte-equal events in two processes with different hash seeds."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.property.random_market import Market, make_plan

ROOT = Path(__file__).resolve().parents[2]
RUNS = 40


def digest() -> str:
    """Return a digest of the events of a fixed set of runs, to the last digit."""
    text = hashlib.sha256()
    for seed in range(RUNS):
        plan = make_plan(random.Random(seed).randint, most_steps=40)
        exchange, market = plan.exchange(), Market(plan)
        for step in plan.steps:
            for item in [*map(market.command, step.commands), *market.bars(step)]:
                for event in exchange.process(item):
                    text.update(repr(event).encode())
        text.update(repr(exchange.ledger.entries).encode())
    return text.hexdigest()


def test_two_processes_with_different_hash_seeds_agree_to_the_byte() -> None:
    here = "from tests.property.test_determinism import digest; print(digest())"
    found = []
    for seed, zone in (("1", "UTC"), ("4242", "Asia/Tokyo")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}
        done = subprocess.run(
            [sys.executable, "-c", here],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout)
    assert found[0] == found[1] == f"{digest()}\n"
