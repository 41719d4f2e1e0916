"""The fuzzy union by partition: directed strengths to undirected edges, each once, both ends resident.

Both directions of a pair belong to the same partition: the first that holds both its ends, where it was found. A pair
that none holds (a repair pass found it) belongs to the first partition of its smaller id, which takes the other end in
as a guest, data included. So the transpose of the union is one shuffle of directed edges, from blocks to partitions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy
from pumascale.tasks.graph.connectivity import note_strongest, note_unsure
from pumascale.tasks.graph.pairs import places_in, undirected_edges
from pumascale.tasks.graph.partitions import gather_data, read_ids
from pumascale.tasks.graph.plan import (
    BlockTask,
    PartitionTask,
    Plan,
    block_tasks,
    lines,
    partition_groups,
    read,
    scratch_of,
    write,
)
from pumascale.tasks.graph.runs import read_runs, write_sorted
from pumascale.tasks.storage import arrays, graph_store

JOINED_ROWS = 2**16  # in one task: a tenth of a second

Directed = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]  # head, tail (global ids), strength


def memberships(task: BlockTask) -> dict[str, Any]:
    """Sigmas and rhos of a block, and its directed edges as one run for the partitions."""
    plan, rows = task.plan, slice(task.start, task.stop)
    indices, distances = read(plan.member("knn_indices"), rows), read(plan.member("knn_dists"), rows)
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, task.mean_distance, plan.parameters.local_connectivity)
    write(plan.member("sigmas"), task.start, sigmas)
    write(plan.member("rhos"), task.start, rhos)
    strength = fuzzy.membership_strengths(np.arange(task.start, task.stop), indices, distances, sigmas, rhos)
    scatter_edges(plan, plan.scratch("directed", task.name), task.start, indices, strength)
    return {"n_rows": task.stop - task.start, "n_unsure": note_unsure(task, strength)}


def scatter_edges(plan: Plan, run: str, start: int, indices: NDArray[np.int64], strength: NDArray[np.float32]) -> None:
    """Write the edges of the rows from `start` on as one run for the partitions that they belong to.

    Parameters
    ----------
    indices, strength : (m, n_neighbors)
        The rows' neighbours; an edge of strength 0 is none.
    """
    heads = read(plan.scratch("partitions_of"), slice(start, start + len(indices)))
    tails, at = lines(plan.scratch("partitions_of"), np.maximum(indices, 0).ravel())
    owner, bounds = edge_owners(start, indices, strength, heads, tails, at.reshape(indices.shape), plan.n_partitions)
    ids = np.empty((2, bounds[-1]), np.int32 if plan.n_rows < 2**31 else np.int64)
    names, edges = ("head", "tail", "strength"), sorted_edges(start, indices, strength, owner, bounds, ids)
    write_sorted(run, bounds, dict(zip(names, edges, strict=True)))


@njit(cache=True)
def edge_owners(
    start: int,
    indices: NDArray[np.int64],
    strength: NDArray[np.float32],
    heads: NDArray[np.int32],
    tails: NDArray[np.int32],
    at: NDArray[np.int64],
    n_partitions: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The partition that each edge belongs to, and where those of each partition begin once they are sorted by it.

    Parameters
    ----------
    heads, tails : int32 (m, overlap), (t, overlap)
        The partitions that the ends joined, nearest first; -1 is none.
    at : int64 (m, n_neighbors)
        Where in `tails` the neighbours are.

    Returns
    -------
    owner : int32 (m, n_neighbors)
        -1 where there is no edge, or an end of it joined none.
    bounds : int64 (n_partitions + 1,)
    """
    owner, bounds = np.full(indices.shape, -1, np.int32), np.zeros(n_partitions + 1, np.int64)
    for i in range(len(indices)):
        of_head = heads[i]
        for j in range(indices.shape[1]):
            of_tail = tails[at[i, j]]
            if not strength[i, j] > 0 or of_head[0] < 0 or of_tail[0] < 0:
                continue
            least = n_partitions
            for one in of_head:
                for other in of_tail:
                    if 0 <= one == other < least:
                        least = one
            if least == n_partitions:
                least = of_head[0] if start + i < indices[i, j] else of_tail[0]
            owner[i, j] = least
            bounds[least + 1] += 1
    return owner, np.cumsum(bounds)


@njit(cache=True)
def sorted_edges(
    start: int,
    indices: NDArray[np.int64],
    strength: NDArray[np.float32],
    owner: NDArray[np.int32],
    bounds: NDArray[np.int64],
    ids: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """Heads, tails and strengths of the edges of one partition after the other; the ids are put into `ids` (2, e)."""
    at, sorted_strength = bounds[:-1].copy(), np.empty(ids.shape[1], np.float32)
    for i in range(len(indices)):
        for j in range(indices.shape[1]):
            if owner[i, j] >= 0:
                place = at[owner[i, j]]
                at[owner[i, j]] += 1
                ids[0, place], ids[1, place] = start + i, indices[i, j]
                sorted_strength[place] = strength[i, j]
    return ids[0], ids[1], sorted_strength


def gather_edges(plan: Plan, kind: str, partition: int) -> Directed:
    """The directed edges that belong to a partition, out of the runs of all blocks."""
    runs = scratch_of(plan, kind, block_tasks(plan))
    head, tail, strength = read_runs(runs, partition, ("head", "tail", "strength"))
    return head, tail, strength


@dataclass(frozen=True)
class JoinTask:
    """Join the edges of some partitions, and note each row's strongest one there where that is asked for."""

    plan: Plan
    partitions: tuple[int, ...]
    is_noted: bool

    @property
    def name(self) -> str:
        """Names the task's receipt."""
        return f"{self.partitions[0]:06d}"


def join_tasks(plan: Plan, *, is_noted: bool) -> list[JoinTask]:
    """Tasks of several partitions where these are small."""
    return [JoinTask(plan, some, is_noted) for some in partition_groups(plan, JOINED_ROWS // plan.overlap)]


def join_partitions(task: JoinTask) -> dict[str, Any]:
    """Write the undirected edges that belong to some partitions."""
    joined = [partition_edges(PartitionTask(task.plan, partition), task.is_noted) for partition in task.partitions]
    counts = {name: sum(one[name] for one in joined) for name in ("n_edges", "n_guests")}
    return counts | {"least": min(one["least"] for one in joined), "heaviest": max(one["heaviest"] for one in joined)}


def partition_edges(task: PartitionTask, is_noted: bool) -> dict[str, Any]:
    """Write the undirected edges that belong to a partition, its guests taken in."""
    plan = task.plan
    joined = read_ids(plan, task.partition)
    head, tail, strength = gather_edges(plan, "directed", task.partition)
    ids, head, tail = with_guests(joined, head, tail)
    content = graph_store.Partition(
        ids, *undirected_edges(head, tail, strength, len(ids), plan.parameters.set_op_mix_ratio)
    )
    if plan.parameters.labels is None:
        settle(plan, task.partition, content)
        if is_noted:
            note_strongest(task, content, content.weight)
    else:
        graph_store.write_partition(plan.scratch("unsupervised"), task.partition, content)
    counts = {"n_edges": len(content.weight), "n_guests": len(ids) - len(joined)}
    return counts | {"least": least(content.weight), "heaviest": heaviest(content.weight)}


def heaviest(weight: NDArray[np.float32]) -> float:
    """The largest weight; 0 where there is none."""
    return float(weight.max(initial=0.0))


def least(weight: NDArray[np.float32]) -> float:
    """The smallest weight; 1 where there is none."""
    return float(weight.min(initial=1.0))


def with_guests(
    joined: NDArray[np.int64], head: NDArray[np.int64], tail: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A partition's rows, behind them its guests, ascending: ends of its edges that did not join it.

    Returns
    -------
    ids : int64 (m,)
    head, tail : int64 (e,)
        The ends as places in `ids`.
    """
    ends = np.concatenate([head, tail])
    place = places_in(joined, ends)
    is_guest = place < 0
    guests, at = np.unique(ends[is_guest], return_inverse=True)
    place[is_guest] = len(joined) + at
    return np.concatenate([joined, guests]), place[: len(head)], place[len(head) :]


def settle(plan: Plan, partition: int, content: graph_store.Partition) -> None:
    """Write a finished partition: its edges, and beside the data of its rows, which is there, that of its guests.

    What is read lies in scratch and stays, so a killed task can be done again.
    """
    graph_store.write_partition(plan.place, partition, content)
    guests = content.rows[len(read_ids(plan, partition)) :]
    if plan.n_partitions > 1 and len(guests):
        arrays.write_whole(graph_store.partition_url(plan.place, partition, "guest_data"), gather_data(plan, guests))
