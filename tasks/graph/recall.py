"""Measured recall: exact neighbours of a random sample of rows, found block by block, against those in the graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph.metrics import distance_block
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.finite import finite_rows


@dataclass(frozen=True)
class Candidates:
    """The task: the nearest rows of one block to the sampled rows `ids`."""

    source: str
    block: tuple[int, int]
    ids: tuple[int, ...]
    n_neighbors: int
    metric: str
    metric_kwds: tuple[tuple[str, float], ...]


Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]


def block_rows(n_features: int) -> int:
    """Rows per block: 64 MB of them."""
    return max(1, 2**24 // n_features)


def draw_sample(n_rows: int, size: int, random_state: int) -> NDArray[np.int64]:
    """`size` distinct row ids, ascending."""
    generator = np.random.Generator(np.random.Philox(key=[random_state, 7]))
    return np.sort(generator.choice(n_rows, min(size, n_rows), replace=False))


def block_candidates(task: Candidates) -> Nearest:
    """Ids and distances of the block's rows nearest to each sampled row, (sample, <= n_neighbors - 1)."""
    array = arrays.open_array(task.source)
    queries = read_sample(array, np.array(task.ids))
    start, stop = task.block
    rows = arrays.read_rows(array, start, stop).reshape(stop - start, -1)
    finite = finite_rows(rows)
    distances = distance_block(queries, rows[finite], task.metric, dict(task.metric_kwds))
    ids = np.arange(start, stop)[finite]
    distances[np.array(task.ids)[:, None] == ids[None, :]] = np.inf
    return _best(np.broadcast_to(ids, distances.shape), distances, task.n_neighbors - 1)


def read_sample(array: Any, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows `ids`, flattened, float32."""
    rows = np.asarray(array.oindex[ids] if array.ndim == 2 else array.oindex[(ids, *[slice(None)] * (array.ndim - 1))])
    return rows.astype(np.float32).reshape(len(ids), -1)


def merge_candidates(parts: Sequence[Nearest], n_neighbors: int) -> Nearest:
    """The nearest over all blocks, (sample, n_neighbors - 1), ascending."""
    ids = np.concatenate([part[0] for part in parts], axis=1)
    distances = np.concatenate([part[1] for part in parts], axis=1)
    return _best(ids, distances, n_neighbors - 1)


def _best(ids: NDArray[np.int64], distances: NDArray[np.float32], count: int) -> Nearest:
    count = min(count, distances.shape[1])
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    chosen = np.take_along_axis(distances, nearest, axis=1)
    order = np.argsort(chosen, axis=1, kind="stable")
    columns = np.take_along_axis(nearest, order, axis=1)
    return np.take_along_axis(ids, columns, axis=1), np.take_along_axis(chosen, order, axis=1)


def recall_per_row(
    exact: Nearest, knn_indices: NDArray[np.int64], knn_dists: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Share of each sampled row's exact neighbours that the graph has, or that it ties with; float64 (sample,)."""
    found = knn_indices[:, 1:]
    hits = (exact[0][:, :, None] == found[:, None, :]).any(axis=2)
    # Rows at the same distance as the last exact neighbour are as good as it.
    limit = exact[1][:, -1] * np.float32(1 + 1e-5) + np.float32(1e-7)
    ties = ((found >= 0) & (knn_dists[:, 1:] <= limit[:, None])).sum(axis=1)
    return np.asarray(np.maximum(hits.sum(axis=1), np.minimum(ties, exact[0].shape[1])) / exact[0].shape[1])


def mean_and_interval(recalls: NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    """Mean recall with its 95 % interval (normal approximation over rows), clipped to [0, 1]."""
    mean = float(recalls.mean())
    half = 1.96 * float(recalls.std(ddof=1)) / len(recalls) ** 0.5 if len(recalls) > 1 else 1.0
    return mean, (max(0.0, mean - half), min(1.0, mean + half))
