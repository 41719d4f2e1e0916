"""Repair: neighbours of neighbours, across the borders of partitions.

A row at a border has near rows in a partition that it did not join; one of its neighbours mostly did. So each row looks
at its neighbours' neighbours (the local join of NN-descent, Dong et al. 2011, section 2.3), some thousand rows at a
time, in the order of partitions: most candidates are then near each other, and read together.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from pynndescent.distances import named_distances

from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, gather, partition_tasks, read, scratch_of
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.graph.steps import best_neighbors, write_block

JOINED_AT_ONCE = 8192


def repair_partition(task: PartitionTask) -> dict[str, Any]:
    """Better neighbours of the rows whose first partition this is, into scratch; the old ones stay as they are."""
    plan = task.plan
    ids = own_rows(plan, task.partition)
    parts = [_join(plan, ids[at : at + JOINED_AT_ONCE]) for at in range(0, len(ids), JOINED_AT_ONCE)]
    k = plan.parameters.n_neighbors
    indices = np.concatenate([part[0] for part in parts]) if parts else np.empty((0, k), np.int64)
    distances = np.concatenate([part[1] for part in parts]) if parts else np.empty((0, k), np.float32)
    run, n_blocks = plan.scratch(f"repair-{task.turn}", task.name), len(plan.blocks())
    write_run(run, ids // plan.block_rows, n_blocks, {"rows": ids, "indices": indices, "distances": distances})
    return {"n_improved": int(sum(part[2] for part in parts))}


def own_rows(plan: Plan, partition: int) -> NDArray[np.int64]:
    """Ids of the rows that joined this partition first, ascending."""
    ids = read(plan.part(partition, "rows"))
    return np.asarray(ids[gather(plan.scratch("partitions_of"), ids)[:, 0] == partition])


def _join(plan: Plan, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    known, distances = gather(plan.member("knn_indices"), ids), gather(plan.member("knn_dists"), ids)
    near = np.unique(known[known >= 0])
    further = gather(plan.member("knn_indices"), near)
    candidates = further[np.searchsorted(near, np.maximum(known, near[0]))].reshape(len(ids), -1)
    candidates = _strangers(plan, ids, _new_ones(candidates, known))
    needed = np.union1d(ids, candidates[candidates >= 0])
    data = _gather_rows(plan, needed)
    local = np.where(candidates >= 0, np.searchsorted(needed, candidates), -1)
    arguments = tuple(float(value) for value in plan.parameters.metric_kwds.values())
    found = _distances(plan.parameters.metric)(data, np.searchsorted(needed, ids), local, arguments)
    both = np.concatenate([known, candidates], axis=1), np.concatenate([distances, found], axis=1)
    better = best_neighbors(ids, *both, known.shape[1])
    return *better, int((better[0] != known).any(axis=1).sum())


def _strangers(plan: Plan, ids: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """The candidates that share no partition with the row: the others have met it there."""
    if plan.n_partitions == 1:
        return candidates
    near = np.unique(candidates[candidates >= 0])
    if len(near) == 0:
        return candidates
    joined = gather(plan.scratch("partitions_of"), near)[np.searchsorted(near, np.maximum(candidates, near[:1]))]
    own = gather(plan.scratch("partitions_of"), ids)
    met = np.zeros(candidates.shape, bool)
    for column in range(plan.overlap):
        met |= (joined == own[:, None, column : column + 1]).any(axis=2)
    return np.where(met, -1, candidates)


def _gather_rows(plan: Plan, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows `ids`, each out of the first partition that it joined: near rows lie in few of them, side by side."""
    if plan.n_partitions == 1:
        return _flat(gather(plan.source, ids))
    first, data = gather(plan.scratch("partitions_of"), ids)[:, 0], np.empty((len(ids), plan.n_features), np.float32)
    for partition in np.unique(first).tolist():
        mine = first == partition
        at = np.searchsorted(read(plan.part(partition, "rows")), ids[mine])
        data[mine] = _flat(gather(plan.part(partition, "data"), at))
    return data


def _flat(rows: NDArray[Any]) -> NDArray[np.float32]:
    return rows.reshape(len(rows), -1).astype(np.float32)


def _new_ones(candidates: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's candidates sorted, those it has already and repetitions made -1."""
    candidates = np.sort(candidates, axis=1)
    old = np.zeros(candidates.shape, bool)
    old[:, 1:] = candidates[:, 1:] == candidates[:, :-1]
    for column in range(known.shape[1]):
        old |= candidates == known[:, column : column + 1]
    return np.where(old, -1, candidates)


@cache
def _distances(metric: str) -> Any:
    """A compiled loop of pynndescent's own distance over given pairs; inf where there is no candidate."""
    distance = named_distances[metric]

    @njit(parallel=True)
    def pairs(data: Any, rows: Any, candidates: Any, arguments: Any) -> Any:
        result = np.full(candidates.shape, np.inf, np.float32)
        for i in prange(candidates.shape[0]):
            for j in range(candidates.shape[1]):
                if candidates[i, j] >= 0:
                    result[i, j] = distance(data[rows[i]], data[candidates[i, j]], *arguments)
        return result

    return pairs


def merge_repaired(task: BlockTask) -> dict[str, Any]:
    """Put a block's repaired neighbours in place."""
    plan = task.plan
    indices = np.full((task.stop - task.start, plan.parameters.n_neighbors), -1, np.int64)
    distances = np.full(indices.shape, np.inf, np.float32)
    runs = scratch_of(plan, f"repair-{task.turn}", partition_tasks(plan))
    rows, *found = read_runs(runs, task.block, ("rows", "indices", "distances"))
    indices[rows - task.start], distances[rows - task.start] = found
    return write_block(task, indices, distances)
