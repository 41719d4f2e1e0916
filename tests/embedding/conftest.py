"""A source of random rows and a network that is a plain matrix product."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from pumascale.tasks.storage import arrays, urls

Rows = NDArray[np.float32]
WEIGHTS = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)


def project(rows: Rows) -> Rows:
    """A linear encoder of rows of 12 values."""
    return np.asarray(rows.reshape(len(rows), -1) @ WEIGHTS, np.float32)


Write = Callable[..., tuple[str, Rows]]


@pytest.fixture
def write_source(workspace: str) -> Write:
    """Writes `n` random rows; gives their URL and the rows."""

    def write(n: int, *, row_shape: tuple[int, ...] = (12,), dtype: DTypeLike = np.float32) -> tuple[str, Rows]:
        rows = (100 * np.random.default_rng(0).normal(size=(n, *row_shape))).astype(dtype)
        url = urls.join(workspace, "source")
        arrays.create_array(url, shape=rows.shape, dtype=rows.dtype, shard_rows=1000)[:] = rows
        return url, rows

    return write
