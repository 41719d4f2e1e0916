"""k-means: the middles of neighbourhoods of rows, and which of them are near a row."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.metrics import distance_block, points_of_squares
from pumascale.tasks.storage import arrays

CENTROID_METRICS = {"euclidean", "l2", "sqeuclidean", "cosine", "correlation"}
RANKS_AT_ONCE = 2**20  # 4 MB of them: they stay in the cache


def choose_centers(
    sample: NDArray[np.float32], count: int, metric: str, seed: int, *, steps: int, n_threads: int = 1
) -> NDArray[np.float32]:
    """Centroids after some steps where means make sense under the metric, else sampled rows.

    Neighbourhoods are asked for, not the best clusters: a few steps from random rows make them.

    Parameters
    ----------
    sample : float32 (m, n_features)
        m >= count.
    n_threads : int
        The result is the same for any number.

    Returns
    -------
    float32 (count, n_features)
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, 4]))
    centers = sample[np.sort(generator.choice(len(sample), count, replace=False))]
    if metric not in CENTROID_METRICS or count == len(sample):
        return centers
    for _ in range(steps):
        nearest = nearest_centers(sample, centers, "euclidean", {}, 1, n_threads)
        centers = _means(sample, nearest[:, 0], centers)
    return centers


def nearest_centers(
    rows: NDArray[np.float32],
    centers: NDArray[np.float32],
    metric: str,
    metric_kwds: dict[str, float],
    count: int,
    n_threads: int = 1,
) -> NDArray[np.int32]:
    """The `count` nearest centers of every row, int32 (m, count), nearest first; -1 where squares overflow."""
    blocks = arrays.row_blocks(len(rows), max(1, RANKS_AT_ONCE // len(centers)))
    points = points_of_squares(metric, rows, centers)
    if points is None:
        parts = [distance_block(rows[start:stop], centers, metric, metric_kwds) for start, stop in blocks]
        return np.concatenate([np.argsort(part, axis=1, kind="stable")[:, :count].astype(np.int32) for part in parts])
    middle = points[1].mean(axis=0)
    centered = points[1] - middle
    half = exact.half_norms(centered)

    def nearest(block: tuple[int, int]) -> NDArray[np.int32]:
        asked = points[0][block[0] : block[1]] - middle
        near, values = exact.nothing(len(asked), count)
        exact.keep(asked @ centered.T, 0, half, near, values)
        return near

    # BLAS with threads of its own may round otherwise, and no two runs would agree.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        return np.concatenate(list(pool.map(nearest, blocks)))


@njit(cache=True)
def _means(
    sample: NDArray[np.float32], nearest: NDArray[np.int32], centers: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean of the rows that each center is the nearest to; one without rows stays."""
    sums, counts = np.zeros(centers.shape, np.float64), np.zeros(len(centers), np.int64)
    for i in np.flatnonzero(nearest >= 0):
        counts[nearest[i]] += 1
        sums[nearest[i]] += sample[i]
    means = centers.copy()
    for center in np.flatnonzero(counts):
        means[center] = (sums[center] / counts[center]).astype(np.float32)
    return means
