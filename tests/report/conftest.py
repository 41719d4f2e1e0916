"""A small labelled map, and what reads pictures back."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pumascale.tasks.report.colors import class_colors
from pumascale.tasks.report.labels import Classes


def pixels(png: bytes) -> NDArray[Any]:
    """PNG bytes as uint8 (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def classes_of(codes: NDArray[Any], names: list[str]) -> Classes:
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return Classes(np.asarray(codes, np.int64), names, counts, class_colors(len(names)))


@pytest.fixture(scope="session")
def points() -> NDArray[np.float32]:
    """Three clouds of 100 points at (0, 0), (9, 0), (0, 9)."""
    centers = np.repeat(np.array([[0, 0], [9, 0], [0, 9]]), 100, axis=0)
    return (centers + np.random.default_rng(0).normal(0, 0.6, (300, 2))).astype(np.float32)


@pytest.fixture(scope="session")
def classes() -> Classes:
    return classes_of(np.repeat([0, 1, 2], 100), ["left below", "right", "above"])
