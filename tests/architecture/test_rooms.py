"""The house keeps its shape: who imports whom, how large things are, what they are called."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "perpdesk"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100

LONGER_WITH_REASON: dict[str, str] = {}
"""Files or `file:function` that may be longer, each with its reason."""

FLOORS = {
    "Words": {"domain"},
    "Logic": {"simulation", "strategies", "trading", "reports"},
    "Adapters": {"marketdata", "venues", "emulator", "storage", "notifications"},
    "Runs": {"research", "sessions", "backtest", "cerebro"},
    "Doors": {"api", "cli"},
}

NAMES_THAT_SAY_NOTHING = {
    "common",
    "core",
    "helper",
    "helpers",
    "manager",
    "misc",
    "shared",
    "stuff",
    "util",
    "utils",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def rooms() -> list[Path]:
    return sorted(folder.parent for folder in PACKAGE.glob("*/__init__.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and length in lines of every function in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_rooms_import_only_from_floors_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_no_file_is_too_long() -> None:
    long = []
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        name = path.relative_to(PACKAGE).as_posix()
        if lines > MAX_FILE_LINES and name not in LONGER_WITH_REASON:
            long.append(f"{name}: {lines} lines")
    assert long == []


def test_no_function_is_too_long() -> None:
    long = []
    for path in modules():
        for function, lines in functions(path):
            name = f"{path.relative_to(PACKAGE).as_posix()}:{function}"
            if lines > MAX_FUNCTION_LINES and name not in LONGER_WITH_REASON:
                long.append(f"{name}: {lines} lines")
    assert long == []


def test_files_are_named_by_subject() -> None:
    named = {path.stem for path in modules()} | {path.name for path in PACKAGE.rglob("*/")}
    words = {word for name in named for word in name.split("_")}
    assert words & NAMES_THAT_SAY_NOTHING == set()


def test_every_room_says_its_floor_its_purpose_and_where_to_start() -> None:
    floor_of = {room: floor for floor, members in FLOORS.items() for room in members}
    wrong = []
    for room in rooms():
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        floor = floor_of.get(room.name, "a floor in this test")
        if not (text or "").startswith(f"{floor}: "):
            wrong.append(f"{room.name}: the docstring should begin with '{floor}: '")
        named = re.findall(r"`([\w/]+\.py)`", text or "")
        if not named:
            wrong.append(f"{room.name}: the docstring should name a `file.py` to read first")
        wrong += [f"{room.name}: names {n}, absent" for n in named if not (room / n).is_file()]
    assert wrong == []


def test_the_package_ships_its_types() -> None:
    assert (PACKAGE / "py.typed").is_file()
