"""Rows of an array by id, ascending: all at once, or block by block. Blocks without any of them are not read."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, chunk_objects

BLOCK_VALUES = 2**22  # that are handed on at once: 16 MB in float32


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


def read_blocks(array: Any, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Some of `ids` (ascending) and their rows, flattened, block by block: float32 (m, n_features)."""

    def between(start: int, stop: int) -> NDArray[np.int64]:
        return ids[slice(*np.searchsorted(ids, (start, stop)))]

    return read_chosen(array, between, max(1, BLOCK_VALUES // math.prod(array.shape[1:])))


def read_chosen(
    array: Any, between: Callable[[int, int], NDArray[np.int64]], most_rows: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """As `read_blocks`, the ids `between(start, stop)` of every block, in parts of at most `most_rows` rows.

    What is read is whole chunks, and it is cut in memory: no chunk is decoded twice, however large it is.
    """
    for start, stop in arrays.row_blocks(array.shape[0], chunk_objects.block_rows(array)):
        yield from _read_parts(array, start, stop, between, most_rows)


def _read_parts(
    array: Any, start: int, stop: int, between: Callable[[int, int], NDArray[np.int64]], most_rows: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    rows: NDArray[np.float32] | None = None
    for low in range(start, stop, most_rows):
        ids = between(low, min(low + most_rows, stop))
        if len(ids):
            if rows is None:
                rows = arrays.read_rows(array, start, stop).reshape(stop - start, -1)
            yield ids, rows[ids - start]
