"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Models in tests are so small that a second thread only waits for the first; processes that tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline would time the machine, where other work may run beside the tests.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs with masks; tests that need it skip where it is absent."""
    shared = Path(os.environ.get("TEXT4SEG_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no photographs at {shared / 'data'}: set TEXT4SEG_SHARED to the folder that holds data/pets3")
    return shared / "data"
