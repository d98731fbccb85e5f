"""Lock files pin every package by hash and name no address, so that any index may serve them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("build.lock", "dev.lock", "runtime.lock")


def read(lock: str) -> str:
    return (ROOT / "requirements" / lock).read_text(encoding="utf-8")


def pinned(lock: str) -> dict[str, str]:
    """Return name → version of every package in the lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", read(lock), flags=re.MULTILINE))


def requirement_names(requirements: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {re.sub(r"[._-]+", "-", name.group()).lower() for name in names if name}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_carries_hashes_for_each_package(lock: str) -> None:
    logical_lines = read(lock).replace("\\\n", " ").splitlines()
    requirements = [line for line in logical_lines if line and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_address(lock: str) -> None:
    assert re.findall(r"https?:|file:|//|-index|find-links|trusted-host", read(lock)) == []


def test_the_locks_agree_on_versions() -> None:
    runtime, dev = pinned("runtime.lock"), pinned("dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_every_declared_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    runtime = requirement_names(project["project"]["dependencies"])
    dev = requirement_names(project["project"]["optional-dependencies"]["dev"])
    build = requirement_names(project["dependency-groups"]["build"])
    assert runtime - set(pinned("runtime.lock")) == set()
    assert (runtime | dev) - set(pinned("dev.lock")) == set()
    assert build - set(pinned("build.lock")) == set()
    assert project["dependency-groups"]["build"] == project["build-system"]["requires"]
