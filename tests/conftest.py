"""What all tests share: quiet TensorFlow, and a real S3 server that starts when the first test asks for it."""

import os
import sys
from pathlib import Path

import pytest

# `tests.…` modules are imported by name, also when pytest was not started as `python -m pytest`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

pytest_plugins = ["tests.s3.fixtures"]


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest) -> str:
    """URL of an empty place to write to: a folder, then a bucket of the real S3 server."""
    return str(request.getfixturevalue("tmp_path")) if request.param == "disk" else request.getfixturevalue("s3")
