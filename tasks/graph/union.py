"""The fuzzy union by partition: directed strengths to undirected edges, each once, both ends resident.

Both directions of a pair belong to the same partition: the first that holds both its ends, where it was found. A pair
that none holds (a repair pass found it) belongs to the first partition of its smaller id, which takes the other end in
as a guest, data included. So the transpose of the union is one shuffle of directed edges, from blocks to partitions.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy
from pumascale.tasks.graph.connectivity import note_strongest
from pumascale.tasks.graph.pairs import places_in, undirected_edges
from pumascale.tasks.graph.partitions import gather_data, read_ids, read_part
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, block_tasks, gather, read, scratch_of, write
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, graph_store

Directed = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # head, tail (global ids), strength


def memberships(task: BlockTask) -> dict[str, Any]:
    """Sigmas and rhos of a block, and its directed edges as one run for the partitions."""
    plan, rows = task.plan, slice(task.start, task.stop)
    indices, distances = read(plan.member("knn_indices"), rows), read(plan.member("knn_dists"), rows)
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, task.mean_distance, plan.parameters.local_connectivity)
    write(plan.member("sigmas"), task.start, sigmas)
    write(plan.member("rhos"), task.start, rhos)
    edges = directed_edges(np.arange(task.start, task.stop), indices, distances, sigmas, rhos)
    scatter_edges(plan, plan.scratch("directed", task.name), edges)
    return {"n_rows": task.stop - task.start}


def directed_edges(
    ids: NDArray[np.int64],
    indices: NDArray[np.int64],
    distances: NDArray[np.float32],
    sigmas: NDArray[np.float32],
    rhos: NDArray[np.float32],
) -> Directed:
    """The edges from the rows `ids` to their neighbours, those of strength 0 left out."""
    strength = fuzzy.membership_strengths(ids, indices, distances, sigmas, rhos)
    there = strength > 0
    head = np.broadcast_to(ids[:, None], indices.shape)
    return head[there], indices[there], strength[there]


def scatter_edges(plan: Plan, run: str, edges: Directed) -> None:
    """Write directed edges as one run for the partitions that they belong to."""
    names = ("head", "tail", "strength")
    write_run(run, edge_owners(plan, *edges[:2]), plan.n_partitions, dict(zip(names, edges, strict=True)))


def gather_edges(plan: Plan, kind: str, partition: int) -> Directed:
    """The directed edges that belong to a partition, out of the runs of all blocks."""
    runs = scratch_of(plan, kind, block_tasks(plan))
    head, tail, strength = read_runs(runs, partition, ("head", "tail", "strength"))
    return head, tail, strength


@njit(cache=True)
def owners(
    head: NDArray[np.int64], tail: NDArray[np.int64], of_head: NDArray[np.int32], of_tail: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The partition that each pair belongs to, int32 (e,); -1 where an end joined none.

    Parameters
    ----------
    of_head, of_tail : int32 (e, overlap)
        The partitions that the ends joined, nearest first; -1 is none.
    """
    owner = np.full(len(head), -1, np.int32)
    for edge in range(len(head)):
        if of_head[edge, 0] < 0 or of_tail[edge, 0] < 0:
            continue
        for one in of_head[edge]:
            for other in of_tail[edge]:
                if one == other and one >= 0 and (owner[edge] < 0 or one < owner[edge]):
                    owner[edge] = one
        if owner[edge] < 0:
            owner[edge] = of_head[edge, 0] if head[edge] < tail[edge] else of_tail[edge, 0]
    return owner


def edge_owners(plan: Plan, head: NDArray[np.int64], tail: NDArray[np.int64]) -> NDArray[np.int32]:
    """As `owners`, looked up."""
    return owners(head, tail, *(gather(plan.scratch("partitions_of"), end) for end in (head, tail)))


def partition_edges(task: PartitionTask) -> dict[str, Any]:
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
        note_strongest(task, content, content.weight)
    else:
        graph_store.write_partition(plan.scratch("unsupervised"), task.partition, content)
    return {"n_edges": len(content.weight), "n_guests": len(ids) - len(joined), "least": least(content.weight)}


def least(weight: NDArray[np.float32]) -> float:
    """The smallest weight; 1 where there is none."""
    return float(weight.min(initial=1.0))


def with_guests(
    joined: NDArray[np.int64], head: NDArray[np.int64], tail: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A partition's rows, behind them its guests: ends of its edges that did not join it, ascending.

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
    """Write a finished partition: its edges, and beside them the data of its rows, the guests' last.

    What is read lies in scratch and stays, so a killed task can be done again.
    """
    graph_store.write_partition(plan.place, partition, content)
    if plan.n_partitions > 1:
        own = read_part(plan, partition)[1]
        guests = content.rows[len(own) :]
        data = np.concatenate([own, gather_data(plan, guests)]) if len(guests) else own
        arrays.write_whole(graph_store.partition_url(plan.place, partition, "data"), data)
