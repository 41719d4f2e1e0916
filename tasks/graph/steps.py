"""The tasks of a build: each takes one small item, reads and writes stores, and returns counts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy, knn, metrics, union
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, write_whole
from pumascale.tasks.storage import arrays


def local_neighbors(task: PartitionTask) -> dict[str, Any]:
    """Neighbours of the partition's rows among themselves, with global ids, into scratch."""
    plan, parameters = task.plan, task.plan.parameters
    ids, rows = plan.partition_ids(task.partition), read_partition_rows(plan, task.partition)
    metrics.check_values(parameters.metric, rows, plan.source)
    indices, distances = knn.nearest_neighbors(
        rows, parameters.n_neighbors, parameters.metric, parameters.metric_kwds,
        angular_rp_forest=parameters.angular_rp_forest, random_state=parameters.random_state + task.partition,
    )  # fmt: skip
    found = np.where(indices >= 0, ids[indices], -1)
    write_whole(plan.scratch("neighbors", task.name, "indices"), found)
    write_whole(plan.scratch("neighbors", task.name, "distances"), distances)
    return {"n_rows": len(ids)}


def read_partition_rows(plan: Plan, partition: int) -> NDArray[np.float32]:
    """The partition's rows, flattened, float32 (m, n_features)."""
    if plan.n_partitions == 1:
        source = arrays.open_source(plan.source)
        return arrays.read_rows(source, 0, plan.n_rows).reshape(plan.n_rows, -1)
    start, stop = np.asarray(arrays.open_array(plan.member("partition_offsets"))[partition : partition + 2])
    rows = arrays.read_rows(arrays.open_array(plan.member("rows")), int(start), int(stop))
    return rows.reshape(len(rows), -1)


def merge_neighbors(task: BlockTask) -> dict[str, Any]:
    """The best neighbours of a block's rows over all partitions, duplicates removed, far ones cut off."""
    plan, k = task.plan, task.plan.parameters.n_neighbors
    indices, distances = _gather(task)
    ids = np.arange(task.start, task.stop)
    indices, distances = best_neighbors(ids, indices, distances, k)
    limit = metrics.disconnection_distance(plan.parameters.metric, plan.parameters.disconnection_distance)
    far = distances >= limit
    indices[far], distances[far] = -1, np.inf
    arrays.open_writable(plan.member("knn_indices"))[task.start : task.stop] = indices
    arrays.open_writable(plan.member("knn_dists"))[task.start : task.stop] = distances
    finite = distances[np.isfinite(distances)]
    return {"distance_sum": float(finite.sum(dtype=np.float64)), "distance_count": int(distances.size)}


def _gather(task: BlockTask) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What every partition found for the block's rows, (m, overlap * n_neighbors), -1 and inf where nothing."""
    plan, k = task.plan, task.plan.parameters.n_neighbors
    overlap = 1 if plan.n_partitions == 1 else plan.parameters.overlap
    indices = np.full((task.stop - task.start, overlap, k), -1, np.int64)
    distances = np.full(indices.shape, np.inf, np.float32)
    slot = np.zeros(len(indices), np.int64)
    for partition in range(plan.n_partitions):
        ids = plan.partition_ids(partition)
        first, last = np.searchsorted(ids, (task.start, task.stop))
        at = ids[first:last] - task.start
        for name, block in (("indices", indices), ("distances", distances)):
            url = plan.scratch("neighbors", f"{partition:06d}", name)
            block[at, slot[at]] = np.asarray(arrays.open_array(url)[int(first) : int(last)])
        slot[at] += 1
    return indices.reshape(len(indices), -1), distances.reshape(len(indices), -1)


def best_neighbors(
    ids: NDArray[np.int64], indices: NDArray[np.int64], distances: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The row itself and its nearest distinct others; ties go to the smaller id, so the order of finding is no matter."""
    order = np.argsort(indices, axis=1, kind="stable")
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    again = np.zeros(indices.shape, bool)
    again[:, 1:] = indices[:, 1:] == indices[:, :-1]
    distances = np.where(again | (indices < 0), np.float32(np.inf), distances)
    distances = np.where(~again & (indices == ids[:, None]), np.float32(-1), distances)
    order = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    indices = np.where(np.isinf(distances), -1, indices)
    return indices, np.maximum(distances, np.float32(0))


def memberships(task: BlockTask) -> dict[str, Any]:
    """Sigmas and rhos of a block."""
    plan = task.plan
    distances = np.asarray(arrays.open_array(plan.member("knn_dists"))[task.start : task.stop])
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, task.mean_distance, plan.parameters.local_connectivity)
    arrays.open_writable(plan.member("sigmas"))[task.start : task.stop] = sigmas
    arrays.open_writable(plan.member("rhos"))[task.start : task.stop] = rhos
    return {"n_rows": task.stop - task.start}


def partition_edges(task: PartitionTask) -> dict[str, Any]:
    """The undirected edges that belong to a partition, with local ids, into scratch."""
    plan = task.plan
    ids = plan.partition_ids(task.partition)
    head, tail, strength = _directed_edges(plan, ids)
    edges = union.undirected_edges(head, tail, strength, len(ids), plan.parameters.set_op_mix_ratio)
    for name, values in zip(("head", "tail", "weight"), edges, strict=True):
        write_whole(plan.scratch("edges", task.name, name), values)
    return {"n_edges": len(edges[0])}


def _directed_edges(plan: Plan, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    knn_indices, knn_dists = _read(plan, "knn_indices", ids), _read(plan, "knn_dists", ids)
    sigmas, rhos = _read(plan, "sigmas", ids), _read(plan, "rhos", ids)
    strength = fuzzy.membership_strengths(ids, knn_indices, knn_dists, sigmas, rhos)
    local = np.searchsorted(ids, knn_indices)
    inside = (strength > 0) & (ids[np.minimum(local, len(ids) - 1)] == knn_indices)
    head = np.broadcast_to(np.arange(len(ids))[:, None], local.shape)
    return head[inside], local[inside], strength[inside]


def _read(plan: Plan, name: str, ids: NDArray[np.int64]) -> NDArray[Any]:
    array = arrays.open_array(plan.member(name))
    return np.asarray(array[:]) if len(ids) == plan.n_rows else np.asarray(array.oindex[ids])


def join_edges(plan: Plan) -> int:
    """Copy the partitions' edges behind one another into the graph; returns their number."""
    counts = [_edge_count(plan, partition) for partition in range(plan.n_partitions)]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for name, dtype in (("head", np.int32), ("tail", np.int32), ("weight", np.float32)):
        parts = [np.asarray(arrays.open_array(_edge_url(plan, p, name))[:]) for p in range(plan.n_partitions)]
        write_whole(plan.member(f"edge_{name}"), np.concatenate(parts).astype(dtype))
    write_whole(plan.member("edge_offsets"), offsets)
    return int(offsets[-1])


def _edge_url(plan: Plan, partition: int, name: str) -> str:
    return plan.scratch("edges", f"{partition:06d}", name)


def _edge_count(plan: Plan, partition: int) -> int:
    return int(arrays.open_array(_edge_url(plan, partition, "head")).shape[0])
