"""What all tests share: quiet TensorFlow, and a real S3 server that starts when the first test asks for it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from zarr.storage import LocalStore

# `tests.…` modules are imported by name, also when pytest was not started as `python -m pytest`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

pytest_plugins = ["tests.s3.fixtures"]


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest) -> str:
    """URL of an empty place to write to: a folder, then a bucket of the real S3 server."""
    return str(request.getfixturevalue("tmp_path")) if request.param == "disk" else request.getfixturevalue("s3")


@pytest.fixture
def chunk_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the chunk objects that Zarr reads on the disk from here on, in that order."""
    asked: list[str] = []
    get = LocalStore.get

    async def noted(store: LocalStore, key: str, *where: Any, **range_: Any) -> Any:
        if key.startswith("c/"):
            asked.append(str(store.root / key))
        return await get(store, key, *where, **range_)

    monkeypatch.setattr(LocalStore, "get", noted)
    return asked
