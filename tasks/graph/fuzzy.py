"""Fuzzy simplicial sets: from nearest neighbours to membership strengths, block by block.

Each row's sigma and rho depend on that row alone, but for one number: rows without a neighbour at a positive distance
get a floor from the mean over all distances. That one reduction comes first, so blocks of any size agree bit for bit.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SMOOTH_K_TOLERANCE = 1e-5
MIN_K_DIST_SCALE = 1e-3
N_ITERATIONS = 64
N_NEWTON = 12  # most rows take four
STEEP = 0.02  # below it the perplexity is so flat that a line does not foretell it


@njit(cache=True)
def _local_rho(distances: NDArray[np.float32], local_connectivity: float) -> float:
    """Distance to the `local_connectivity`-th neighbour at a positive distance, interpolated."""
    positive = distances[distances > 0.0]
    index = int(np.floor(local_connectivity))
    fraction = local_connectivity - index
    if positive.shape[0] < local_connectivity:
        return float(positive.max()) if positive.shape[0] > 0 else 0.0
    if index == 0:
        return float(fraction * positive[0]) if positive.shape[0] > 0 else 0.0
    rho = float(positive[index - 1])
    if fraction > SMOOTH_K_TOLERANCE:
        rho += float(fraction * (positive[index] - positive[index - 1]))
    return rho


@njit(cache=True)
def _perplexity(distances: NDArray[np.float32], rho: float, sigma: float) -> float:
    total = 0.0
    for j in range(1, distances.shape[0]):
        d = distances[j] - rho
        total += float(np.exp(-(d / sigma))) if d > 0 else 1.0
    return total


@njit(cache=True, fastmath={"reassoc", "contract"})
def _quick_perplexity(distances: NDArray[np.float32], rho: float, scale: float) -> tuple[float, float]:
    """Perplexity at sigma = 1 / scale to 1e-7, and how fast it falls as the logarithm of `scale` grows.

    exp(-x) is the 64th power of the first terms of exp(-x / 64), which is compiled to vectors, unlike calls of `exp`.
    """
    total, fall = 0.0, 0.0
    for distance in distances:
        x = min(max(distance - rho, 0.0) * scale / 64, 1.0)
        strength = 1.0 - x * (1.0 - x / 2 * (1.0 - x / 3 * (1.0 - x / 4)))
        strength *= strength
        strength *= strength
        strength *= strength
        strength *= strength
        strength *= strength
        strength *= strength
        total, fall = total + strength, fall + 64 * x * strength
    return total, fall


@njit(cache=True)
def _root(distances: NDArray[np.float32], rho: float, target: float) -> tuple[float, float]:
    """The sigma whose perplexity is the target, and the slope there, by Newton's method; NaN where it finds none.

    The logarithm of the perplexity is convex in 1 / sigma, so from 0 it climbs to the root without a step too far.
    """
    total, slope = 0.0, 0.0
    for distance in distances:
        if distance < np.inf:
            total, slope = total + 1.0, slope + max(distance - rho, 0.0)
    scale = np.log(total / target) * total / slope if total > target and slope > 0.0 else np.nan
    for _ in range(N_NEWTON):
        total, fall = _quick_perplexity(distances, rho, scale)
        scale += np.log(total / target) * total / fall * scale if fall > 0.0 else np.nan
        if np.isnan(scale):
            break
        if abs(total - target) < 10 * SMOOTH_K_TOLERANCE:
            return (1.0 / scale, fall * scale) if fall > STEEP else (np.nan, np.nan)
    return np.nan, np.nan


@njit(cache=True)
def _local_sigma(distances: NDArray[np.float32], rho: float, target: float) -> float:
    """Where umap-learn's bisection ends, to the bit: most of its turns are known from the root, and not looked at."""
    low, high, mid = 0.0, np.inf, 1.0
    root, slope = _root(distances[1:], rho, target)
    for _ in range(N_ITERATIONS):
        excess = slope * (mid - root)
        if not (abs(excess) < SMOOTH_K_TOLERANCE / 2 or abs(excess) > 2 * SMOOTH_K_TOLERANCE):
            excess = _perplexity(distances, rho, mid) - target
        if abs(excess) < SMOOTH_K_TOLERANCE:
            break
        if excess > 0.0:
            high = mid
            mid = (low + high) / 2.0
        else:
            low = mid
            mid = mid * 2.0 if high == np.inf else (low + high) / 2.0
    return mid


@njit(cache=True, parallel=True)
def smooth_knn_dist(
    knn_dists: NDArray[np.float32], mean_distance: float, local_connectivity: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bandwidths and offsets that give every row log2(n_neighbors) neighbours' worth of membership.

    Parameters
    ----------
    knn_dists : float32 (m, n_neighbors)
        Ascending, the row itself in column 0.
    mean_distance : float
        Mean over all distances of all rows, see `finite_sum`.
    local_connectivity : float
        Neighbours at full strength.

    Returns
    -------
    sigmas, rhos : float32 (m,)

    Notes
    -----
    Source: McInnes et al. 2018, algorithm 3; ``umap.umap_.smooth_knn_dist``.
    """
    n_rows, n_neighbors = knn_dists.shape
    sigmas, rhos = np.zeros(n_rows, np.float32), np.zeros(n_rows, np.float32)
    target = np.log2(n_neighbors)
    for i in prange(n_rows):
        distances = knn_dists[i]
        rhos[i] = _local_rho(distances, local_connectivity)
        sigma = _local_sigma(distances, rhos[i], target)
        floor = distances.mean() if rhos[i] > 0.0 else mean_distance
        sigmas[i] = max(sigma, MIN_K_DIST_SCALE * floor)
    return sigmas, rhos


@njit(cache=True, parallel=True)
def membership_strengths(
    ids: NDArray[np.int64],
    knn_indices: NDArray[np.int64],
    knn_dists: NDArray[np.float32],
    sigmas: NDArray[np.float32],
    rhos: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Strength of the directed edge from each row to each of its neighbours, in [0, 1].

    Parameters
    ----------
    ids : int64 (m,)
        Global ids of the rows: an edge to the row itself has strength 0.

    Returns
    -------
    float32 (m, n_neighbors)
        0 where there is no neighbour (index -1).

    Notes
    -----
    Source: McInnes et al. 2018, section 3.1; ``umap.umap_.compute_membership_strengths``.
    """
    strengths = np.zeros(knn_indices.shape, np.float32)
    for i in prange(knn_indices.shape[0]):
        for j in range(knn_indices.shape[1]):
            if knn_indices[i, j] == -1 or knn_indices[i, j] == ids[i]:
                continue
            d = knn_dists[i, j] - rhos[i]
            strengths[i, j] = 1.0 if d <= 0.0 or sigmas[i] == 0.0 else np.exp(-(d / sigmas[i]))
    return strengths


def fuzzy_union(
    forward: NDArray[np.float32], backward: NDArray[np.float32], set_op_mix_ratio: float
) -> NDArray[np.float32]:
    """Join both directions of edges: mix (A + A' - A o A') + (1 - mix) (A o A'), float32 (e,).

    Source: ``umap.umap_.fuzzy_simplicial_set``.
    """
    product = forward * backward
    mix = np.float32(set_op_mix_ratio)
    return mix * (forward + backward - product) + (np.float32(1.0) - mix) * product
