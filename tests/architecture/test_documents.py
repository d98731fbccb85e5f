"""What is written about the project is true of it: commands exist, no machine's paths are named."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from aiohttp import web

from perpdesk.backtest.artifacts import (
    EQUITY_COLUMNS,
    FILL_COLUMNS,
    FUNDING_COLUMNS,
)
from perpdesk.backtest.curve_file import CURVE_COLUMNS
from perpdesk.backtest.signals import SIGNAL_COLUMNS
from perpdesk.backtest.spec import RunSpec, read_spec
from perpdesk.cli.main import app
from perpdesk.emulator.control import Control
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.world import World
from perpdesk.reports.round_trip import TRADE_COLUMNS
from perpdesk.venues.endpoints import Leg

ROOT = Path(__file__).resolve().parents[2]

EVERYWHERE_OPTIONS = {"--help", "--debug"}


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def fenced_lines(text: str) -> Iterator[str]:
    """Yield the lines inside ``` fences, with continued lines joined."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def command_words(line: str) -> list[str]:
    """Return the words after `perpdesk` up to a pipe or redirection; none for other lines."""
    match = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*perpdesk(?= |$)(.*)", line)
    if not match:
        return []
    words = shlex.split(match.group(1), comments=True)
    ends = [i for i, word in enumerate(words) if word in ("|", ">", ">>", "<", "&&", ";")]
    return words[: ends[0]] if ends else words


def subcommand(group: Any, name: str) -> Any:
    module = getattr(group.commands.get(name), "module", "")
    if module:
        return typer.main.get_group(importlib.import_module(module).app)
    return group.commands.get(name)


def problem_of(words: list[str]) -> str | None:
    """Return what is wrong with the words after `perpdesk`, or None where they would be taken."""
    command: Any = typer.main.get_command(app)
    path = "perpdesk"
    for word in words:
        if word.startswith("--") and word != "--":
            option = word.split("=")[0]
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            if option not in known | EVERYWHERE_OPTIONS:
                return f"'{path}' has no option {option}"
        elif hasattr(command, "commands"):
            found = subcommand(command, word)
            if found is None:
                return f"'{path}' has no command {word}"
            command, path = found, f"{path} {word}"
    return None


def test_every_command_in_the_documents_exists() -> None:
    problems = []
    for document in documents():
        for line in fenced_lines(document.read_text(encoding="utf-8")):
            if (words := command_words(line)) and (problem := problem_of(words)):
                problems.append(f"{document.relative_to(ROOT)}: {line.strip()}: {problem}")
    assert problems == []


def test_a_command_that_does_not_exist_would_be_found() -> None:
    text = (
        "```sh\n$ DATA_DIR=x perpdesk config shwo | head\nperpdesk config \\\n  show --jsn\n```\n"
    )
    found = [problem_of(command_words(line)) for line in fenced_lines(text)]
    assert found == [
        "'perpdesk config' has no command shwo",
        "'perpdesk config show' has no option --jsn",
    ]
    assert problem_of(command_words("perpdesk config show --json --debug  # all of it")) is None


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in documents():
        for line in fenced_lines(document.read_text(encoding="utf-8")):
            if match := re.match(r"\s*(?:\$ )?make ([a-z]+)", line):
                assert match.group(1) in targets, f"{document.relative_to(ROOT)}: {line}"


def yaml_blocks(name: str) -> list[dict[str, Any]]:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in found]


def test_every_run_in_the_documents_is_one_and_the_guide_names_every_field() -> None:
    (example,) = yaml_blocks("README.md")
    (every_field,) = yaml_blocks("docs/runs.md")
    assert read_spec(example, origin="README.md").window == "hygiene"
    assert read_spec(every_field, origin="docs/runs.md").window == "hygiene"
    assert set(every_field) == set(RunSpec.model_fields)


def test_the_guide_names_every_column_of_every_table() -> None:
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    told = {
        block.split(".csv")[0]: block for block in re.findall(r"^\*\*`(.*?)\n\n", text, re.S | re.M)
    }
    tables = {
        "trades": TRADE_COLUMNS,
        "fills": FILL_COLUMNS,
        "signals": SIGNAL_COLUMNS,
        "funding": FUNDING_COLUMNS,
        "account_curve": CURVE_COLUMNS,
        "equity": EQUITY_COLUMNS,
    }
    assert set(told) == set(tables)
    for name, columns in tables.items():
        assert set(columns) == set(re.findall(r"`([a-z_]+)`", told[name])) & set(columns)


def test_the_guide_to_the_emulator_names_every_fault_and_every_control() -> None:
    text = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", text, flags=re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(told) == sorted(kind.value for kind in FaultKind)
    router = web.UrlDispatcher()
    Control(World({}, start_ms=0)).add_routes(router)
    for resource in router.resources():
        assert resource.canonical in text


def test_the_guide_to_venues_names_every_leg() -> None:
    text = (ROOT / "docs" / "venues.md").read_text(encoding="utf-8")
    for leg in Leg:
        assert f"`{leg.value}`" in text
        assert f"BINANCE_{leg.value.upper().replace('-', '_')}_KEY" in text


def test_no_file_names_a_path_of_one_machine() -> None:
    tops = ["src", "tests", "benchmarks", "docs", "tools", "data/README.md", "web/README.md"]
    tops += ["Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml", ".env.example"]
    tops += [".ci", ".github", "README.md", "requirements"]
    named = []
    for top in (ROOT / name for name in tops):
        for path in top.rglob("*") if top.is_dir() else [top]:
            if not path.is_file() or path.suffix in {".pyc", ".parquet", ".png", ".feather"}:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            for match in re.finditer(r"(?<![\w.])/(?:work|root|tmp|home|Users)/\w+", text):
                named.append(f"{path.relative_to(ROOT)}: {match.group()}")
    assert named == []
