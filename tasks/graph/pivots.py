"""Pivots: where the rows lie, in the large by partitions and in the small by cells.

    sample -> pivots, each the middle of a cell -> groups of pivots of equal weight: the partitions

Balance comes from the sample: many pivots are bisected into groups of equal numbers of sampled rows, so no partition is
small, none is skipped, and the largest is near the average.

A row joins its `overlap` nearest partitions. In each it is at home in one cell, its nearest there, and it visits some
of the next ones: in a cell, who is at home meets everybody. Of the pairs of rows in a partition that is a small part,
with nearly all of the near ones.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.knn import most_compared
from pumascale.tasks.graph.metrics import rank_block
from pumascale.tasks.graph.plan import N_VISITS, PartitionTask, Plan, read
from pumascale.tasks.storage import arrays, sources
from pumascale.tasks.storage.finite import finite_rows

MOST_SAMPLED = 50_000
KMEANS_STEPS = 5
PIVOTS_PER_PARTITION = 16
ROWS_PER_CELL = 256
SAMPLED_PER_PIVOT = 64
RANKS_AT_ONCE = 2**21  # 8 MB of them
CENTROID_METRICS = {"euclidean", "l2", "sqeuclidean", "cosine", "correlation"}


def choose_pivots(task: PartitionTask) -> dict[str, Any]:
    """Choose pivots from a sample and group them; into scratch: `pivots` (m, n_features) by group, `groups` (m,)."""
    plan = task.plan
    sample = _read_sample(plan)
    count = min(_n_pivots(plan), len(sample))
    n_threads = replace(plan, n_at_once=1).n_threads  # all others wait for this one task
    pivots = choose(sample, count, plan.parameters.metric, plan.parameters.random_state, n_threads)
    nearest = np.concatenate([ranks.argmin(axis=1) for ranks in _ranks(plan, sample, pivots)])
    weights = np.bincount(nearest, minlength=len(pivots)).astype(np.float64) + 1e-3
    groups = group_pivots(pivots, weights, plan.n_partitions)
    order = np.argsort(groups, kind="stable")
    arrays.write_whole(plan.scratch("pivots"), pivots[order])
    arrays.write_whole(plan.scratch("groups"), groups[order].astype(np.int32))
    return {"n_pivots": len(pivots)}


def _n_pivots(plan: Plan) -> int:
    """So many that partitions are balanced, and that those whose rows are compared in cells have small ones."""
    are_compared = plan.n_rows * plan.overlap <= plan.n_partitions * most_compared(plan.parameters.metric)
    return max(PIVOTS_PER_PARTITION * plan.n_partitions, plan.n_rows // ROWS_PER_CELL if are_compared else 0)


def _read_sample(plan: Plan) -> NDArray[np.float32]:
    """Rows of a few random blocks: reading scattered rows would read every chunk."""
    array = sources.open_source(plan.source)
    generator = np.random.Generator(np.random.Philox(key=[plan.parameters.random_state, 3]))
    step = 256
    size = min(MOST_SAMPLED, SAMPLED_PER_PIVOT * _n_pivots(plan))
    starts = np.arange(0, plan.n_rows, step)
    chosen = np.sort(generator.permutation(starts)[: -(-size // step)])
    parts = [arrays.read_rows(array, int(at), min(int(at) + step, plan.n_rows)) for at in chosen]
    sample = np.concatenate([part.reshape(len(part), -1) for part in parts])
    return sample[finite_rows(sample)]


def choose(sample: NDArray[np.float32], count: int, metric: str, seed: int, n_threads: int = 1) -> NDArray[np.float32]:
    """k-means centroids where means make sense under the metric, else sampled rows; the same for any `n_threads`."""
    generator = np.random.Generator(np.random.Philox(key=[seed, 4]))
    pivots = sample[np.sort(generator.choice(len(sample), count, replace=False))]
    if metric not in CENTROID_METRICS or count == len(sample):
        return pivots
    blocks = arrays.row_blocks(len(sample), max(1, RANKS_AT_ONCE // count))
    # Neighbourhoods are asked for, not the best clusters: a few steps from random rows make them. BLAS with threads of
    # its own may round otherwise, and no two runs would agree.
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        for _ in range(KMEANS_STEPS):
            nearest = pool.map(partial(_nearest_pivots, sample, pivots), blocks)
            pivots = _means(sample, np.concatenate(list(nearest)), pivots)
    return pivots


def _nearest_pivots(
    sample: NDArray[np.float32], pivots: NDArray[np.float32], block: tuple[int, int]
) -> NDArray[np.intp]:
    start, stop = block
    return np.asarray(exact.ranks(sample[start:stop], pivots).argmin(axis=1))


@njit(cache=True)
def _means(sample: NDArray[np.float32], nearest: NDArray[np.intp], pivots: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the rows that each pivot is the nearest to; one without rows stays."""
    sums, counts = np.zeros(pivots.shape, np.float64), np.zeros(len(pivots), np.int64)
    for i in range(len(sample)):
        counts[nearest[i]] += 1
        sums[nearest[i]] += sample[i]
    means = pivots.copy()
    for pivot in np.flatnonzero(counts):
        means[pivot] = (sums[pivot] / counts[pivot]).astype(np.float32)
    return means


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


def nearest_cells(plan: Plan, rows: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where rows belong.

    Returns
    -------
    partitions : int32 (m, overlap)
        Nearest first; -1 where there are no more.
    cells : int32 (m, overlap + N_VISITS)
        The row's home in each of them, and the nearest others that it visits.
    """
    pivots, groups = read(plan.scratch("pivots")), read(plan.scratch("groups"))
    parts = []
    for ranks in _ranks(plan, rows, pivots):
        homes = nearest_homes(ranks, groups, plan.overlap)
        parts.append(np.hstack([homes, nearest_visits(ranks, groups, homes, N_VISITS)]))
    cells = np.concatenate(parts)
    homes = cells[:, : plan.overlap]
    return np.where(homes < 0, -1, groups[homes]).astype(np.int32), cells


@njit(cache=True, fastmath=exact.VECTORS)
def nearest_homes(ranks: NDArray[np.float32], groups: NDArray[np.int32], overlap: int) -> NDArray[np.int32]:
    """The nearest pivot of each of the `overlap` nearest groups, int32 (m, overlap), nearest first; -1: no more.

    Parameters
    ----------
    ranks : float32 (m, n_pivots)
        The smaller, the nearer.
    groups : int32 (n_pivots,)
        Ascending.
    """
    homes, nearest = np.full((len(ranks), overlap), -1, np.int32), np.full((len(ranks), overlap), np.inf, np.float32)
    ends = np.append(np.flatnonzero(groups[1:] != groups[:-1]) + 1, len(groups))
    for i in range(len(ranks)):
        start = 0
        for end in ends:
            least = np.float32(np.inf)
            for pivot in range(start, end):
                least = min(least, ranks[i, pivot])
            if least < nearest[i, -1]:
                exact.insert(homes[i], nearest[i], start + int(ranks[i, start:end].argmin()), least)
            start = end
    return homes


@njit(cache=True)
def nearest_visits(
    ranks: NDArray[np.float32], groups: NDArray[np.int32], homes: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
    """The nearest other pivots in the groups of the `homes`, int32 (m, count), nearest first; -1: no more."""
    visits, nearest = np.full((len(ranks), count), -1, np.int32), np.full((len(ranks), count), np.inf, np.float32)
    for i in range(len(ranks)):
        for home in homes[i][homes[i] >= 0]:
            first, last = np.searchsorted(groups, groups[home]), np.searchsorted(groups, groups[home], "right")
            for pivot in range(first, last):
                if pivot != home and ranks[i, pivot] < nearest[i, -1]:
                    exact.insert(visits[i], nearest[i], pivot, ranks[i, pivot])
    return visits


def _ranks(plan: Plan, rows: NDArray[np.float32], pivots: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """How near rows are to all pivots, as many rows at a time as fit 8 MB."""
    for start, stop in arrays.row_blocks(len(rows), max(1, RANKS_AT_ONCE // len(pivots))):
        yield rank_block(rows[start:stop], pivots, plan.parameters.metric, plan.parameters.metric_kwds)
