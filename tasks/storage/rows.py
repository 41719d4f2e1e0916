"""Rows of an array by id, ascending: all at once, or block by block. Blocks without any of them are not read."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays

BLOCK_VALUES = 2**22  # 16 MB in float32


def read_ids(array: Any, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows `ids` (ascending), flattened, float32 (len(ids), n_features).

    Few are read at once, out of their chunks side by side. Where there are as many as chunks, nearly all of the array
    is read anyway: then block by block, so that memory holds one block beside them.
    """
    shape = len(ids), math.prod(array.shape[1:])
    if len(ids) * array.chunks[0] < array.shape[0]:
        return arrays.read_ids(array, ids).astype(np.float32).reshape(shape)
    rows, done = np.empty(shape, np.float32), 0
    for some, block in read_blocks(array, ids):
        rows[done : done + len(some)] = block
        done += len(some)
    return rows


def sample(n_rows: int, count: int, random_state: int = 42) -> NDArray[np.int64]:
    """About `count` of `n_rows` rows, ascending: those that so many draws hit. Memory is for them, not for all."""
    return np.unique(np.random.default_rng(random_state).integers(0, n_rows, count))


def read_blocks(
    array: Any, ids: NDArray[np.int64], block_rows: int | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Some of `ids` (ascending) and their rows, flattened, block by block: float32 (m, n_features)."""
    n_features = math.prod(array.shape[1:])
    for start, stop in arrays.row_blocks(array.shape[0], block_rows or max(1, BLOCK_VALUES // n_features)):
        chosen = ids[slice(*np.searchsorted(ids, (start, stop)))]
        if len(chosen):
            yield chosen, arrays.read_rows(array, start, stop).reshape(stop - start, -1)[chosen - start]
