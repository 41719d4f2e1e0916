"""Partitions: neighbourhoods of rows that fit a worker, made out of core.

    sample -> pivots -> groups of pivots of equal weight -> each row to its `overlap` nearest groups
    per block: rows sorted by partition, one run      per partition: one range read per run

Balance comes from the sample: many pivots are bisected into groups of equal numbers of sampled rows, so no partition is
small, none is skipped, and the largest is near the average.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.duplicates import read_duplicates
from pumascale.tasks.graph.metrics import rank_block
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, block_tasks, gather, read, scratch_of, write
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, graph_store, sources, whole
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.finite import finite_rows

logger = logging.getLogger("pumascale.graph")

MOST_SAMPLED = 50_000
PIVOTS_PER_PARTITION = 16
SAMPLED_PER_PIVOT = 64
RANKS_AT_ONCE = 2**22  # 16 MB of them
CENTROID_METRICS = {"euclidean", "l2", "sqeuclidean", "cosine", "correlation"}


def choose_pivots(task: PartitionTask) -> dict[str, Any]:
    """Choose pivots from a sample and group them; into scratch: `pivots` (m, n_features) by group, `groups` (m,)."""
    plan = task.plan
    sample = _read_sample(plan)
    count = min(PIVOTS_PER_PARTITION * plan.n_partitions, len(sample))
    pivots = _pivots(sample, count, plan.parameters.metric, plan.parameters.random_state)
    nearest = np.concatenate([ranks.argmin(axis=1) for ranks in _ranks(plan, sample, pivots)])
    weights = np.bincount(nearest, minlength=len(pivots)).astype(np.float64) + 1e-3
    groups = group_pivots(pivots, weights, plan.n_partitions)
    order = np.argsort(groups, kind="stable")
    arrays.write_whole(plan.scratch("pivots"), pivots[order])
    arrays.write_whole(plan.scratch("groups"), groups[order].astype(np.int32))
    return {"n_pivots": len(pivots)}


def _read_sample(plan: Plan) -> NDArray[np.float32]:
    """Rows of a few random blocks: reading scattered rows would read every chunk."""
    array = sources.open_source(plan.source)
    generator = np.random.Generator(np.random.Philox(key=[plan.parameters.random_state, 3]))
    step = 256
    size = min(MOST_SAMPLED, SAMPLED_PER_PIVOT * PIVOTS_PER_PARTITION * plan.n_partitions)
    starts = np.arange(0, plan.n_rows, step)
    chosen = np.sort(generator.permutation(starts)[: -(-size // step)])
    parts = [arrays.read_rows(array, int(at), min(int(at) + step, plan.n_rows)) for at in chosen]
    sample = np.concatenate([part.reshape(len(part), -1) for part in parts])
    return sample[finite_rows(sample)]


def _pivots(sample: NDArray[np.float32], count: int, metric: str, seed: int) -> NDArray[np.float32]:
    """k-means centroids where means make sense under the metric, else sampled rows themselves."""
    if metric in CENTROID_METRICS and count < len(sample):
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        # Neighbourhoods are asked for, not the best clusters: a few steps from random rows make them.
        # On one thread: several add their sums up in whichever order they come, and no two runs agree.
        with threadpool_limits(1):
            means = KMeans(count, init="random", n_init=1, max_iter=5, random_state=seed).fit(sample)
        return np.asarray(means.cluster_centers_, np.float32)
    generator = np.random.Generator(np.random.Philox(key=[seed, 4]))
    return sample[np.sort(generator.choice(len(sample), count, replace=False))]


def group_pivots(pivots: NDArray[np.float32], weights: NDArray[np.float64], n_groups: int) -> NDArray[np.int64]:
    """Groups of neighbouring pivots of about equal weight, by bisection along the axis of largest variance.

    Returns
    -------
    int64 (m,)
        In [0, n_groups), each at least once where m >= n_groups.
    """
    groups = np.zeros(len(pivots), np.int64)

    def split(members: NDArray[np.int64], first: int, count: int) -> None:
        groups[members] = first
        if count > 1:
            left = count // 2
            ordered = members[np.argsort(_main_axis(pivots[members], weights[members]), kind="stable")]
            total = np.cumsum(weights[ordered])
            cut = int(np.searchsorted(total, total[-1] * left / count))
            cut = min(max(cut, left), len(ordered) - (count - left))
            split(ordered[:cut], first, left)
            split(ordered[cut:], first + left, count - left)

    split(np.arange(len(pivots)), 0, n_groups)
    return groups


def _main_axis(points: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    centered = points - np.average(points, axis=0, weights=weights)
    _, _, axes = np.linalg.svd(centered * np.sqrt(weights)[:, None], full_matrices=False)
    return np.asarray(centered @ axes[0], np.float64)


def assign_block(task: BlockTask) -> dict[str, Any]:
    """The `overlap` nearest partitions of each row of a block, nearest first; returns the partitions' sizes.

    A row with NaN or inf joins none, nor does one that an equal row stands for: -1.
    """
    plan = task.plan
    rows = _read_block(task)
    finite = finite_rows(rows)
    rows[~finite] = 0  # stands in for NaN in the distances; such a row joins nothing below
    if plan.n_partitions == 1:
        nearest = np.zeros((task.stop - task.start, 1), np.int32)
    else:
        nearest = _nearest_partitions(plan, rows)
    nearest[~finite] = -1
    nearest[read_duplicates(task) - task.start] = -1
    write(plan.scratch("partitions_of"), task.start, nearest)
    return {"sizes": np.bincount(nearest[nearest >= 0], minlength=plan.n_partitions).tolist()}


def _nearest_partitions(plan: Plan, rows: NDArray[np.float32]) -> NDArray[np.int32]:
    pivots, groups = read(plan.scratch("pivots")), read(plan.scratch("groups"))
    return np.concatenate([nearest_groups(ranks, groups, plan.overlap) for ranks in _ranks(plan, rows, pivots)])


@njit(cache=True)
def nearest_groups(ranks: NDArray[np.float32], groups: NDArray[np.int32], overlap: int) -> NDArray[np.int32]:
    """The `overlap` groups with the nearest pivots, int32 (m, overlap), nearest first; -1 where there are no more.

    Parameters
    ----------
    ranks : float32 (m, n_pivots)
        The smaller, the nearer.
    groups : int32 (n_pivots,)
        Ascending.
    """
    found, nearest = np.full((len(ranks), overlap), -1, np.int32), np.full((len(ranks), overlap), np.inf, np.float32)
    ends = np.append(np.flatnonzero(groups[1:] != groups[:-1]) + 1, len(groups))
    for i in range(len(ranks)):
        start = 0
        for end in ends:
            least = ranks[i, start:end].min()
            if least < nearest[i, -1]:
                exact.insert(found[i], nearest[i], groups[start], least)
            start = end
    return found


def check_sizes(plan: Plan, sizes: NDArray[np.int64]) -> None:
    """Refuse partitions above the bound that was asked for; above one that the memory suggests, warn."""
    bound = plan.parameters.partition_rows
    if bound is None and sizes.max() > plan.most_rows:
        logger.warning(
            "build_graph: the largest of %d partitions has %d rows, more than the %d that surely fit a worker's memory:"
            " many rows are alike. Leave equal ones out (graph.unique=true), or raise compute.memory_limit.",
            plan.n_partitions, sizes.max(), plan.most_rows,
        )  # fmt: skip
    if bound is not None and sizes.max() > bound:
        raise InputError(
            f"The largest of {plan.n_partitions} partitions has {sizes.max()} rows, above graph.partition_rows={bound}."
            f" Set graph.n_partitions={int(plan.n_partitions * sizes.max() / bound) + 1} or more, or a smaller overlap."
        )
    logger.info("build_graph: %d partitions of %d to %d rows", plan.n_partitions, sizes.min(), sizes.max())


def scatter_block(task: BlockTask) -> dict[str, Any]:
    """Write a block's rows, each for every partition that it joins, as one run."""
    plan = task.plan
    joined = read(plan.scratch("partitions_of"), slice(task.start, task.stop))
    array = arrays.open_array(plan.source)
    data = arrays.read_rows(array, task.start, task.stop, dtype=array.dtype)
    slot = np.tile(np.arange(plan.overlap, dtype=np.int8), len(data))
    content: dict[str, NDArray[Any]] = {"rows": np.arange(task.start, task.stop), "slot": slot, "data": data}
    write_run(plan.scratch("runs", task.name), joined.ravel(), plan.n_partitions, content)
    return {"n_rows": len(data)}


def collect_partition(task: PartitionTask) -> dict[str, Any]:
    """Write a partition's rows, those that joined it first before the others: ids as a run, data where it stays."""
    plan = task.plan
    if plan.n_partitions == 1:
        rows = np.flatnonzero(read(plan.scratch("partitions_of"))[:, 0] == 0)
        write_run(plan.part(task.partition), np.zeros(len(rows), int), 2, {"rows": rows})
    else:
        runs = scratch_of(plan, "runs", block_tasks(plan))
        rows, slot, data = read_runs(runs, task.partition, ("rows", "slot", "data"))
        write_run(plan.part(task.partition), slot > 0, 2, {"rows": rows})
        arrays.write_plain(_data_url(plan, task.partition), data[np.argsort(slot > 0, kind="stable")])
    return {"n_rows": len(rows)}


def read_ids(plan: Plan, partition: int) -> NDArray[np.int64]:
    """Ids of a partition's rows in the order of its data, int64: those that joined it first, then the others."""
    return np.concatenate([_read_ids(plan, partition, owner) for owner in (0, 1)])


def _read_ids(plan: Plan, partition: int, owner: int) -> NDArray[np.int64]:
    (rows,) = read_runs([plan.part(partition)], owner, ("rows",))
    return rows


def _data_url(plan: Plan, partition: int) -> str:
    return graph_store.partition_url(plan.place, partition, "data")


def read_part(plan: Plan, partition: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """A partition's rows: ids, int64 ascending, and data as in the source."""
    rows = read_ids(plan, partition)
    if plan.n_partitions == 1:
        return rows, gather(plan.source, rows)
    order = np.argsort(rows)
    return rows[order], whole.read_plain(_data_url(plan, partition), 0, len(rows))[order]


def read_own(plan: Plan, partition: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """As `read_part`, of the rows whose first partition this is."""
    rows = _read_ids(plan, partition, 0)
    return rows, whole.read_plain(_data_url(plan, partition), 0, len(rows))


def gather_data(plan: Plan, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids` as in the source, each out of its first partition: near rows lie in few of them, side by side."""
    if plan.n_partitions == 1:
        return gather(plan.source, ids)
    array = arrays.open_array(plan.source)
    own, data = gather(plan.scratch("partitions_of"), ids)[:, 0], np.empty((len(ids), *array.shape[1:]), array.dtype)
    for partition in np.unique(own).tolist():
        mine = np.flatnonzero(own == partition)
        rows, content = read_own(plan, partition)
        data[mine] = content[np.searchsorted(rows, ids[mine])]
    return data


def flat(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows as vectors, float32 (m, n_features)."""
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:]))).astype(np.float32, copy=False)


def _read_block(task: BlockTask) -> NDArray[np.float32]:
    rows = arrays.read_rows(arrays.open_array(task.plan.source), task.start, task.stop)
    return np.asarray(rows.reshape(len(rows), -1))


def _ranks(plan: Plan, rows: NDArray[np.float32], pivots: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """How near rows are to all pivots, as many rows at a time as fit 16 MB."""
    for start, stop in arrays.row_blocks(len(rows), max(1, RANKS_AT_ONCE // len(pivots))):
        yield rank_block(rows[start:stop], pivots, plan.parameters.metric, plan.parameters.metric_kwds)
