"""Pivots: where the rows lie.

    sample -> pivots, each the middle of a neighbourhood -> groups of pivots of equal weight: the partitions

Balance comes from the sample: several pivots per partition are bisected into groups that equally many sampled rows may
join, so no partition is small, none is skipped, and the largest is near the average.

A row joins the partitions of its nearest pivots, `overlap` at most: one if it lies well inside, more at a border.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pumascale.tasks.graph import kmeans
from pumascale.tasks.graph.axes import Axes, along, main_axes
from pumascale.tasks.graph.metrics import check_squares, points_of_squares
from pumascale.tasks.graph.plan import PartitionTask, Plan, read
from pumascale.tasks.storage import arrays, sources
from pumascale.tasks.storage.finite import check_finite, finite_rows

MOST_SAMPLED = 50_000
KMEANS_STEPS = 3
PIVOTS_PER_PARTITION = 8
SAMPLED_PER_PIVOT = 64
N_JOINED = 6  # pivots whose partitions a row joins


def choose_pivots(task: PartitionTask) -> dict[str, Any]:
    """Choose pivots from a sample and group them; into scratch: `pivots` (m, n_axes) by group, `groups` (m,).

    And `axes`, the main ones of the data set: there are some where products give the metric's distances and near rows
    are told apart by a part of the axes. Else pivots have all features.
    """
    plan = task.plan
    sample = _read_sample(plan)
    if len(sample) == 0:
        check_finite(plan.source)
    check_squares(sample, plan.source)
    count = min(PIVOTS_PER_PARTITION * plan.n_partitions, len(sample))
    metric, seed = plan.parameters.metric, plan.parameters.random_state
    n_threads = replace(plan, n_at_once=1).n_threads  # all others wait for this one task
    axes = _axes(sample, metric)
    arrays.write_whole(plan.scratch("axes"), axes)
    sample, metric = _as_compared(sample, metric, axes)
    pivots = kmeans.choose_centers(sample, count, metric, seed, steps=KMEANS_STEPS, n_threads=n_threads)
    near = kmeans.nearest_centers(
        sample, pivots, metric, plan.parameters.metric_kwds, _n_joined(plan, pivots), n_threads
    )
    weights = np.bincount(near[near >= 0], minlength=len(pivots)).astype(np.float64) + 1e-3
    with threadpool_limits(1, "blas"):  # with more threads it may round otherwise
        groups = group_pivots(pivots, weights, plan.n_partitions)
    order = np.argsort(groups, kind="stable")
    arrays.write_whole(plan.scratch("pivots"), pivots[order])
    arrays.write_whole(plan.scratch("groups"), groups[order].astype(np.int32))
    return {"n_pivots": len(pivots)}


def _axes(sample: NDArray[np.float32], metric: str) -> Axes:
    """The main axes of the features alone: where the sample has rows of zeros, cosine's points have one more."""
    points = points_of_squares(metric, sample)
    return main_axes(sample[:0] if points is None else points[0][:, : sample.shape[1]])


def _as_compared(rows: NDArray[np.float32], metric: str, axes: Axes) -> tuple[NDArray[np.float32], str]:
    """Rows and metric as they are compared with the pivots: along the main axes, where there are some."""
    points = points_of_squares(metric, rows) if len(axes) else None
    return (rows, metric) if points is None else (along(points[0], axes), "euclidean")


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


def _n_joined(plan: Plan, pivots: NDArray[np.float32]) -> int:
    return min(max(N_JOINED, plan.overlap), len(pivots))


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


def nearest_partitions(plan: Plan, rows: NDArray[np.float32]) -> NDArray[np.int32]:
    """The partitions that rows join, int32 (m, overlap), nearest first; -1 where there are no more."""
    pivots, groups = read(plan.scratch("pivots")), read(plan.scratch("groups"))
    rows, metric = _as_compared(rows, plan.parameters.metric, read(plan.scratch("axes")))
    kwds = plan.parameters.metric_kwds
    near = kmeans.nearest_centers(rows, pivots, metric, kwds, _n_joined(plan, pivots), plan.n_threads)
    return _first_distinct(groups[near], plan.overlap)


@njit(cache=True)
def _first_distinct(near: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The first `count` different ones of every line, int32 (m, count); -1 where there are no more."""
    distinct = np.full((len(near), count), -1, np.int32)
    for i in range(len(near)):
        found = 0
        for one in near[i]:
            if found < count and one not in distinct[i]:
                distinct[i, found] = one
                found += 1
    return distinct
