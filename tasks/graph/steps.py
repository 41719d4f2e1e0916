"""The tasks of a build after partitioning: each takes one small item, reads and writes stores, and returns counts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import knn, metrics
from pumascale.tasks.graph.partitions import read_data
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, read
from pumascale.tasks.storage import arrays, urls
from pumascale.tasks.storage.errors import InputError


def local_neighbors(task: PartitionTask) -> dict[str, Any]:
    """Neighbours of a partition's rows among themselves, with global ids, into scratch."""
    plan, parameters = task.plan, task.plan.parameters
    ids, data = read(plan.part(task.partition, "rows")), read_data(plan, task.partition)
    indices, distances = knn.nearest_neighbors(
        data,
        min(parameters.n_neighbors, len(ids)),
        parameters.metric,
        parameters.metric_kwds,
        angular_rp_forest=parameters.angular_rp_forest,
        random_state=parameters.random_state + task.partition,
    )
    write_neighbors(plan, f"neighbors/{task.name}", np.where(indices >= 0, ids[indices], -1), distances)
    return {"n_rows": len(ids)}


def write_neighbors(plan: Plan, name: str, indices: NDArray[np.int64], distances: NDArray[np.float32]) -> None:
    """Write neighbours into scratch, filled up to n_neighbors with -1 and inf."""
    missing = ((0, 0), (0, plan.parameters.n_neighbors - indices.shape[1]))
    arrays.write_whole(plan.scratch(name, "indices"), np.pad(indices, missing, constant_values=-1))
    arrays.write_whole(plan.scratch(name, "distances"), np.pad(distances, missing, constant_values=np.inf))


def merge_neighbors(task: BlockTask) -> dict[str, Any]:
    """The best neighbours of a block's rows over all partitions, duplicates removed, far ones cut off."""
    plan = task.plan
    indices, distances = _found_by_partitions(task)
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
    arrays.open_writable(plan.member("knn_indices"))[task.start : task.stop] = indices
    arrays.open_writable(plan.member("knn_dists"))[task.start : task.stop] = distances
    finite = distances[np.isfinite(distances)]
    return {"distance_sum": float(finite.sum(dtype=np.float64)), "distance_count": int(finite.size)}


def _found_by_partitions(task: BlockTask) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What every partition found for the block's rows, (m, overlap * n_neighbors), -1 and inf where nothing."""
    plan = task.plan
    indices = np.full((task.stop - task.start, plan.overlap, plan.parameters.n_neighbors), -1, np.int64)
    distances = np.full(indices.shape, np.inf, np.float32)
    slot = np.zeros(len(indices), np.int64)
    offsets = read(plan.scratch("offsets"), slice(task.block, task.block + 2))
    members = np.unique(read(plan.scratch("partitions_of"), slice(task.start, task.stop)))
    for partition in members[members >= 0].tolist():
        rows = slice(*offsets[:, partition].tolist())
        at = read(plan.part(partition, "rows"), rows) - task.start
        for name, block in (("indices", indices), ("distances", distances)):
            block[at, slot[at]] = read(plan.scratch("neighbors", f"{partition:06d}", name), rows)
        slot[at] += 1
    return indices.reshape(len(indices), -1), distances.reshape(len(indices), -1)


def best_neighbors(
    ids: NDArray[np.int64], indices: NDArray[np.int64], distances: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The row itself and its nearest distinct others; ties go to the smaller id, so the order of finding is all one."""
    order = np.lexsort((distances, indices), axis=1)
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    again = np.zeros(indices.shape, bool)
    again[:, 1:] = indices[:, 1:] == indices[:, :-1]
    keys = np.where(again | (indices < 0), np.float32(np.inf), distances)
    keys = np.where(~again & (indices == ids[:, None]), np.float32(-1), keys)
    order = np.argsort(keys, axis=1, kind="stable")[:, :n_neighbors]
    indices, keys = np.take_along_axis(indices, order, 1), np.take_along_axis(keys, order, 1)
    return np.where(np.isinf(keys), -1, indices), np.maximum(keys, np.float32(0))
