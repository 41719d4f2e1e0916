"""How well rows that a model has not seen fit its map: UMAP's cross-entropy over their edges to trained rows.

The training room's `val_loss` asks the same of the graph's edges of held-out rows. New rows are in no graph, so theirs
is made here, and a second one in the same way for held-out rows, to compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

FLOOR = 1e-4  # of the probability that a pair is apart, as umap-learn's
N_HALVINGS = 64


@dataclass(frozen=True)
class Fit:
    """A model as far as its fit is asked for."""

    encoder: Callable[[NDArray[np.float32]], NDArray[np.float32]]  # flattened rows to (m, n_components)
    a: float
    b: float
    held_out: NDArray[np.int64]  # trained on none of these
    n_neighbors: int  # the row itself included
    negative_sample_rate: int = 5


def edge_loss(
    weights: NDArray[np.float64], attracted: NDArray[np.float64], repelled: NDArray[np.float64], fit: Fit
) -> float:
    """UMAP's cross-entropy, in nats per pair, over edges and random pairs.

    ``(sum(w log(1 + s)) / sum(w) + r mean(log((1 + s) / (s + 1e-4)))) / (1 + r)`` with ``s = a d^(2b)``, the first
    term over edges, the second over random pairs, r of which would be drawn for each edge.

    Parameters
    ----------
    weights : float64 (e,)
        Strengths of the edges.
    attracted : float64 (e,)
        Squared distances in the map, d^2, of the edges' ends.
    repelled : float64 (p,)
        The same of the random pairs.

    Notes
    -----
    Source: McInnes et al. 2018, section 3.2; the floor is umap-learn's.
    """
    near, far = (fit.a * squared**fit.b for squared in (attracted, repelled))
    attraction = np.average(np.log1p(near), weights=weights)
    repulsion = (np.log1p(far) - np.log(far + FLOOR)).mean()
    return float((attraction + fit.negative_sample_rate * repulsion) / (1 + fit.negative_sample_rate))


def strengths(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strongly each row belongs to its nearest trained rows, float64 (m, k), from distances (m, k), ascending.

    ``exp(-(d - rho) / sigma)``, rho the smallest distance above 0 and sigma such that a row's sum is log2(k + 1).

    Notes
    -----
    Source: McInnes et al. 2018, algorithm 3.
    """
    rho = np.where(distances > 0, distances, np.inf).min(axis=1, keepdims=True)
    beyond = np.maximum(distances - np.where(np.isfinite(rho), rho, 0), 0)
    low, high = np.zeros_like(rho), 1e3 * (beyond.max(axis=1, keepdims=True) + np.finfo(np.float32).tiny)
    for _ in range(N_HALVINGS):
        sigma = (low + high) / 2
        above = np.exp(-beyond / sigma).sum(axis=1, keepdims=True) > np.log2(distances.shape[1] + 1)
        low, high = np.where(above, low, sigma), np.where(above, sigma, high)
    mean = distances.sum(axis=1, keepdims=True) / (distances.shape[1] + 1)  # the row itself at 0
    return np.asarray(np.exp(-beyond / np.maximum(sigma, 1e-3 * mean)))


@njit(cache=True, parallel=True)
def keep_nearest(
    best: NDArray[np.float64], ids: NDArray[np.int64], distances: NDArray[np.float64], columns: NDArray[np.int64]
) -> None:
    """Take into `best` and `ids` (m, k), ascending, what is nearer in `distances` (m, c) to the rows `columns`."""
    last = best.shape[1] - 1
    for i in prange(distances.shape[0]):
        for j in range(distances.shape[1]):
            if distances[i, j] < best[i, last]:
                at = last
                while at > 0 and best[i, at - 1] > distances[i, j]:
                    best[i, at], ids[i, at] = best[i, at - 1], ids[i, at - 1]
                    at -= 1
                best[i, at], ids[i, at] = distances[i, j], columns[j]
