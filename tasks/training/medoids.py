"""The training room's medoids: the rows that become prototypes, one for each of many small clusters.

k-means takes its steps along the sample's principal axes, where a step costs a sixth of what it does in 384 features;
only which row of a cluster is nearest to its middle is asked in all of them. On debian-packages, 8,192 prototypes: 6
CPU seconds for 14 with a last look of all rows at all middles, and a mean distance from a row to its nearest prototype
of 0.6469 for 0.6447.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from pumascale.tasks.training.draws import AXES, FIRST_MEDOIDS, SAMPLE, draw
from pumascale.tasks.training.splits import mask

MOST_ROWS_FOR_CHOICE, MOST_BYTES_FOR_CHOICE = 131_072, 2**28
MOST_ROWS_FOR_AXES = 20_000
N_AXES, N_STEPS = 64, 3  # of k-means
SCORES_AT_ONCE = 2**21  # by each thread: 8 MB of them
# An earlier prototype stays up to so many times the squared distance of the nearest row to the centre. On 20,000
# sentence embeddings and 2,000 new ones 91 % do, old rows move by 1.6 % of the map's width in the 95th percentile, and
# recall of new rows is .285; .281 and 5 % with none kept on purpose, .278 and .6 % with all still in their clusters.
NEARLY = 1.05
NOBODY = np.zeros(0, np.int64)


def draw_sample(among: NDArray[np.bool_], count: int, row_nbytes: int, seed: int) -> NDArray[np.int64]:
    """The rows that `count` prototypes are chosen from: at most 131,072 and 256 MB of them, int64 ascending."""
    most = max(count, min(MOST_ROWS_FOR_CHOICE, MOST_BYTES_FOR_CHOICE // row_nbytes))
    return draw(among, most, seed, SAMPLE)


def draw_of(ids: NDArray[np.int64], count: int, seed: int, purpose: int) -> NDArray[np.int64]:
    """Draw `count` of the rows `ids` (ascending): indices into them, int64 ascending."""
    return np.searchsorted(ids, draw(mask(ids, int(ids[-1]) + 1), count, seed, purpose))


def principal_axes(rows: NDArray[np.float32], ids: NDArray[np.int64], count: int, seed: int) -> NDArray[np.float32]:
    """The directions of largest variance, by a sample: float32 (at most `count`, n_features), orthonormal."""
    some = rows[draw_of(ids, MOST_ROWS_FOR_AXES, seed, AXES)] - rows.mean(axis=0)
    _, _, axes = randomized_svd(some, min(count, *some.shape), random_state=seed)
    return np.asarray(axes, np.float32)


def choose_prototypes(
    rows: NDArray[np.float32],
    ids: NDArray[np.int64],
    count: int,
    seed: int,
    earlier: NDArray[np.int64] = NOBODY,
) -> NDArray[np.int64]:
    """Choose about `count` rows that stand for all: three steps of k-means from random rows, then the nearest rows.

    Parameters
    ----------
    rows : float32 (n_rows, n_features)
        Around the origin: far from it, products no longer tell which of them are near each other.
    ids : int64 (n_rows,)
        Of the rows in the source, ascending: by them the random ones are drawn.
    earlier : int64 (m,)
        Ids of the prototypes of an earlier model, ascending. They are started from in place of rows that it could
        know, and stay where they are still in their clusters.

    Returns
    -------
    int64 (at most count,)
        Ascending; fewer where centres share their nearest row.
    """
    if count >= len(rows):
        return np.arange(len(rows))
    first, n_kept = _starts(ids, count, seed, earlier)
    short = rows if rows.shape[1] <= N_AXES else rows @ principal_axes(rows, ids, N_AXES, seed).T
    centres = short[first]
    for _ in range(N_STEPS):
        owner = _nearest(short, centres)
        centres = _means(short, owner, centres)
    return _medoids(rows, owner, _means(rows, owner, rows[first]), first[:n_kept])


def _starts(ids: NDArray[np.int64], count: int, seed: int, earlier: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Random rows, those up to the last earlier prototype replaced by earlier ones, which are the first so many."""
    first = draw_of(ids, count, seed, FIRST_MEDOIDS)
    earlier = np.flatnonzero(np.isin(ids, earlier))
    if not len(earlier):
        return first, 0
    new = first[first > earlier[-1]]
    kept = earlier[draw_of(ids[earlier], count - len(new), seed, FIRST_MEDOIDS)]
    return np.concatenate([kept, new]), len(kept)


def _medoids(
    rows: NDArray[np.float32],
    owner: NDArray[np.int64],
    centres: NDArray[np.float32],
    kept: NDArray[np.int64] = NOBODY,
) -> NDArray[np.int64]:
    """The row nearest to each centre among those that it owns, ascending.

    For the first centres it is their row of `kept` where that is among them and nearly the nearest.
    """
    distance = _squared(rows, owner, centres)
    order = np.argsort(-distance, kind="stable")
    medoid = np.full(len(centres), -1)
    medoid[owner[order]] = order  # the nearest member is written last
    mine = np.flatnonzero(owner[kept] == np.arange(len(kept)))
    stays = mine[distance[kept[mine]] <= NEARLY * distance[medoid[mine]]]
    medoid[stays] = kept[stays]
    return np.unique(medoid[medoid >= 0])


def _squared(rows: NDArray[np.float32], owner: NDArray[np.int64], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """The squared distance of each row to its centre."""
    squared = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 8192):
        apart = rows[start : start + 8192] - centres[owner[start : start + 8192]]
        squared[start : start + 8192] = np.einsum("ij,ij->i", apart, apart)
    return squared


def _nearest(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """The nearest centre of each row: where `x.c - |c|^2 / 2` is largest, one product with a feature more."""
    turned = np.column_stack([centres, -np.sum(centres**2, axis=1) / 2]).T
    owner, step = np.empty(len(rows), np.int64), max(1, SCORES_AT_ONCE // len(centres))

    def look(start: int) -> None:
        some = rows[start : start + step]
        owner[start : start + step] = (np.pad(some, ((0, 0), (0, 1)), constant_values=1) @ turned).argmax(axis=1)

    # A product on several threads may round otherwise than on one: any number of cores shall choose the same rows.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(look, range(0, len(rows), step)))
    return owner


def _means(rows: NDArray[np.float32], owner: NDArray[np.int64], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each centre's rows; a centre without rows stays."""
    sums, counts = np.zeros_like(centres), np.bincount(owner, minlength=len(centres))
    for start in range(0, len(rows), 8192):
        some = owner[start : start + 8192]
        order = np.argsort(some, kind="stable")
        owned, starts = np.unique(some[order], return_index=True)
        sums[owned] += np.add.reduceat(rows[start : start + 8192][order], starts, axis=0)
    return np.where(counts[:, np.newaxis] > 0, sums / np.maximum(counts, 1)[:, np.newaxis], centres).astype(np.float32)
