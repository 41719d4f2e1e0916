"""Nearest neighbours of rows in one memory: by products where they give the metric's distances, else by pynndescent.

Few rows are all compared. More of them are compared in cells, see `cells`: pynndescent is as fast once it is compiled,
which takes 45 s of a fresh process.

`n_neighbors` counts the row itself, in column 0, as umap-learn has it; the others are its n_neighbors - 1 nearest
other rows, so duplicates of a row cost it no neighbour.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.axes import Axes, along, main_axes
from pumascale.tasks.graph.kmeans import choose_centers, nearest_centers
from pumascale.tasks.graph.metrics import OF_PRODUCTS, distance_block, distances_of_squares, points_of_squares

EXACT_BELOW = 4096  # rows, where their distances are no products
ALL_PER_CELL = 1024  # up to so many rows per cell that a row is compared in, all are compared
MOST_CELLS = 4096  # of a partition
SAMPLED_PER_CELL, CELL_STEPS = 8, 1
FEW_LISTS = 131_072  # rows: each thread keeps neighbours of its own for all of them
MOST_DISTANCES = 131_072**2  # of rows that products cannot tell apart; with more of them pynndescent is faster
THREADS = 4  # of pynndescent: its result depends on their number, which any number of workers shall agree on
BLOCK_VALUES = 2**24  # distances held at once: 64 MB in float32

Neighbors = tuple[NDArray[np.int32], NDArray[np.float32]]


def nearest_neighbors(
    rows: NDArray[np.float32],
    n_neighbors: int,
    metric: str,
    metric_kwds: dict[str, float],
    *,
    angular_rp_forest: bool,
    random_state: int,
    n_threads: int = THREADS,
    n_cells: int = 16,
    axes: Axes | None = None,
) -> tuple[Neighbors, NDArray[np.int32]]:
    """The nearest neighbours of every row among all rows.

    Parameters
    ----------
    rows : float32 (m, n_features)
        m > n_neighbors, or none.
    n_threads : int
        For products, at most; their result is the same for any number.
    n_cells : int
        That a row is compared in, its home and those that it visits, where not all rows are.
    axes : float32 (n_axes, n_features), optional
        The main axes of the data set; by default those of the rows, see `axes`.

    Returns
    -------
    indices : int32 (m, n_neighbors)
        Column 0 is the row itself.
    distances : float32 (m, n_neighbors)
        Ascending.
    cells : int32 (m, n_cells)
        In which cells each row was compared, its home first, below MOST_CELLS; -1: none.
    """
    if len(rows) == 0:
        nothing = np.empty((0, n_neighbors), np.int32), np.empty((0, n_neighbors), np.float32)
        return nothing, np.empty((0, n_cells), np.int32)
    points = points_of_squares(metric, rows) if len(rows) > 1 else None
    if points is None and len(rows) <= EXACT_BELOW:
        found = exact_neighbors(rows, rows, np.arange(len(rows)), n_neighbors, metric, metric_kwds)
        return found, _one_cell(len(rows), n_cells)
    if points is not None:
        found, unsure, cells = _compared(points[0], n_neighbors, n_cells, metric, random_state, n_threads, axes)
        if len(unsure) * len(rows) <= MOST_DISTANCES:
            if len(unsure):
                again = exact_neighbors(rows[unsure], rows, unsure, n_neighbors, metric, metric_kwds)
                found[0][unsure], found[1][unsure] = again
            return found, cells
    found = searched_neighbors(rows, n_neighbors, metric, metric_kwds, angular_rp_forest, random_state)
    return found, np.full((len(rows), n_cells), -1, np.int32)


def _compared(
    points: NDArray[np.float32],
    n_neighbors: int,
    n_cells: int,
    metric: str,
    seed: int,
    n_threads: int,
    axes: Axes | None,
) -> tuple[Neighbors, NDArray[np.intp], NDArray[np.int32]]:
    """The neighbours among all points, or in cells where there are many; the unsure ones, see `exact`; the cells."""
    cells, most, projected = _one_cell(len(points), n_cells), len(points), points
    count = _n_centers(len(points), n_cells, n_neighbors)
    if len(points) > ALL_PER_CELL * n_cells and count > n_cells:
        projected = along(points, main_axes(points) if axes is None else axes)
        cells, most = _nearest_cells(projected, count, n_cells, seed, n_threads), 8 * len(points) // count
    n_threads = n_threads if len(points) <= FEW_LISTS else min(n_threads, THREADS)
    (others, squared), unsure = exact.nearest_others(points, n_neighbors - 1, n_threads, cells, most, projected)
    indices = np.concatenate([np.arange(len(points), dtype=np.int32)[:, None], others], axis=1)
    return (indices, np.pad(distances_of_squares(squared, metric), ((0, 0), (1, 0)))), unsure, cells


def _one_cell(n_rows: int, n_cells: int) -> NDArray[np.int32]:
    """All rows at home in one cell: all meet all."""
    return np.tile(np.array([0] + [-1] * (n_cells - 1), np.int32), (n_rows, 1))


def _n_centers(n_rows: int, n_cells: int, n_neighbors: int) -> int:
    """As many cells as a row then meets others in its own, which is when the fewest products are computed.

    But so few that each holds more than the neighbours that are asked for.
    """
    return min(MOST_CELLS, int((n_rows * n_cells) ** 0.5), n_rows // (2 * n_neighbors))


def _nearest_cells(
    points: NDArray[np.float32], count: int, n_cells: int, seed: int, n_threads: int
) -> NDArray[np.int32]:
    """The nearest of `count` cells of every point, int32 (m, n_cells)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, 9]))
    sample = points[np.sort(generator.choice(len(points), min(len(points), SAMPLED_PER_CELL * count), replace=False))]
    centers = choose_centers(sample, count, "euclidean", seed, steps=CELL_STEPS, n_threads=n_threads)
    return nearest_centers(points, centers, "euclidean", {}, n_cells, n_threads)


def searched_neighbors(
    rows: NDArray[np.float32],
    n_neighbors: int,
    metric: str,
    metric_kwds: dict[str, float],
    angular_rp_forest: bool,
    random_state: int,
) -> Neighbors:
    """As `nearest_neighbors`, by pynndescent."""
    import numba
    from pynndescent import NNDescent

    index = NNDescent(
        rows,
        metric=metric,
        metric_kwds=metric_kwds,
        n_neighbors=n_neighbors + 1,  # the row itself may come back anywhere among its duplicates
        n_trees=min(64, 5 + round(len(rows) ** 0.5 / 20.0)),
        n_iters=max(5, round(np.log2(len(rows)))),
        max_candidates=min(60, 2 * n_neighbors),
        angular_trees=angular_rp_forest,
        random_state=random_state,
        n_jobs=min(THREADS, len(os.sched_getaffinity(0)), numba.get_num_threads()),
        low_memory=True,
    )
    indices, distances = index.neighbor_graph
    return put_self_first(np.arange(len(rows)), indices, distances, n_neighbors)


def is_compared(n_rows: int, metric: str) -> bool:
    """Whether nothing is searched: rows are compared, all of them or in cells."""
    return metric in OF_PRODUCTS or n_rows <= EXACT_BELOW


def exact_neighbors(
    queries: NDArray[np.float32],
    rows: NDArray[np.float32],
    ids: NDArray[np.intp],
    n_neighbors: int,
    metric: str,
    metric_kwds: dict[str, float],
) -> Neighbors:
    """As `nearest_neighbors`, for `queries` that are the rows `ids`, by all distances, some rows at a time."""
    step = max(1, BLOCK_VALUES // len(rows))
    parts = [
        _nearest(distance_block(queries[at : at + step], rows, metric, metric_kwds), ids[at : at + step], n_neighbors)
        for at in range(0, len(queries), step)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _nearest(distances: NDArray[np.float32], ids: NDArray[np.intp], n_neighbors: int) -> Neighbors:
    distances[np.arange(len(ids)), ids] = -1.0  # the row itself comes first, also among duplicates
    nearest = np.argpartition(distances, n_neighbors - 1, axis=1)[:, :n_neighbors]
    chosen = np.take_along_axis(distances, nearest, axis=1)
    order = np.lexsort((nearest, chosen), axis=1)
    chosen = np.take_along_axis(chosen, order, axis=1)
    chosen[:, 0] = 0.0
    return np.take_along_axis(nearest, order, axis=1).astype(np.int32), chosen


def put_self_first(
    ids: NDArray[Any], indices: NDArray[Any], distances: NDArray[np.float32], n_neighbors: int
) -> Neighbors:
    """Move each row itself to column 0 and keep its n_neighbors - 1 nearest others; -1 and inf stay at the end."""
    itself = indices == ids[:, None]
    keys = np.where(itself, -1.0, np.where(indices < 0, np.inf, distances))
    order = np.argsort(keys, axis=1, kind="stable")
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    missing = ~itself.any(axis=1)
    indices[missing, 1:], distances[missing, 1:] = indices[missing, :-1], distances[missing, :-1]
    indices[:, 0], distances[:, 0] = ids, 0.0
    return indices[:, :n_neighbors].astype(np.int32), distances[:, :n_neighbors].astype(np.float32)
