"""What a piece of work costs its process."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Cost:
    """Seconds of processor and of wall time, and the peak of resident memory in MB."""

    cpu_s = 0.0
    wall_s = 0.0
    peak_mb = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block, all threads of the process together."""
    cost = Cost()
    cpu, wall = time.process_time(), time.perf_counter()
    yield cost
    cost.cpu_s = time.process_time() - cpu
    cost.wall_s = time.perf_counter() - wall
    # Linux counts in KB, macOS in bytes.
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    cost.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def report(cost: Cost, **facts: object) -> None:
    """Print the one line that the benchmark reads."""
    numbers = {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "peak_mb": cost.peak_mb}
    print(json.dumps({**facts, **numbers}))
