"""The tasks of a build after partitioning: each takes one small item, reads and writes stores, and returns counts."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.graph import exact, knn, metrics, recall
from pumascale.tasks.graph.partitions import collect, flat
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, partition_tasks, read, scratch_of, write
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.parameters import MOST_SEED
from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError


def collect_partition(task: PartitionTask) -> dict[str, Any]:
    """Collect a partition whose neighbours are given."""
    return {"n_rows": len(_collected(task)[0])}


def _collected(task: PartitionTask) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and data of a partition's rows, in which the sample's neighbours are looked for as well."""
    ids, rows, is_own = collect(task.plan, task.partition)
    data = flat(rows)
    del rows
    recall.write_candidates(task.plan, task.name, ids[is_own], data[is_own])
    return ids, data


def local_neighbors(task: PartitionTask) -> dict[str, Any]:
    """Collect a partition's rows, and find their neighbours among themselves, with global ids, into scratch."""
    plan, parameters = task.plan, task.plan.parameters
    ids, data = _collected(task)
    (indices, distances), cells = knn.nearest_neighbors(
        data,
        min(parameters.n_neighbors, len(ids)),
        parameters.metric,
        parameters.metric_kwds,
        angular_rp_forest=parameters.angular_rp_forest,
        random_state=(parameters.random_state + task.partition) % (MOST_SEED + 1),
        n_threads=plan.n_threads,
        n_cells=plan.n_cells,
        axes=None if plan.n_partitions == 1 else read(plan.scratch("axes")),
    )
    found = np.where(indices >= 0, ids[indices], -1)
    cells = np.where(cells < 0, -1, task.partition * knn.MOST_CELLS + cells).astype(np.int32)
    write_neighbors(plan, plan.scratch("neighbors", task.name), ids, found, distances, cells=cells)
    return {"n_rows": len(ids)}


def write_neighbors(
    plan: Plan,
    run: str,
    ids: NDArray[np.int64],
    indices: NDArray[np.int64],
    distances: NDArray[np.float32],
    **others: NDArray[Any],
) -> None:
    """Write neighbours of the rows `ids` as one run for their blocks, filled up to n_neighbors with -1 and inf."""
    missing = ((0, 0), (0, plan.parameters.n_neighbors - indices.shape[1]))
    content: dict[str, NDArray[Any]] = {
        "rows": ids,
        "indices": np.pad(indices, missing, constant_values=-1),
        "distances": np.pad(distances, missing, constant_values=np.inf),
        **others,
    }
    write_run(run, ids // plan.block_rows, len(plan.blocks()), content)


def merge_neighbors(task: BlockTask) -> dict[str, Any]:
    """The best neighbours of a block's rows over all partitions, duplicates removed, far ones cut off."""
    plan = task.plan
    indices, distances, cells = _found_by_partitions(task)
    write(plan.scratch("cells_of"), task.start, cells)
    ids = np.arange(task.start, task.stop)
    indices, distances = best_neighbors(ids, indices, distances, plan.parameters.n_neighbors)
    return write_block(task, indices, distances)


def take_precomputed(task: BlockTask) -> dict[str, Any]:
    """A block's neighbours as the user computed them: checked, the row itself put first, cut to n_neighbors."""
    plan, url = task.plan, str(task.plan.parameters.precomputed_knn)
    rows = slice(task.start, task.stop)
    indices, distances = (read(urls.join(url, name), rows) for name in ("indices", "distances"))
    _check_precomputed(url, task, indices, distances)
    ids = np.arange(task.start, task.stop)
    itself = np.concatenate([ids[:, None], indices], axis=1), np.pad(distances, ((0, 0), (1, 0)))
    chosen, near = best_neighbors(
        ids, itself[0].astype(np.int64), itself[1].astype(np.float32), plan.parameters.n_neighbors
    )
    return write_block(task, chosen, near)


def _check_precomputed(url: str, task: BlockTask, indices: NDArray[Any], distances: NDArray[Any]) -> None:
    known = indices >= 0
    wrong = (indices >= task.plan.n_rows) | (known & ~(distances >= 0))
    wrong[:, 1:] |= known[:, 1:] & known[:, :-1] & (distances[:, 1:] < distances[:, :-1])
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise InputError(
            f"{url}: row {task.start + row} has indices {indices[row].tolist()} and distances "
            f"{distances[row].tolist()}. Expected ids below {task.plan.n_rows} (-1: none) and ascending distances."
        )


def write_block(task: BlockTask, indices: NDArray[np.int64], distances: NDArray[np.float32]) -> dict[str, Any]:
    """Write a block's final neighbours; returns the sum and the number of distances, for the global mean."""
    plan = task.plan
    limit = metrics.disconnection_distance(plan.parameters.metric, plan.parameters.disconnection_distance)
    far = distances >= limit
    indices[far], distances[far] = -1, np.inf
    write(plan.member("knn_indices"), task.start, indices)
    write(plan.member("knn_dists"), task.start, distances)
    finite = distances[np.isfinite(distances)]
    return {"distance_sum": float(finite.sum(dtype=np.float64)), "distance_count": int(finite.size)}


def _found_by_partitions(task: BlockTask) -> list[NDArray[Any]]:
    """What every partition found for the block's rows: indices, distances, cells, each (m, overlap * width)."""
    plan, n_rows = task.plan, task.stop - task.start
    runs = scratch_of(plan, "neighbors", partition_tasks(plan))
    rows, *found = read_runs(runs, task.block, ("rows", "indices", "distances", "cells"))
    order = np.argsort(rows, kind="stable")
    at = rows[order] - task.start
    slot = np.arange(len(at)) - np.searchsorted(at, at)  # which of the row's partitions found it, from 0
    everything = []
    for values, nothing in zip(found, (-1, np.inf, -1), strict=True):
        of_all = np.full((n_rows, plan.overlap, values.shape[1]), nothing, values.dtype)
        of_all[at, slot] = values[order]
        everything.append(of_all.reshape(n_rows, -1))
    return everything


@njit(cache=True)
def best_neighbors(
    ids: NDArray[np.int64], indices: NDArray[np.int64], distances: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The row itself and its nearest distinct others; ties go to the smaller id, so the order of finding is all one."""
    best = np.full((len(ids), n_neighbors), -1, np.int64)
    nearest = np.full((len(ids), n_neighbors), np.inf, np.float32)
    for i in range(len(ids)):
        for new, distance in zip(indices[i], distances[i]):  # noqa: B905 - numba has no strict zip
            if new >= 0:
                exact.insert(best[i], nearest[i], new, np.float32(-1.0) if new == ids[i] else distance)
    return best, np.maximum(nearest, np.float32(0))
