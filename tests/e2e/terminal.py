"""`perpdesk` as people run it: a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERPDESK = (sys.executable, "-m", "perpdesk")


def environment(folder: Path, **others: str) -> dict[str, str]:
    """Return an environment that holds nothing of ours but what a test says."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "DATA_DIR": str(folder / "data"), "COLUMNS": "200", **others}


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return stdout as the one JSON document that it has to be."""
        return json.loads(self.out)


def perpdesk(
    folder: Path,
    *args: str,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Answer:
    """Run one command in `folder` and return what it said."""
    done = subprocess.run(
        [*PERPDESK, *args],
        cwd=folder,
        env=environment(folder, **(env or {})),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
        preexec_fn=before,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def ok(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> Any:
    """Run a command that has to succeed, with --json, and return its document."""
    answer = perpdesk(folder, *args, "--json", env=env)
    assert answer.code == 0, answer.err
    return answer.document


def files_in(folder: Path) -> set[str]:
    """Return every file below a folder that a run may leave, but candles and their locks."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "_lock"
    }
