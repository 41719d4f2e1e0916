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
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, gather, read
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


def stray_edges(task: BlockTask) -> dict[str, Any]:
    """The directed edges from a block's rows whose ends share no partition, sorted by owner, into scratch."""
    plan = task.plan
    head, tail, strength = directed_edges(plan, np.arange(task.start, task.stop))
    stray = owners(*_partitions_of(plan, head, tail)) < 0
    head, tail, strength = head[stray], tail[stray], strength[stray]
    low = np.minimum(head, tail)
    ids, inverse = np.unique(low, return_inverse=True)
    owner = gather(plan.scratch("partitions_of"), ids)[inverse, 0] if len(ids) else np.empty(0, np.int32)
    order = np.argsort(owner, kind="stable")
    offsets = np.searchsorted(owner[order], np.arange(plan.n_partitions + 1))
    content: dict[str, NDArray[Any]] = {"head": head[order], "tail": tail[order], "strength": strength[order]}
    for name, values in (content | {"offsets": offsets}).items():
        arrays.write_whole(plan.scratch("stray", task.name, name), values)
    return {"n_stray": len(head)}


def _partitions_of(plan: Plan, *ends: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    ids = np.unique(np.concatenate(ends))
    joined = gather(plan.scratch("partitions_of"), ids) if len(ids) else np.empty((0, plan.overlap), np.int32)
    return [joined[np.searchsorted(ids, end)] for end in ends]


def partition_edges(task: PartitionTask) -> dict[str, Any]:
    """Write the undirected edges that belong to a partition, and take its guests in."""
    plan = task.plan
    joined = own_members(plan, task.partition)
    edges = _resident_edges(plan, task.partition, joined)
    strays = _read_strays(plan, task.partition)
    guests = np.setdiff1d(np.concatenate(strays[:2]), joined)
    head, tail = np.concatenate([edges[0], strays[0]]), np.concatenate([edges[1], strays[1]])
    strength = np.concatenate([edges[2], strays[2]])
    ids = np.concatenate([joined, guests])
    order = np.argsort(ids)
    head, tail = (order[np.searchsorted(ids, end, sorter=order)] for end in (head, tail))
    content = undirected_edges(head, tail, strength, len(ids), plan.parameters.set_op_mix_ratio)
    if len(guests):
        _take_in(plan, task.partition, guests)
    graph_store.write_partition(plan.place, task.partition, graph_store.Partition(ids, *content))
    return {"n_edges": len(content[0]), "n_guests": len(guests)}


def own_members(plan: Plan, partition: int) -> NDArray[np.int64]:
    """The rows that joined the partition, without guests that a killed run may have taken in already."""
    ids = read(plan.part(partition, "rows"))
    n_joined = int(read(plan.scratch("sizes"))[partition])
    return np.asarray(ids[:n_joined])


def _resident_edges(plan: Plan, partition: int, joined: NDArray[np.int64]) -> Directed:
    head, tail, strength = directed_edges(plan, joined)
    if plan.n_partitions == 1:
        return head, tail, strength
    own = owners(*_partitions_of(plan, head, tail)) == partition
    return head[own], tail[own], strength[own]


def _read_strays(plan: Plan, partition: int) -> Directed:
    parts: list[list[NDArray[Any]]] = [[np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]]
    if plan.n_partitions > 1:
        for start, _ in arrays.row_blocks(plan.n_rows, plan.block_rows):
            run = plan.scratch("stray", f"{start:012d}")
            rows = slice(*(int(at) for at in read(f"{run}/offsets", slice(partition, partition + 2))))
            if rows.stop > rows.start:
                for part, name in zip(parts, ("head", "tail", "strength"), strict=True):
                    part.append(read(f"{run}/{name}", rows))
    return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2])


def _take_in(plan: Plan, partition: int, guests: NDArray[np.int64]) -> None:
    n_joined = int(read(plan.scratch("sizes"))[partition])
    data = read(plan.part(partition, "data"), slice(n_joined))
    arrays.write_whole(plan.part(partition, "data"), np.concatenate([data, gather(plan.source, guests)]))


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
