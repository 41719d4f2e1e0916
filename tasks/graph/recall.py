"""Measured recall: exact neighbours of a random sample of rows, against those in the graph.

Every partition looks for them among the rows that joined it first, when it has these in memory for their neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.metrics import (
    disconnection_distance,
    distance_block,
    distances_of_squares,
    points_of_squares,
)
from pumascale.tasks.graph.plan import Plan, gather, partition_tasks, read, scratch_of
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays

MOST_VALUES = 2**24  # distances to the sample at once: 64 MB
CANDIDATES_AT_ONCE = 2**20  # 12 MB
COLUMNS = ("ids", "distances")

Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]


def write_sample(plan: Plan) -> None:
    """Draw the sample and bring its rows together, so that no task gathers them from all over the source."""
    ids = draw_joined(plan)
    arrays.write_whole(plan.scratch("sample_ids"), ids)
    arrays.write_whole(plan.scratch("sample"), gather(plan.source, ids).astype(np.float32).reshape(len(ids), -1))


def draw_sample(n_rows: int, size: int, random_state: int) -> NDArray[np.int64]:
    """`size` distinct row ids, ascending."""
    generator = np.random.Generator(np.random.Philox(key=[random_state, 7]))
    return np.sort(generator.choice(n_rows, min(size, n_rows), replace=False))


def draw_joined(plan: Plan) -> NDArray[np.int64]:
    """Ids of the rows to measure: those drawn that joined a partition, out of more draws where few did.

    Rows with NaN, and those that an equal row stands for, joined none: they have no neighbours.
    """
    size = asked = plan.parameters.recall_sample
    while True:
        ids = draw_sample(plan.n_rows, size, plan.parameters.random_state)
        ids = ids[gather(plan.scratch("partitions_of"), ids)[:, 0] >= 0]
        if 10 * len(ids) >= asked or size >= plan.n_rows:
            return ids
        size *= 8


def write_candidates(plan: Plan, name: str, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
    """Write which of these rows are nearest to each sampled row, as one run of (sample, n_neighbors)."""
    found, distances = nearest_rows(read(plan.scratch("sample")), rows, plan.parameters)
    found = ids[found]
    distances[found == read(plan.scratch("sample_ids"))[:, None]] = np.inf  # the row itself
    missing = ((0, 0), (0, plan.parameters.n_neighbors - found.shape[1]))
    padded = np.pad(found, missing), np.pad(distances, missing, constant_values=np.inf)
    write_run(plan.scratch("exact", name), np.zeros(len(found), int), 1, dict(zip(COLUMNS, padded, strict=True)))


def exact_neighbors(plan: Plan) -> Nearest:
    """The exact neighbours of the sampled rows, (sample, n_neighbors - 1), ascending; inf where there is none."""
    count, parameters = plan.parameters.n_neighbors - 1, plan.parameters
    n_sampled = len(read(plan.scratch("sample_ids")))
    nearest = _nothing(n_sampled)
    runs = scratch_of(plan, "exact", partition_tasks(plan))
    for first, last in arrays.row_blocks(len(runs), max(1, CANDIDATES_AT_ONCE // max(1, n_sampled * (count + 1)))):
        parts = (part.reshape(last - first, n_sampled, count + 1) for part in read_runs(runs[first:last], 0, COLUMNS))
        nearest = _best(*_side_by_side(nearest, *zip(*parts, strict=True)), count)
    limit = disconnection_distance(parameters.metric, parameters.disconnection_distance)
    nearest[1][nearest[1] >= limit] = np.inf
    return nearest


def nearest_rows(queries: NDArray[np.float32], rows: NDArray[np.float32], parameters: GraphParameters) -> Nearest:
    """The n_neighbors nearest rows to each query, fewer where there are none, in any order."""
    metric, count = parameters.metric, min(parameters.n_neighbors, len(rows))
    points = points_of_squares(metric, queries, rows) if count else None
    if points is None:
        return _by_distances(queries, rows, parameters, count)
    (found, squared), unsure = exact.nearest_to(points[0], points[1], count)
    nearest = found.astype(np.int64), distances_of_squares(squared, metric)
    if len(unsure):
        nearest[0][unsure], nearest[1][unsure] = _by_distances(queries[unsure], rows, parameters, count)
    return nearest


def _by_distances(
    queries: NDArray[np.float32], rows: NDArray[np.float32], parameters: GraphParameters, count: int
) -> Nearest:
    nearest = _nothing(len(queries))
    for start, stop in arrays.row_blocks(len(rows), max(1, MOST_VALUES // max(1, len(queries)))):
        distances = distance_block(queries, rows[start:stop], parameters.metric, parameters.metric_kwds)
        ids = np.broadcast_to(np.arange(start, stop), distances.shape)
        nearest = _best(*_side_by_side(nearest, (ids, distances)), count)
    return nearest


def _nothing(n_sampled: int) -> Nearest:
    return np.empty((n_sampled, 0), np.int64), np.empty((n_sampled, 0), np.float32)


def _side_by_side(*parts: Nearest) -> Nearest:
    ids, distances = zip(*parts, strict=True)
    return np.concatenate(ids, axis=1), np.concatenate(distances, axis=1)


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
