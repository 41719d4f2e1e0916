"""Memory as arithmetic: bytes that a task of each step needs, so that a partition can be sized before it is made."""

from collections.abc import Callable

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.knn import THREADS, is_compared
from pumascale.tasks.graph.metrics import OF_PRODUCTS

IMPORTS = 450 * 2**20  # Python, NumPy, numba with its compiled code, pynndescent, Dask
SAFE_SHARE = 0.6  # of a worker's limit: Dask pauses a worker at 0.8 and kills it at 0.95
DISTANCES = 3 * 64 * 2**20  # of some rows to all samples, and what is sorted
TILES = 64 * 2**20  # where products take their place: some of them at a time, and the rows centred


def projected_block(block_rows: int, n_features: int, n_neighbors: int, overlap: int, metric: str) -> int:
    """Bytes for a block of rows: assigned (or compared with samples), scattered (a copy per partition), merged."""
    assigned = 4 * n_features * block_rows + (TILES if metric in OF_PRODUCTS else DISTANCES)
    scattered = (2 + overlap) * 4 * n_features * block_rows
    merged = 5 * 12 * overlap * n_neighbors * block_rows  # indices and distances, sorted twice
    return IMPORTS + max(assigned, scattered, merged)


def projected_neighbors(n_rows: int, n_features: int, n_neighbors: int, metric: str) -> int:
    """Bytes that the local neighbours of a partition need at their peak, whichever way so many rows go."""
    way = projected_compared if is_compared(n_rows, metric) else projected_searched
    return way(n_rows, n_features, n_neighbors)


def projected_compared(n_rows: int, n_features: int, n_neighbors: int) -> int:
    """Bytes for comparing by products: rows as read, as float32, as points and centred; lists and tiles per thread."""
    lists, tiles = 8 * (n_neighbors + exact.SPARE), 4 * exact.TILE * (exact.TILE + 2 * n_features)
    per_row = 16 * n_features + THREADS * lists + 24 * n_neighbors
    return IMPORTS + n_rows * per_row + THREADS * tiles


def projected_searched(n_rows: int, n_features: int, n_neighbors: int) -> int:
    """Bytes for a search by pynndescent.

    Rows as they were read and as its normalised copy, its heap of (index, distance, flag), candidates in both
    directions, trees and update buffers (max_candidates 2 n_neighbors, at most 60), and our own result.
    """
    k, candidates = n_neighbors + 1, min(60, 2 * n_neighbors)
    per_row = 12 * n_features + 9 * k + 32 * candidates + 14 * 64 + 24 * k
    updates = 3 * 12 * 16384 * int(1.5 * candidates**2)
    return IMPORTS + n_rows * per_row + updates


def projected_edges(n_rows: int, n_features: int, n_neighbors: int) -> int:
    """Bytes for the edges of a partition: directed ones, looked up and sorted by pair; and its rows, collected."""
    return IMPORTS + n_rows * (160 * n_neighbors + 3 * 4 * n_features)


def projected_peak(n_rows: int, block_rows: int, n_features: int, n_neighbors: int, overlap: int, metric: str) -> int:
    """Bytes that a worker needs at most, for partitions of `n_rows` and blocks of `block_rows` rows."""
    return max(
        projected_block(block_rows, n_features, n_neighbors, overlap, metric),
        projected_neighbors(n_rows, n_features, n_neighbors, metric),
        projected_edges(n_rows, n_features, n_neighbors),
    )


def default_partition_rows(worker_memory: int | None, n_features: int, n_neighbors: int, metric: str) -> int:
    """Most rows of a partition that a worker with `worker_memory` bytes can take; 1,000,000 where no limit is known."""
    if worker_memory is None:
        return 1_000_000
    way = projected_compared if metric in OF_PRODUCTS else projected_searched
    rooms = (_most_rows(room, SAFE_SHARE * worker_memory, n_features, n_neighbors) for room in (way, projected_edges))
    return max(4 * n_neighbors, min(rooms))


def _most_rows(room: Callable[[int, int, int], int], most: float, n_features: int, n_neighbors: int) -> int:
    none, one = (room(n_rows, n_features, n_neighbors) for n_rows in (0, 1))
    return int((most - none) / (one - none))
