"""Measured recall: exact neighbours of a random sample of rows, found block by block, against those in the graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.metrics import distance_block, distances_of_squares, points_of_squares
from pumascale.tasks.graph.plan import BlockTask, Plan, gather, read
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays

MOST_VALUES = 2**24  # of a block's rows, and of their distances to the sample: 64 MB

Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]


def candidate_tasks(plan: Plan, n_sampled: int) -> list[BlockTask]:
    """Tasks of as many rows as fit, since each begins its lists anew."""
    blocks = arrays.row_blocks(plan.n_rows, max(1, MOST_VALUES // max(plan.n_features, n_sampled)))
    return [BlockTask(plan, start, stop) for start, stop in blocks]


def draw_sample(n_rows: int, size: int, random_state: int) -> NDArray[np.int64]:
    """`size` distinct row ids, ascending."""
    generator = np.random.Generator(np.random.Philox(key=[random_state, 7]))
    return np.sort(generator.choice(n_rows, min(size, n_rows), replace=False))


def draw_joined(plan: Plan) -> NDArray[np.int64]:
    """Ids of the rows to measure: those drawn that joined a partition, out of more draws where few did."""
    size = asked = plan.parameters.recall_sample
    while True:
        ids = draw_sample(plan.n_rows, size, plan.parameters.random_state)
        ids = ids[gather(plan.scratch("partitions_of"), ids)[:, 0] >= 0]
        if 10 * len(ids) >= asked or size >= plan.n_rows:
            return ids
        size *= 8


def write_sample(plan: Plan, ids: NDArray[np.int64]) -> None:
    """Bring the sampled rows together, so that no block's task gathers them from all over the source."""
    arrays.write_whole(plan.scratch("sample_ids"), ids)
    arrays.write_whole(plan.scratch("sample"), gather(plan.source, ids).astype(np.float32).reshape(len(ids), -1))


def block_candidates(task: BlockTask) -> Nearest:
    """Ids and distances of the block's rows nearest to each sampled row, (sample, <= n_neighbors)."""
    plan, parameters = task.plan, task.plan.parameters
    rows = arrays.read_rows(arrays.open_array(plan.source), task.start, task.stop)
    # Rows with NaN, and those that an equal row stands for, joined no partition.
    joined = read(plan.scratch("partitions_of"), slice(task.start, task.stop))[:, 0] >= 0
    rows, ids = rows.reshape(len(rows), -1)[joined], np.arange(task.start, task.stop)[joined]
    found, distances = nearest_rows(read(plan.scratch("sample")), rows, parameters)
    distances[ids[found] == read(plan.scratch("sample_ids"))[:, None]] = np.inf  # the row itself
    return ids[found], distances


def nearest_rows(queries: NDArray[np.float32], rows: NDArray[np.float32], parameters: GraphParameters) -> Nearest:
    """The n_neighbors nearest rows to each query, fewer where there are none, in any order."""
    metric, count = parameters.metric, min(parameters.n_neighbors, len(rows))
    points = points_of_squares(metric, queries, rows)
    if points is None or count == 0:
        return _by_distances(queries, rows, parameters, count)
    (found, squared), unsure = exact.nearest_to(points[0], points[1], count)
    nearest = found.astype(np.int64), distances_of_squares(squared, metric)
    if len(unsure):
        nearest[0][unsure], nearest[1][unsure] = _by_distances(queries[unsure], rows, parameters, count)
    return nearest


def _by_distances(
    queries: NDArray[np.float32], rows: NDArray[np.float32], parameters: GraphParameters, count: int
) -> Nearest:
    distances = distance_block(queries, rows, parameters.metric, parameters.metric_kwds)
    return _best(np.broadcast_to(np.arange(len(rows)), distances.shape), distances, count)


def merge_candidates(parts: Sequence[Nearest], n_neighbors: int, limit: float) -> Nearest:
    """The nearest over all blocks, (sample, n_neighbors - 1), ascending; inf from the disconnection distance on."""
    ids = np.concatenate([part[0] for part in parts], axis=1)
    distances = np.concatenate([part[1] for part in parts], axis=1)
    distances[distances >= limit] = np.inf
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
    """Share of each sampled row's exact neighbours that the graph has, or that it ties with; float64 (sample,).

    Exact neighbours at an infinite distance are none: a row without any has all of them.
    """
    found, expected = knn_indices[:, 1:], np.isfinite(exact[1])
    hits = np.zeros_like(expected)
    for one in found.T:  # together they would be a gigabyte for a thousand neighbours
        hits |= expected & (exact[0] == one[:, None])
    # Rows at the same distance as the last exact neighbour are as good as it.
    limit = exact[1].max(axis=1, initial=0, where=expected) * np.float32(1 + 1e-5) + np.float32(1e-7)
    ties = ((found >= 0) & (knn_dists[:, 1:] <= limit[:, None])).sum(axis=1)
    count = expected.sum(axis=1)
    share = np.maximum(hits.sum(axis=1), np.minimum(ties, count)) / np.maximum(count, 1)
    return np.where(count, share, 1.0)


def mean_and_interval(recalls: NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    """Mean recall with its 95 % interval (normal approximation over rows), clipped to [0, 1]."""
    mean = float(recalls.mean())
    half = 1.96 * float(recalls.std(ddof=1)) / len(recalls) ** 0.5 if len(recalls) > 1 else 1.0
    return mean, (max(0.0, mean - half), min(1.0, mean + half))
