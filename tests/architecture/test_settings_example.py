"""`.env.example` and the settings are one list, told twice."""

import re
from pathlib import Path

import pytest

from perpdesk.settings import Settings, load_settings, variable_names

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"


def example_lines() -> list[str]:
    return EXAMPLE.read_text(encoding="utf-8").splitlines()


def test_the_example_holds_every_setting_once_and_nothing_else() -> None:
    named = [line.split("=")[0] for line in example_lines() if re.match(r"[A-Z]", line)]
    assert named == variable_names()


def test_the_example_explains_each_setting_in_the_settings_own_words() -> None:
    lines = example_lines()
    for name in variable_names():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{name}="))
        field = Settings.model_fields[name.lower()]
        assert lines[place - 1] == f"# {field.description}", name


def test_the_example_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variable_names():
        monkeypatch.delenv(name, raising=False)
    assert load_settings(EXAMPLE) == load_settings(tmp_path / "absent.env")
