"""Memory as arithmetic: bytes that a task of each step needs, so that a partition can be sized before it is made."""

IMPORTS = 450 * 2**20  # Python, NumPy, numba with its compiled code, pynndescent, Dask
SAFE_SHARE = 0.6  # of a worker's limit: Dask pauses a worker at 0.8 and kills it at 0.95


def projected_neighbors(n_rows: int, n_features: int, n_neighbors: int) -> int:
    """Bytes that the local neighbours of a partition need at their peak.

    Rows and pynndescent's normalised copy, its heap of (index, distance, flag), candidates in both directions, trees
    and update buffers (max_candidates 2 n_neighbors, at most 60), and our own result.
    """
    k, candidates = n_neighbors + 1, min(60, 2 * n_neighbors)
    per_row = 8 * n_features + 9 * k + 32 * candidates + 14 * 64 + 24 * k
    updates = 3 * 12 * 16384 * int(1.5 * candidates**2)
    return IMPORTS + n_rows * per_row + updates


def default_partition_rows(worker_memory: int | None, n_features: int, n_neighbors: int) -> int:
    """Most rows of a partition that a worker with `worker_memory` bytes can take; 1,000,000 where no limit is known."""
    if worker_memory is None:
        return 1_000_000
    usable = SAFE_SHARE * worker_memory - projected_neighbors(0, n_features, n_neighbors)
    per_row = projected_neighbors(1, n_features, n_neighbors) - projected_neighbors(0, n_features, n_neighbors)
    return max(4 * n_neighbors, int(usable / per_row))
