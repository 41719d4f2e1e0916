"""The fuzzy union by partition: directed strengths to undirected edges, each once, both ends resident.

A neighbour was found in a partition that holds both ends, so the reverse direction is looked up in the same partition
and no shuffle over all edges is needed. A pair that several partitions hold belongs to the first of them. A pair that
none holds (a repair pass found it) belongs to the first partition of its smaller id, which takes the other end in as a
guest, data included.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy
from pumascale.tasks.graph.connectivity import note_strongest
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, gather, read
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, graph_store

Directed = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # head, tail (global ids), strength
Edges = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def directed_edges(plan: Plan, ids: NDArray[np.int64]) -> Directed:
    """The edges from the rows `ids` to their neighbours, those of strength 0 left out."""
    indices, distances, sigmas, rhos = (
        gather(plan.member(name), ids) for name in ("knn_indices", "knn_dists", "sigmas", "rhos")
    )
    strength = fuzzy.membership_strengths(ids, indices, distances, sigmas, rhos)
    there = strength > 0
    head = np.broadcast_to(ids[:, None], indices.shape)
    return head[there], indices[there], strength[there]


def owners(partitions_of: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int32]:
    """The first partition that both ends of each pair joined, int32 (e,); -1 where there is none.

    Parameters
    ----------
    partitions_of, other : int32 (e, overlap)
        What the ends joined.
    """
    shared = (partitions_of[:, :, None] == other[:, None, :]).any(axis=2)
    none = np.iinfo(np.int32).max
    first = np.where(shared, partitions_of, none).min(axis=1)
    return np.where(first == none, -1, first).astype(np.int32)


def edge_owners(plan: Plan, head: NDArray[np.int64], tail: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Who each pair belongs to, int32 (e,), and which pairs are strays, bool (e,): no partition holds both ends.

    A pair with an end that joined no partition belongs to nobody: -1.
    """
    joined_head, joined_tail = _partitions_of(plan, head, tail)
    owner = owners(joined_head, joined_tail)
    stray = owner < 0
    of_smaller = np.where(head < tail, joined_head[:, 0], joined_tail[:, 0])
    nowhere = (joined_head[:, 0] < 0) | (joined_tail[:, 0] < 0)
    return np.where(nowhere, -1, np.where(stray, of_smaller, owner)).astype(np.int32), stray


def stray_edges(task: BlockTask) -> dict[str, Any]:
    """The directed edges from a block's rows whose ends share no partition, as one run."""
    plan = task.plan
    head, tail, strength = directed_edges(plan, np.arange(task.start, task.stop))
    owner, stray = edge_owners(plan, head, tail)
    content: dict[str, NDArray[Any]] = {"head": head[stray], "tail": tail[stray], "strength": strength[stray]}
    write_run(plan.scratch("stray", task.name), owner[stray], plan.n_partitions, content)
    return {"n_stray": int(stray.sum())}


def _partitions_of(plan: Plan, *ends: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    ids = np.unique(np.concatenate(ends))
    joined = gather(plan.scratch("partitions_of"), ids) if len(ids) else np.empty((0, plan.overlap), np.int32)
    return [joined[np.searchsorted(ids, end)] for end in ends]


def partition_edges(task: PartitionTask) -> dict[str, Any]:
    """Write the undirected edges that belong to a partition, its guests taken in."""
    plan = task.plan
    joined = read(plan.part(task.partition, "rows"))
    own, strays = _resident_edges(plan, task.partition, joined), _read_strays(plan, task.partition)
    head, tail = np.concatenate([own[0], strays[0]]), np.concatenate([own[1], strays[1]])
    strength = np.concatenate([own[2], strays[2]])
    ids = with_guests(joined, head, tail)
    local = local_ids(ids, head), local_ids(ids, tail)
    content = graph_store.Partition(
        ids, *undirected_edges(*local, strength, len(ids), plan.parameters.set_op_mix_ratio)
    )
    if plan.parameters.labels is None:
        settle(plan, task.partition, content)
        note_strongest(plan, task.partition, content)
    else:
        graph_store.write_partition(plan.scratch("unsupervised"), task.partition, content)
    return {"n_edges": len(content.weight), "n_guests": len(ids) - len(joined), "least": least(content.weight)}


def least(weight: NDArray[np.float32]) -> float:
    """The smallest weight; 1 where there is none."""
    return float(weight.min(initial=1.0))


def with_guests(joined: NDArray[np.int64], *ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """A partition's rows, behind them its guests: ends of its edges that did not join it, ascending."""
    return np.concatenate([joined, np.setdiff1d(np.concatenate(ends), joined)])


def local_ids(ids: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in `ids` each global id stands."""
    order = np.argsort(ids)
    return np.asarray(order[np.searchsorted(ids, end, sorter=order)], np.int64)


def _resident_edges(plan: Plan, partition: int, joined: NDArray[np.int64]) -> Directed:
    head, tail, strength = directed_edges(plan, joined)
    if plan.n_partitions == 1:
        return head, tail, strength
    own = owners(*_partitions_of(plan, head, tail)) == partition
    return head[own], tail[own], strength[own]


def _read_strays(plan: Plan, partition: int) -> Directed:
    if plan.n_partitions == 1:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    runs = [plan.scratch("stray", f"{start:012d}") for start, _ in plan.blocks()]
    head, tail, strength = read_runs(runs, partition, ("head", "tail", "strength"))
    return head, tail, strength


def settle(plan: Plan, partition: int, content: graph_store.Partition) -> None:
    """Write a finished partition: its edges, and beside them the data of its rows, the guests' last.

    What is read lies in scratch and stays, so a killed task can be done again.
    """
    graph_store.write_partition(plan.place, partition, content)
    if plan.n_partitions > 1:
        own = read(plan.part(partition, "data"))
        guests = content.rows[len(own) :]
        data = np.concatenate([own, gather(plan.source, guests)]) if len(guests) else own
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
    key = np.minimum(head, tail) * n_rows + np.maximum(head, tail)
    order = np.argsort(key, kind="stable")
    key, upward, strength = key[order], (head < tail)[order], strength[order]
    is_first = np.diff(key, prepend=-1) != 0
    pair = np.cumsum(is_first) - 1
    forward, backward = np.zeros((2, int(is_first.sum())), np.float32)
    forward[pair[upward]], backward[pair[~upward]] = strength[upward], strength[~upward]
    weight = fuzzy.fuzzy_union(forward, backward, set_op_mix_ratio)
    pairs = key[is_first][weight > 0]
    return (pairs // n_rows).astype(np.int32), (pairs % n_rows).astype(np.int32), weight[weight > 0]
