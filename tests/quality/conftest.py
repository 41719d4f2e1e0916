"""Small stored data sets, and what is known of them from the definitions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays

Store = Callable[[NDArray[Any]], str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write an array and give its URL."""

    def write(values: NDArray[Any]) -> str:
        url = str(tmp_path / f"array-{len(list(tmp_path.iterdir()))}")
        arrays.create_array(url, shape=values.shape, dtype=values.dtype)[:] = values
        return url

    return write


@pytest.fixture(scope="session")
def rows() -> NDArray[np.float32]:
    """600 rows of 12 features in four clusters, positive, so that every metric has a meaning."""
    generator = np.random.default_rng(0)
    centers = generator.uniform(2, 6, (4, 12))
    return np.abs(centers[np.arange(600) % 4] + generator.normal(0, 0.6, (600, 12))).astype(np.float32)


@pytest.fixture(scope="session")
def points(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """A passable map of the rows: their two main directions, and some noise."""
    centered = rows - rows.mean(axis=0)
    plane = centered @ np.linalg.svd(centered, full_matrices=False)[2][:2].T
    return np.asarray(plane + np.random.default_rng(1).normal(0, 0.3, plane.shape), np.float32)
