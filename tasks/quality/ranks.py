"""One pass over the source: the exact neighbours of sampled rows, and the ranks of given rows among all candidates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays

BLOCK_VALUES = 2**24


@dataclass
class Ranks:
    """What the pass found, in the order of the sampled rows."""

    data_neighbors: NDArray[np.int64]  # (m, k) exact nearest candidates
    data_distances: NDArray[np.float32]  # (m, k)
    ranks: NDArray[np.int64]  # (m, k) of the map's neighbours among all candidates, nearest 1


def scan_source(
    source: str,
    ids: NDArray[np.int64],
    candidates: NDArray[np.int64],
    map_neighbors: NDArray[np.int64],
    k: int,
    metric: str,
    metric_kwds: dict[str, float],
    on_progress: Callable[[str, int, int], None],
) -> Ranks:
    """Read `source` once and find both; a row is no neighbour of itself."""
    array = arrays.open_source(source)
    queries = read_ids(array, ids)
    limits = neighbor_distances(array, queries, map_neighbors, metric, metric_kwds)
    found = Ranks(np.full((len(ids), k), -1), np.full((len(ids), k), np.inf, np.float32), np.ones(limits.shape, np.int64))
    step = max(1, BLOCK_VALUES // max(queries.shape[1], len(ids)))
    for start, stop in arrays.row_blocks(array.shape[0], step):
        block = candidates[slice(*np.searchsorted(candidates, (start, stop)))]
        rows = arrays.read_rows(array, start, stop).reshape(stop - start, -1)[block - start]
        if len(block):
            _take_in(found, distances(queries, rows, metric, metric_kwds), ids, block, limits)
        on_progress("quality", stop, array.shape[0])
    return found


def _take_in(
    found: Ranks, block: NDArray[np.float32], ids: NDArray[np.int64], columns: NDArray[np.int64], limits: NDArray[np.float32]
) -> None:
    block[ids[:, None] == columns[None, :]] = np.inf
    closer = np.sort(block, axis=1)
    for row, sorted_row in enumerate(closer):
        found.ranks[row] += np.searchsorted(sorted_row, limits[row], side="left")
    k = found.data_neighbors.shape[1]
    both = np.concatenate([found.data_distances, block], axis=1)
    names = np.concatenate([found.data_neighbors, np.broadcast_to(columns, block.shape)], axis=1)
    nearest = np.argpartition(both, k - 1, axis=1)[:, :k]
    found.data_distances = np.take_along_axis(both, nearest, 1)
    found.data_neighbors = np.take_along_axis(names, nearest, 1)


def neighbor_distances(
    array: Any, queries: NDArray[np.float32], neighbors: NDArray[np.int64], metric: str, metric_kwds: dict[str, float]
) -> NDArray[np.float32]:
    """Distances in the data between each query and its neighbours, float32 (m, k).

    Lowered by a few parts in a million, so that a row never outranks itself by rounding.
    """
    result = np.empty(neighbors.shape, np.float32)
    for start, stop in arrays.row_blocks(len(queries), 256):
        names, inverse = np.unique(neighbors[start:stop], return_inverse=True)
        block = distances(queries[start:stop], read_ids(array, names), metric, metric_kwds)
        result[start:stop] = np.take_along_axis(block, inverse.reshape(neighbors[start:stop].shape), 1)
    return result * np.float32(1 - 4e-6)


def read_ids(array: Any, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows `ids` (ascending), flattened, float32."""
    rows = array.oindex[(ids, *[slice(None)] * (array.ndim - 1))]
    return np.asarray(rows).astype(np.float32).reshape(len(ids), -1)


def distances(
    queries: NDArray[np.float32], rows: NDArray[np.float32], metric: str, metric_kwds: dict[str, float]
) -> NDArray[np.float32]:
    """All distances, float32 (n_queries, n_rows): scikit-learn's, or pynndescent's where it has no such metric."""
    from pynndescent.distances import named_distances
    from sklearn.metrics import pairwise_distances
    from sklearn.metrics.pairwise import PAIRWISE_DISTANCE_FUNCTIONS

    known = metric if metric in PAIRWISE_DISTANCE_FUNCTIONS and not metric_kwds else None
    if known or metric in {"correlation", "hamming", "chebyshev", "canberra", "braycurtis"}:
        return np.asarray(pairwise_distances(queries, rows, metric=metric), np.float32)
    function, arguments = named_distances[metric], tuple(metric_kwds.values())
    return np.array([[function(a, b, *arguments) for b in rows] for a in queries], np.float32)
