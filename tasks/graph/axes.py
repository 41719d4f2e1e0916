"""Main axes: fewer dimensions in which near rows are nearly as far from each other as in all, so products cost less.

Principal axes hold what tells far rows apart. How many of them tell near rows apart is seen on pairs of sampled rows,
since within clusters the distances may lie in axes of little variance.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

LEAST_FEATURES, MOST_FEATURES = 96, 2048  # below products cost little, above axes cost much
MOST_ROWS, ROWS_PER_FEATURE = 16_384, 4  # of a sample: more are not needed, fewer do not tell
PAIRS = 256
SHARE = 0.9  # of the squared distance of near rows
WORTH = 0.6  # of the features: with more axes than that little is gained

Axes = NDArray[np.float32]


def main_axes(sample: NDArray[np.float32]) -> Axes:
    """As few principal axes as hold most of the squared distance of near rows.

    Parameters
    ----------
    sample : float32 (m, n_features)

    Returns
    -------
    float32 (n_axes, n_features)
        Orthonormal; none where the features themselves serve as well.
    """
    n_features, none = sample.shape[1], np.empty((0, sample.shape[1]), np.float32)
    some = sample[:: max(1, -(-len(sample) // MOST_ROWS))]
    if not LEAST_FEATURES <= n_features <= min(MOST_FEATURES, len(some) // ROWS_PER_FEATURE):
        return none
    centered = some - some.mean(axis=0)
    with threadpool_limits(1, "blas"):  # with more threads it may round otherwise
        scatter = centered.T @ centered
        if not np.isfinite(scatter).all():
            return none
        axes = np.linalg.eigh(scatter)[1][:, ::-1]
        held = np.cumsum(((_near_pairs(centered) @ axes) ** 2).sum(axis=0, dtype=np.float64))
    n_axes = int(np.searchsorted(held, SHARE * held[-1])) + 1
    return np.ascontiguousarray(axes[:, :n_axes].T) if n_axes <= WORTH * n_features else none


def _near_pairs(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The differences between some rows and the rows nearest to them."""
    asked = np.unique(np.linspace(0, len(rows) - 1, PAIRS, dtype=int))
    squared = np.einsum("ij,ij->i", rows, rows) - 2 * rows[asked] @ rows.T
    squared[np.arange(len(asked)), asked] = np.inf
    return np.asarray(rows[asked] - rows[squared.argmin(axis=1)])


def along(points: NDArray[np.float32], axes: Axes) -> NDArray[np.float32]:
    """The points along the axes, float32 (m, n_axes), or as they are where there are none.

    Features behind those of the axes are left out: rows of zeros have one more under the cosine metric.
    """
    if len(axes) == 0:
        return points
    with threadpool_limits(1, "blas"):
        return points[:, : axes.shape[1]] @ axes.T
