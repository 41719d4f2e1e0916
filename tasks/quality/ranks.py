"""The ranks that a map's neighbours have in the data: two streamed passes, and nothing is sorted but each row's k.

The first pass finds how far away each of a row's k map neighbours is in the data, the second how many candidates are
closer. Rows at one distance share the better rank, so copies of a row cost a map nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.quality.distances import pair_distances, rounding
from pumascale.tasks.quality.nearer import Nearer
from pumascale.tasks.quality.rows import Candidates, candidate_blocks
from pumascale.tasks.storage.rows import read_ids


def data_ranks(
    array: Any,
    ids: NDArray[np.int64],
    candidates: Candidates,
    neighbors: NDArray[np.int64],
    metric: str,
    metric_kwds: dict[str, float],
    on_progress: Callable[[str, int, int], None],
) -> NDArray[np.int64]:
    """Rank of each neighbour among the candidates by distance in the data, the nearest 1; int64 (m, k), rows ascending.

    Parameters
    ----------
    array : zarr.Array
        The source, (n, ...).
    ids : int64 (m,)
        The rows asked about, ascending; a row is no candidate for itself.
    candidates : Candidates
        What a row is ranked among.
    neighbors : int64 (m, k)
        Candidates.
    """
    queries = read_ids(array, ids)
    limits = neighbor_distances(array, queries, candidates, neighbors, metric, metric_kwds)
    limits = np.sort(limits - rounding(limits, queries, metric), axis=1)
    nearer = Nearer(queries, limits, metric, metric_kwds)
    for block, rows in candidate_blocks(array, candidates, len(ids)):
        nearer.add(rows, places(ids, block))
        on_progress("quality", int(block[-1]) + 1, array.shape[0])
    return np.asarray(1 + np.cumsum(nearer.counts[:, :-1], axis=1))


def neighbor_distances(
    array: Any,
    queries: NDArray[np.float32],
    candidates: Candidates,
    neighbors: NDArray[np.int64],
    metric: str,
    metric_kwds: dict[str, float],
) -> NDArray[np.float64]:
    """Distances in the data of each query to its neighbours, float64 (m, k)."""
    result = np.empty(neighbors.size)
    order = np.argsort(neighbors, axis=None, kind="stable")
    wanted = neighbors.ravel()[order]
    for block, rows in candidate_blocks(array, candidates, len(queries)):
        low, high = np.searchsorted(wanted, (block[0], block[-1] + 1))
        # Pairs are copies of rows: no more of them at once than there are queries.
        for start in range(low, high, len(queries)):
            part = slice(start, min(start + len(queries), high))
            query, row = queries[order[part] // neighbors.shape[1]], rows[np.searchsorted(block, wanted[part])]
            result[order[part]] = pair_distances(query, row, metric, metric_kwds)
    return result.reshape(neighbors.shape)


def places(ids: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in `among` each id is, int64 as `ids`, -1: nowhere; both ascending."""
    if len(among) == 0:
        return np.full(len(ids), -1)
    at = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[at] == ids, at, -1)
