"""How many rows are nearer to a query than its limits: by products in float32 where those can tell, else in float64.

Euclidean and cosine distances come from products. Where one lies so near to a limit that its rounding could decide,
which happens to a few in a million, the pair is measured again in float64; where that would be most pairs (copies of
rows, clusters far from each other), and under other metrics, the whole block is (see `distances`).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.quality.distances import EUCLIDEAN, distance_block, except_itself, pair_distances, unit

ROUNDING = 64 * np.finfo(np.float32).eps  # of squared distances, in shares of both rows' squared norms
TINY = 1e-30  # and what such squares may lose to underflow
CHUNK = 32  # products looked at together: mostly none of them is near
MOST_UNSURE = 2**18  # pairs of a block that are measured again
VECTORS = {"nnan", "nsz", "reassoc", "contract"}  # what lets loops over a row run in vector registers


class Nearer:
    """Counts of rows below the limits (m, k) of each of m queries, block after block of rows.

    Attributes
    ----------
    counts : int64 (m, k + 1)
        Rows below limit j but not below limit j - 1; in the last column nothing that is of use.
    """

    def __init__(
        self, queries: NDArray[np.float32], limits: NDArray[np.float64], metric: str, metric_kwds: dict[str, float]
    ) -> None:
        self.counts = np.zeros((len(queries), limits.shape[1] + 1), np.int64)
        self._queries, self._limits, self._metric, self._kwds = queries, limits, metric, metric_kwds
        self._center = queries.mean(axis=0) if metric in EUCLIDEAN else np.float32(0)
        self._points = self._placed(queries)
        self._norms = _norms(np.empty((0, 1), np.float32) if self._points is None else self._points)

    def add(self, rows: NDArray[np.float32], own: NDArray[np.int64]) -> None:
        """Count a block of rows; `own` (m,) is where in it each query itself is, which does not count; -1: nowhere."""
        if not self._add_products(rows, own):
            distances = distance_block(self._queries, rows, self._metric, self._kwds)
            except_itself(distances, own)
            _count(self.counts, distances, self._limits)

    def _placed(self, rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Points whose squared distances rank as the metric does; None: there are none."""
        if self._metric in EUCLIDEAN:
            return np.asarray(rows - self._center, np.float32)
        return unit(rows).astype(np.float32) if self._metric == "cosine" and rows.any(axis=1).all() else None

    def _add_products(self, rows: NDArray[np.float32], own: NDArray[np.int64]) -> bool:
        points = self._placed(rows)
        if self._points is None or points is None:
            return False
        limits = self._limits * (2 if self._metric == "cosine" else 1)
        norms, counts, unsure = _norms(points), np.zeros_like(self.counts), np.empty((MOST_UNSURE, 2), np.int64)
        if not np.isfinite(norms.sum() + self._norms.sum()):
            return False
        n_unsure = _sort_in(self._points @ points.T, self._norms, norms, own, limits, counts, unsure)
        if n_unsure < 0:
            return False
        self.counts += counts
        self._add_pairs(rows, unsure[:n_unsure])
        return True

    def _add_pairs(self, rows: NDArray[np.float32], pairs: NDArray[np.int64]) -> None:
        """Count pairs of a query and a row by their distances, some at a time: they are copies of rows."""
        for at in range(0, len(pairs), len(self._queries)):
            query, row = pairs[at : at + len(self._queries)].T
            distances = pair_distances(self._queries[query], rows[row], self._metric, self._kwds)
            place = (self._limits[query] <= distances[:, None]).sum(axis=1)
            np.add.at(self.counts, (query, place), 1)


def _norms(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("ij,ij->i", points, points), np.float32)


@njit(cache=True, fastmath=VECTORS)
def _sort_in(
    products: NDArray[np.float32],
    own_norms: NDArray[np.float32],
    norms: NDArray[np.float32],
    own: NDArray[np.int64],
    limits: NDArray[np.float64],
    counts: NDArray[np.int64],
    unsure: NDArray[np.int64],
) -> int:
    """Count every row that is surely between two limits; how many are not, in `unsure`, -1 where they are too many."""
    n_unsure, least_norms = 0, norms * np.float32(1 - ROUNDING)
    for i in range(len(products)):
        last = np.float32(limits[i, -1] - own_norms[i] * (1 - 2 * ROUNDING) + TINY)
        for low in range(0, len(norms), CHUNK):
            high, least = min(low + CHUNK, len(norms)), np.float32(np.inf)
            for j in range(low, high):
                least = min(least, least_norms[j] - np.float32(2) * products[i, j])
            if least > last:
                continue
            for j in range(low, high):
                squared = np.float64(own_norms[i]) + norms[j] - 2 * products[i, j]
                doubt = ROUNDING * (own_norms[i] + norms[j]) + TINY
                if j == own[i] or squared - doubt > limits[i, -1]:
                    continue
                place = np.searchsorted(limits[i], squared, side="right")
                is_near = place < limits.shape[1] and limits[i, place] - squared <= doubt
                if is_near or (place > 0 and squared - limits[i, place - 1] <= doubt):
                    if n_unsure == len(unsure):
                        return -1
                    unsure[n_unsure] = i, j
                    n_unsure += 1
                else:
                    counts[i, place] += 1
    return n_unsure


def _count(counts: NDArray[np.int64], distances: NDArray[Any], limits: NDArray[np.float64]) -> None:
    """Add to each row's counts; most rows lie beyond the last limit, and one comparison leaves them out."""
    for row, limit, count in zip(distances, limits, counts, strict=True):
        near = row[row < limit[-1]]
        count += np.bincount(np.searchsorted(limit, near, side="right"), minlength=len(count))
