"""Stop where less is covered than promised: `coverage_gate.py coverage.json` after pytest."""

import json
import sys
from pathlib import Path

ROOM_GATES_PCT = {"simulation": 90.0, "trading": 90.0, "domain": 90.0}
TOTAL_GATE_PCT = 85.0


def covered_pct(summaries: list[dict[str, int]]) -> float:
    """Return the share of lines and branches that ran; 0 where nothing was measured."""
    ran = sum(s["covered_lines"] + s.get("covered_branches", 0) for s in summaries)
    there = sum(s["num_statements"] + s.get("num_branches", 0) for s in summaries)
    return 100.0 * ran / there if there else 0.0


def main(report: Path) -> int:
    """Print each gate with what was reached; return 1 where one is missed."""
    files = json.loads(report.read_text())["files"]
    gates = [("all", TOTAL_GATE_PCT, list(files))]
    for room, gate_pct in ROOM_GATES_PCT.items():
        paths = [path for path in files if f"/perpdesk/{room}/" in path.replace("\\", "/")]
        if paths:  # a room that is not built yet has nothing to cover
            gates.append((room, gate_pct, paths))
    missed = 0
    for name, gate_pct, paths in gates:
        reached_pct = covered_pct([files[path]["summary"] for path in paths])
        ok = reached_pct >= gate_pct
        missed += not ok
        verdict = "ok" if ok else "MISSED"
        print(f"coverage of {name:<12}{reached_pct:6.1f} %  gate {gate_pct:.0f} %  {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
