"""Neighbours by matrix products, among all rows or in cells: nothing is searched, and little compiled.

Half the squared distance of two rows is half their squared norms less their product. The products come from BLAS in
float32, a tile of rows by rows at a time, each pair once; what is kept of a tile is a few rows' worth. The distances of
the kept ones are then computed from the rows themselves, since products round.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pumascale.tasks.graph.cells import meetings_in

TILE = 1024  # rows: products of 4 MB, which stay in the cache
SPARE = 4  # kept beyond what is asked for: products put near rows into another order
CHUNK = 32  # products looked at together: mostly none of them is near
TINY = 1e-20  # half squared norms: of differences in the last place the squares would be 0
ROUNDING = 64 * np.finfo(np.float32).eps  # of half squared distances, in shares of half squared norms
VECTORS = {"nnan", "nsz", "reassoc", "contract"}  # what lets loops over a row run in vector registers

Neighbors = tuple[NDArray[np.int32], NDArray[np.float32]]


def nearest_others(
    points: NDArray[np.float32],
    count: int,
    n_threads: int = 1,
    cells: NDArray[np.int32] | None = None,
    most: int | None = None,
    projected: NDArray[np.float32] | None = None,
) -> tuple[Neighbors, NDArray[np.intp]]:
    """The nearest `count` other points of every point, by squared euclidean distance.

    Parameters
    ----------
    points : float32 (m, n_features)
        m > count.
    n_threads : int
        The result is the same for any number.
    cells : int32 (m, n_cells), optional
        Of all points, each is compared only with those whose home is one of its cells, and those one of whose cells is
        its home. The first is its home; -1: none.
    most : int, optional
        About so many points of a cell it is compared with at most: a cell that is far larger than all others holds
        copies of one row.
    projected : float32 (m, n_axes), optional
        The points along their main axes, see `axes`: products are taken of these, and half as many again are measured.

    Returns
    -------
    indices : int32 (m, count)
    squared : float32 (m, count)
        Ascending.
    unsure : intp (u,)
        Points whose neighbours lie nearer than products in float32 tell apart, or that met too few: to be found in
        another way.
    """
    cells = np.zeros((len(points), 1), np.int32) if cells is None else cells
    order = np.argsort(cells[:, 0], kind="stable").astype(np.int32)  # who is at home in a cell lies side by side
    compared = points if projected is None else projected
    centered = compared[order]
    centered -= compared.mean(axis=0)
    half = half_norms(centered)
    meetings = meetings_in(cells[order], TILE, most or len(points))
    spare = SPARE if compared is points else max(SPARE, count // 2)
    lists = [nothing(len(points), min(count + spare, len(points) - 1)) for _ in range(n_threads)]

    def meet(thread: int) -> None:
        buffer = np.empty(TILE * TILE, np.float32)
        for one, other in meetings[thread::n_threads]:
            left = _rows(centered, one)
            right = left if other is one else _rows(centered, other)  # a product with itself costs half
            products = buffer[: len(one) * len(other)].reshape(len(one), len(other))
            np.dot(left, right.T, out=products)
            _keep_both(products, one, other, half, *lists[thread])

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(meet, range(n_threads)))
    ids, values = _joined(lists)
    is_unsure = np.empty(len(points), bool)
    is_unsure[order] = _is_unsure(values[:, count - 1], half, half)
    ids[order], values[order] = np.where(ids < 0, -1, order[ids]), values.copy()
    _measure(points, points, ids, values)
    is_unsure &= (values[:, count - 1] > 0) | (half.max() < TINY)  # nothing is nearer than copies of a row
    return (ids[:, :count], values[:, :count]), np.flatnonzero(is_unsure)


def nearest_to(
    queries: NDArray[np.float32], points: NDArray[np.float32], count: int
) -> tuple[Neighbors, NDArray[np.intp]]:
    """As `nearest_others`, for `queries` among `points`: int32 and float32 (q, count), 0 < count <= m."""
    center = points.mean(axis=0)
    asked, centered = queries - center, points - center
    half = half_norms(centered)
    ids, values = nothing(len(queries), min(count + SPARE, len(points)))
    for first in range(0, len(points), TILE):
        keep(asked @ centered[first : first + TILE].T, first, half, ids, values)
    own = half_norms(asked)
    is_unsure = _is_unsure(values[:, count - 1] + own, own, half)
    _measure(queries, points, ids, values)
    return (ids[:, :count], values[:, :count]), np.flatnonzero(is_unsure)


def _rows(points: NDArray[np.float32], ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """The points `ids`, ascending; not copied where they lie side by side."""
    first, last = int(ids[0]), int(ids[-1]) + 1
    return points[first:last] if last - first == len(ids) else points[ids]


@njit(cache=True)
def squared_pairs(
    points: NDArray[np.float32], rows: NDArray[np.int32], others: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Squared distances of the points `rows` (m,) to `others` (m, s), float32 (m, s); inf where there is -1."""
    squared = np.full(others.shape, np.inf, np.float32)
    for i in range(len(rows)):
        for j in range(others.shape[1]):
            if others[i, j] >= 0:
                squared[i, j] = _squared(points[rows[i]], points[others[i, j]])
    return squared


def _is_unsure(values: NDArray[np.float32], own: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.bool_]:
    is_sure = (values > ROUNDING * (own + half.max())) & (values < np.inf)  # neither where an overflow left NaN
    return np.asarray(~is_sure)


def half_norms(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half the squared norms of rows, float32 (m,)."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows) / 2, np.float32)


def nothing(n_rows: int, count: int) -> Neighbors:
    """Lists of neighbours that are still empty."""
    return np.full((n_rows, count), -1, np.int32), np.full((n_rows, count), np.inf, np.float32)


@njit(cache=True, nogil=True)
def insert(ids: NDArray[Any], values: NDArray[np.float32], new: int, value: float | np.float32) -> None:
    """Put one in its place among the ascending: the last falls out, or the same one from further away.

    Ties go to the smaller id, so the order in which they come is all one.
    """
    at = len(ids) - 1
    for same in range(at):
        if ids[same] == new:
            at = same
            break
    if (values[at], ids[at]) <= (value, new):
        return
    while at > 0 and (values[at - 1], ids[at - 1]) > (value, new):
        ids[at], values[at] = ids[at - 1], values[at - 1]
        at -= 1
    ids[at], values[at] = new, value


@njit(cache=True, fastmath=VECTORS, nogil=True)
def keep(
    products: NDArray[np.float32],
    first: int,
    half: NDArray[np.float32],
    ids: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Keep the nearest of the points from `first` on for every query."""
    norms = half[first : first + products.shape[1]].copy()
    for i in range(len(products)):
        for low in range(0, products.shape[1], CHUNK):
            high, least = min(low + CHUNK, products.shape[1]), np.float32(np.inf)
            for j in range(low, high):
                products[i, j] = norms[j] - products[i, j]
                least = min(least, products[i, j])
            if least < values[i, -1]:
                for j in range(low, high):
                    if products[i, j] < values[i, -1]:
                        insert(ids[i], values[i], first + j, products[i, j])


@njit(cache=True, fastmath=VECTORS, nogil=True)
def _keep_both(
    products: NDArray[np.float32],
    ones: NDArray[np.int32],
    others: NDArray[np.int32],
    half: NDArray[np.float32],
    ids: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Keep the nearest for the points `ones` (rows of `products`) and for `others` (its columns)."""
    norms, worst = half[others], values[others, -1]
    for i in range(len(ones)):
        one = ones[i]
        own = half[one]
        begin = i + 1 if ones[0] == others[0] else 0  # among themselves: each pair once, none with itself
        for low in range(begin, len(others), CHUNK):
            high, least, limit = min(low + CHUNK, len(others)), np.float32(np.inf), values[one, -1]
            for j in range(low, high):
                value = own + norms[j] - products[i, j]
                products[i, j] = value
                least = min(least, value - max(worst[j], limit))
            if least <= 0:
                for j in range(low, high):
                    other, value = others[j], products[i, j]
                    if value <= values[one, -1]:
                        insert(ids[one], values[one], other, value)
                    if value <= worst[j]:
                        insert(ids[other], values[other], one, value)
                        worst[j] = values[other, -1]


def _joined(lists: list[Neighbors]) -> Neighbors:
    """The nearest out of several lists for the same points."""
    (ids, values), *others = lists
    for more, of_more in others:
        _take(ids, values, more, of_more)
    return ids, values


@njit(cache=True)
def _take(
    ids: NDArray[np.int32], values: NDArray[np.float32], more: NDArray[np.int32], of_more: NDArray[np.float32]
) -> None:
    for i in range(len(ids)):
        for at in range(more.shape[1]):
            if of_more[i, at] <= values[i, -1]:
                insert(ids[i], values[i], more[i, at], of_more[i, at])


@njit(cache=True, fastmath=VECTORS)
def _squared(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for j in range(len(one)):
        total += (one[j] - other[j]) * (one[j] - other[j])
    return total


@njit(cache=True)
def _measure(
    queries: NDArray[np.float32], points: NDArray[np.float32], ids: NDArray[np.int32], values: NDArray[np.float32]
) -> None:
    """Squared distances from the rows themselves, in place of those from products, ascending; ties by id."""
    for i in range(len(ids)):
        for at in range(ids.shape[1]):
            new, value = ids[i, at], np.float32(np.inf)
            if new >= 0:
                value = _squared(queries[i], points[new])
            before = at
            while before > 0 and (values[i, before - 1], ids[i, before - 1]) > (value, new):
                ids[i, before], values[i, before] = ids[i, before - 1], values[i, before - 1]
                before -= 1
            ids[i, before], values[i, before] = new, value
