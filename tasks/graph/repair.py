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

from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, gather, read
from pumascale.tasks.graph.steps import best_neighbors, write_block, write_neighbors
from pumascale.tasks.storage import arrays

JOINED_AT_ONCE = 8192


def repair_partition(task: PartitionTask) -> dict[str, Any]:
    """Better neighbours of the rows whose first partition this is, into scratch; the old ones stay as they are."""
    plan = task.plan
    ids = own_rows(plan, task.partition)
    parts = [_join(plan, ids[at : at + JOINED_AT_ONCE]) for at in range(0, len(ids), JOINED_AT_ONCE)]
    k = plan.parameters.n_neighbors
    indices = np.concatenate([part[0] for part in parts]) if parts else np.empty((0, k), np.int64)
    distances = np.concatenate([part[1] for part in parts]) if parts else np.empty((0, k), np.float32)
    name = f"repair-{task.turn}/{task.name}"
    arrays.write_whole(plan.scratch(name, "rows"), ids)
    write_neighbors(plan, name, indices, distances)
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
    candidates = _new_ones(candidates, known)
    needed = np.union1d(ids, candidates[candidates >= 0])
    data = gather(plan.source, needed).astype(np.float32).reshape(len(needed), -1)
    local = np.where(candidates >= 0, np.searchsorted(needed, candidates), -1)
    arguments = tuple(float(value) for value in plan.parameters.metric_kwds.values())
    found = _distances(plan.parameters.metric)(data, np.searchsorted(needed, ids), local, arguments)
    both = np.concatenate([known, candidates], axis=1), np.concatenate([distances, found], axis=1)
    better = best_neighbors(ids, *both, known.shape[1])
    return *better, int((better[0] != known).any(axis=1).sum())


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
    first = read(plan.scratch("partitions_of"), slice(task.start, task.stop))[:, 0]
    for partition in np.unique(first[first >= 0]).tolist():
        name = f"repair-{task.turn}/{partition:06d}"
        ids = read(plan.scratch(name, "rows"))
        rows = slice(*(int(at) for at in np.searchsorted(ids, (task.start, task.stop))))
        indices[ids[rows] - task.start] = read(plan.scratch(name, "indices"), rows)
        distances[ids[rows] - task.start] = read(plan.scratch(name, "distances"), rows)
    return write_block(task, indices, distances)
