"""What all tests share: where recorded market data lies."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recorded data: PERPDESK_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("PERPDESK_SHARED") or ROOT.parent / "shared")
    if not (folder / "market").is_dir():
        pytest.skip(f"recorded market data not found: {folder / 'market'}")
    return folder
