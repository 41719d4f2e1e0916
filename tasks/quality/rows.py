"""Rows for the measures: which are sampled, and all candidates in blocks that fit beside their distances to them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.rows import read_blocks

BLOCK_VALUES = 2**23  # of the rows, and of their distances: 64 MB in float64
SAMPLE_VALUES = 2**27  # of all sampled rows: 1 GB in float64


def draw(rows: NDArray[np.int64], sample: int, random_state: int, n_features: int) -> NDArray[np.int64]:
    """At most `sample` of `rows`, ascending; fewer where the rows are so wide that memory would not be bounded."""
    size = min(sample, len(rows), max(1, SAMPLE_VALUES // n_features))
    return np.sort(np.random.default_rng(random_state).choice(rows, size, replace=False))


def candidate_blocks(
    array: Any, candidates: NDArray[np.int64], n_queries: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Ids and flattened rows of the candidates (ascending), block by block; blocks without any are not read."""
    n_features = int(np.prod(array.shape[1:]))
    return read_blocks(array, candidates, max(1, BLOCK_VALUES // max(n_features, n_queries)))
