"""Exact neighbours by matrix products, for partitions of some thousand rows: nothing is searched, and little compiled.

Half the squared distance of two rows is half their squared norms less their product. The products come from BLAS in
float32, a tile of rows by rows at a time, each pair once; what is kept of a tile is a few rows' worth. The distances of
the kept ones are then computed from the rows themselves, since products round.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

TILE = 1024  # rows: products of 4 MB, which stay in the cache
SPARE = 4  # kept beyond what is asked for: products put near rows into another order
CHUNK = 32  # products looked at together: mostly none of them is near
ROUNDING = 64 * np.finfo(np.float32).eps  # of half squared distances, in shares of half squared norms
VECTORS = {"nnan", "nsz", "reassoc", "contract"}  # what lets loops over a row run in vector registers

Neighbors = tuple[NDArray[np.int32], NDArray[np.float32]]


def nearest_others(points: NDArray[np.float32], count: int, n_threads: int = 1) -> tuple[Neighbors, NDArray[np.intp]]:
    """The nearest `count` other points of every point, by squared euclidean distance.

    Parameters
    ----------
    points : float32 (m, n_features)
        m > count.
    n_threads : int
        The result is the same for any number.

    Returns
    -------
    indices : int32 (m, count)
    squared : float32 (m, count)
        Ascending.
    unsure : intp (u,)
        Points whose neighbours lie nearer than products in float32 tell apart: to be found in another way.
    """
    centered = points - points.mean(axis=0)
    half = _half_norms(centered)
    ids, values = _nothing(len(points), min(count + SPARE, len(points) - 1))
    buffers = np.empty((n_threads, TILE * TILE), np.float32)

    def meet(thread: int, pairs: list[tuple[int, int]]) -> None:
        for first, second in pairs[thread::n_threads]:
            one, other = centered[first : first + TILE], centered[second : second + TILE]
            tile = buffers[thread, : len(one) * len(other)].reshape(len(one), len(other))
            np.dot(one, other.T, out=tile)
            _keep_both(tile, first, second, half, ids, values)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        for pairs in _rounds(-(-len(points) // TILE)):
            list(pool.map(meet, range(n_threads), [pairs] * n_threads))
    unsure = _unsure(values[:, count - 1], half, half)
    _measure(points, points, ids, values)
    return (ids[:, :count], values[:, :count]), unsure


def nearest_to(
    queries: NDArray[np.float32], points: NDArray[np.float32], count: int
) -> tuple[Neighbors, NDArray[np.intp]]:
    """As `nearest_others`, for `queries` among `points`: int32 and float32 (q, count), 0 < count <= m."""
    center = points.mean(axis=0)
    asked, centered = queries - center, points - center
    half = _half_norms(centered)
    ids, values = _nothing(len(queries), min(count + SPARE, len(points)))
    for first in range(0, len(points), TILE):
        _keep(asked @ centered[first : first + TILE].T, first, half, ids, values)
    own = _half_norms(asked)
    unsure = _unsure(values[:, count - 1] + own, own, half)
    _measure(queries, points, ids, values)
    return (ids[:, :count], values[:, :count]), unsure


def _rounds(n_tiles: int) -> Iterator[list[tuple[int, int]]]:
    """First rows of all pairs of tiles; within a round each tile is in one pair, so its pairs can meet at once."""
    for total in range(n_tiles):
        partners = [(tile, (total - tile) % n_tiles) for tile in range(n_tiles)]
        yield [(TILE * one, TILE * other) for one, other in partners if one <= other]


def ranks(queries: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half the squared distances of the queries to the points, less half the query's own square; float32 (q, m)."""
    center = points.mean(axis=0)
    centered = points - center
    return np.asarray(_half_norms(centered) - (queries - center) @ centered.T, np.float32)


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


def _unsure(values: NDArray[np.float32], own: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.flatnonzero(~(values > ROUNDING * (own + half.max())))  # also where an overflow left NaN


def _half_norms(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("ij,ij->i", rows, rows) / 2, np.float32)


def _nothing(n_rows: int, count: int) -> Neighbors:
    return np.full((n_rows, count), -1, np.int32), np.full((n_rows, count), np.inf, np.float32)


@njit(cache=True)
def insert(ids: NDArray[np.int32], values: NDArray[np.float32], new: int, value: float) -> None:
    """Put one in its place among the ascending; the last falls out."""
    at = len(values) - 1
    while at > 0 and values[at - 1] > value:
        ids[at], values[at] = ids[at - 1], values[at - 1]
        at -= 1
    ids[at], values[at] = new, value


@njit(cache=True, fastmath=VECTORS)
def _keep(
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
    first: int,
    second: int,
    half: NDArray[np.float32],
    ids: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Keep the nearest for the points from `first` on (rows of `products`) and for those from `second` on (columns)."""
    norms = half[second : second + products.shape[1]].copy()
    worst = values[second : second + products.shape[1], -1].copy()
    for i in range(len(products)):
        one = first + i
        own = half[one]
        begin = i + 1 if first == second else 0  # each pair once, none with itself
        for low in range(begin, products.shape[1], CHUNK):
            high, least, limit = min(low + CHUNK, products.shape[1]), np.float32(np.inf), values[one, -1]
            for j in range(low, high):
                value = own + norms[j] - products[i, j]
                products[i, j] = value
                least = min(least, value - max(worst[j], limit))
            if least < 0:
                for j in range(low, high):
                    other, value = second + j, products[i, j]
                    if value < values[one, -1]:
                        insert(ids[one], values[one], other, value)
                    if value < worst[j]:
                        insert(ids[other], values[other], one, value)
                        worst[j] = values[other, -1]


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
            new, value = ids[i, at], _squared(queries[i], points[ids[i, at]])
            before = at
            while before > 0 and (values[i, before - 1], ids[i, before - 1]) > (value, new):
                ids[i, before], values[i, before] = ids[i, before - 1], values[i, before - 1]
                before -= 1
            ids[i, before], values[i, before] = new, value
