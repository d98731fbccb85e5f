"""The image and its service run without rights they do not need; CI runs what it promises."""

import re
from pathlib import Path
from typing import Any

import yaml

from perpdesk.settings import variable_names

ROOT = Path(__file__).resolve().parents[2]


def compose_service(name: str = "desk") -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service: dict[str, Any] = compose["services"][name]
    return service


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_service_can_write_only_its_data() -> None:
    service = compose_service()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert service["environment"]["DATA_DIR"] == "/data"


def test_the_emulator_keeps_nothing_and_is_reached_from_this_machine_alone() -> None:
    service = compose_service("emulator")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "volumes" not in service
    assert service["ports"] == ["127.0.0.1:18080:18080"]
    assert service["profiles"] == ["emulator"]


def test_the_service_sets_only_settings_that_exist() -> None:
    assert set(compose_service()["environment"]) <= set(variable_names())


def test_the_image_runs_without_root_from_a_second_stage() -> None:
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert re.search(r"^USER perpdesk$", stages[1], flags=re.MULTILINE)
    assert stages[1].index("USER perpdesk") < stages[1].index("ENTRYPOINT")


def test_the_image_installs_from_the_locks_alone() -> None:
    for command in re.findall(r"pip install[^\n]*", dockerfile()):
        assert "--require-hashes" in command or "--no-index" in command, command


def test_ci_covers_lint_types_image_and_every_supported_python() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert {"lint", "types", "tests", "image"} <= set(jobs)
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    for action in re.findall(r"uses: (\S+)", text):
        assert re.search(r"@(v\d+|[0-9a-f]{40})$", action), action
