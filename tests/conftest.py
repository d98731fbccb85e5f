"""What all tests share: where recorded market data lies, and how hard properties are tried."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recorded data: PERPDESK_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("PERPDESK_SHARED") or ROOT.parent / "shared")
    if not (folder / "market").is_dir():
        pytest.skip(f"recorded market data not found: {folder / 'market'}")
    return folder
