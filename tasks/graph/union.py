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
from pumascale.tasks.graph.partitions import gather_data, read_ids, read_part
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, block_tasks, gather, read, scratch_of
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, graph_store

SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Fibonacci hashing (Knuth, 6.4)

Directed = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # head, tail (global ids), strength
Edges = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def memberships(task: BlockTask) -> dict[str, Any]:
    """Sigmas and rhos of a block, and its directed edges as one run for the partitions."""
    plan, rows = task.plan, slice(task.start, task.stop)
    indices, distances = read(plan.member("knn_indices"), rows), read(plan.member("knn_dists"), rows)
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, task.mean_distance, plan.parameters.local_connectivity)
    arrays.open_writable(plan.member("sigmas"))[rows] = sigmas
    arrays.open_writable(plan.member("rhos"))[rows] = rhos
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


@njit(cache=True)
def places_in(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of the `wanted` stands in the distinct `ids`, int64 (w,); -1: nowhere.

    A table of hashes: a search among sorted ids misses the cache, and takes six times as long.
    """
    size = 4
    while size < 4 * len(ids):
        size *= 2
    table, shift = np.full(size, -1, np.int64), 64 - int(np.log2(size))
    for place in range(len(ids)):
        at = (np.uint64(ids[place]) * SPREAD) >> np.uint64(shift)
        while table[at] >= 0:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        table[at] = place
    found = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        at = (np.uint64(wanted[i]) * SPREAD) >> np.uint64(shift)
        while table[at] >= 0 and ids[table[at]] != wanted[i]:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        found[i] = table[at]
    return found


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


def undirected_edges(
    head: NDArray[np.int64],
    tail: NDArray[np.int64],
    strength: NDArray[np.float32],
    n_rows: int,
    set_op_mix_ratio: float,
) -> Edges:
    """Join directed edges to undirected ones.

    Parameters
    ----------
    head, tail : int64 (e,)
        Local ids in [0, n_rows), each ordered pair at most once.
    strength : float32 (e,)
        Membership strengths of the directed edges.

    Returns
    -------
    head, tail : int32 (u,)
        head < tail, ascending.
    weight : float32 (u,)
        Strength of the fuzzy union, above 0.
    """
    smaller, larger = np.minimum(head, tail), np.maximum(head, tail)
    order = order_of(larger, n_rows)
    order = order[order_of(smaller[order], n_rows)]
    first, second, forward, backward = pairs(smaller[order], larger[order], (head < tail)[order], strength[order])
    weight = fuzzy.fuzzy_union(forward, backward, set_op_mix_ratio)
    there = weight > 0
    return first[there], second[there], weight[there]


@njit(cache=True)
def order_of(keys: NDArray[np.int64], n_keys: int) -> NDArray[np.int64]:
    """What sorts keys below `n_keys`, equal ones in their order, int64 (e,): by counting, so in two passes."""
    begins, order = np.zeros(n_keys + 1, np.int64), np.empty(len(keys), np.int64)
    for key in keys:
        begins[key + 1] += 1
    begins = np.cumsum(begins)
    for at in range(len(keys)):
        order[begins[keys[at]]] = at
        begins[keys[at]] += 1
    return order


@njit(cache=True)
def pairs(
    smaller: NDArray[np.int64], larger: NDArray[np.int64], is_upward: NDArray[np.bool_], strength: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Both directions of each pair side by side, where equal pairs follow each other: ends, and strengths (u,)."""
    first, second = np.empty((2, len(smaller)), np.int32)
    forward, backward = np.zeros((2, len(smaller)), np.float32)
    count = 0
    for edge in range(len(smaller)):
        is_new = edge == 0 or smaller[edge] != smaller[edge - 1] or larger[edge] != larger[edge - 1]
        count += is_new
        first[count - 1], second[count - 1] = smaller[edge], larger[edge]
        if is_upward[edge]:
            forward[count - 1] = strength[edge]
        else:
            backward[count - 1] = strength[edge]
    return first[:count], second[:count], forward[:count], backward[:count]


def pair_keys(head: NDArray[Any], tail: NDArray[Any], n_rows: int) -> NDArray[np.int64]:
    """One number per undirected pair of local ids."""
    return np.asarray(np.minimum(head, tail).astype(np.int64) * n_rows + np.maximum(head, tail), np.int64)


def pair_ends(keys: NDArray[np.int64], n_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The smaller and the larger local id of each pair."""
    return (keys // n_rows).astype(np.int32), (keys % n_rows).astype(np.int32)


def both_directions(
    pair: NDArray[np.intp], n_pairs: int, is_upward: NDArray[np.bool_], strength: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strengths from the smaller id of each pair to the larger one, and back, float32 (n_pairs,); 0: there is no edge.

    Parameters
    ----------
    pair : intp (e,)
        To which pair each directed edge belongs.
    is_upward : bool (e,)
        It goes from the smaller id to the larger.
    """
    forward, backward = np.zeros((2, n_pairs), np.float32)
    forward[pair[is_upward]], backward[pair[~is_upward]] = strength[is_upward], strength[~is_upward]
    return forward, backward
