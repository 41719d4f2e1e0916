"""What a build is about: the places, the row blocks, the partitions; small, frozen, and sent along with every task."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph.memory import default_partition_rows
from pumascale.tasks.graph.metrics import OF_PRODUCTS
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, chunk_objects, shards, sources, urls

LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES = 16 * 2**20, 64 * 2**20
MANY_BLOCKS = 512  # from so many on they grow, so that fewer objects are read by each partition
MOST_RANGE_BYTES = 32 * 2**20  # read whole for some of its rows: picking them out of their chunks costs more
ROWS_ALONE = 131_072  # to these one process is enough, and it starts at once
SMALL_PARTITION, SMALL_SHARE = 32_768, 128  # rows at most, or that part of all: every row is compared with all pivots
CELLS_OF_ROW = 18  # in all its partitions, if it joins as many as it may
MOST_THREADS = 16  # each keeps lists of its own
LEAST_TASKS = 8  # where there are partitions enough: every one of some workers has work
LEAST_BLOCKS = 8  # where there are rows enough: every one of some workers has work, and about as much of it


@dataclass(frozen=True)
class Plan:
    """One build of one graph."""

    source: str
    place: str
    n_rows: int
    n_features: int
    n_partitions: int
    most_rows: int  # of a partition
    block_rows: int
    parameters: GraphParameters
    n_at_once: int = 1  # partitions that are worked on with the cores of one host

    def member(self, name: str) -> str:
        """URL of an array over all rows."""
        return urls.join(self.place, name)

    def part(self, partition: int) -> str:
        """URL of the run that was collected for a partition, see `partitions.collect`."""
        return self.scratch("parts", f"{partition:06d}")

    def scratch(self, *parts: str) -> str:
        """URL of something that is gone when the graph is finished."""
        return urls.join(self.place, "scratch", *parts)

    def blocks(self) -> list[tuple[int, int]]:
        """(start, stop) of the blocks of rows."""
        return arrays.row_blocks(self.n_rows, self.block_rows)

    @property
    def n_threads(self) -> int:
        """Of a task whose result they do not change: its share of the cores that this process may use."""
        return min(MOST_THREADS, max(1, len(os.sched_getaffinity(0)) // self.n_at_once))

    @property
    def overlap(self) -> int:
        """Most partitions that a row joins."""
        return min(self.parameters.overlap, self.n_partitions)

    @property
    def n_cells(self) -> int:
        """Cells of a partition that each of its rows is compared in, see `knn`."""
        return max(2, CELLS_OF_ROW // self.overlap)


@dataclass(frozen=True)
class PartitionTask:
    """Work on one partition."""

    plan: Plan
    partition: int

    @property
    def name(self) -> str:
        """Names the task's receipt."""
        return f"{self.partition:06d}"


@dataclass(frozen=True)
class BlockTask:
    """Work on one block of rows; `mean_distance` is the global mean where the step needs it."""

    plan: Plan
    start: int
    stop: int
    turn: int = 0
    mean_distance: float = 0.0

    @property
    def name(self) -> str:
        """Names the task's receipt."""
        return f"{self.start:012d}"

    @property
    def block(self) -> int:
        """The block's number."""
        return self.start // self.plan.block_rows


def make_plan(
    source: str,
    place: str,
    parameters: GraphParameters,
    worker_memory: int | None,
    n_workers: int = 1,
) -> Plan:
    """Plan the build: one partition of few rows, small ones of more, of most as many as memory asks for.

    Parameters
    ----------
    worker_memory : int, optional
        Bytes that one task may use.
    n_workers : int
        How many share a host's cores.
    """
    shape = sources.open_source(source).shape
    n_features = int(np.prod(shape[1:]))
    fitting = default_partition_rows(worker_memory, n_features, parameters.n_neighbors, parameters.metric)
    bound = parameters.partition_rows or fitting
    aim = min(bound, max(SMALL_PARTITION, shape[0] // SMALL_SHARE)) if is_shared_out(shape[0], parameters) else bound
    n_partitions = parameters.n_partitions or enough_partitions(shape[0], aim, parameters.overlap)
    block_rows = _block_rows(shape[0], max(8 * parameters.n_neighbors, 4 * n_features))
    at_once = min(n_workers, n_partitions)
    return Plan(source, place, shape[0], n_features, n_partitions, bound, block_rows, parameters, at_once)


def _block_rows(n_rows: int, row_bytes: int) -> int:
    most = min(MOST_BLOCK_BYTES, max(LEAST_BLOCK_BYTES, n_rows * row_bytes // MANY_BLOCKS)) // row_bytes
    return max(1024, min(most, n_rows // LEAST_BLOCKS) // 1024 * 1024)


def is_shared_out(n_rows: int, parameters: GraphParameters) -> bool:
    """Whether the rows come in small partitions by default, for all workers at once and with nothing to compile."""
    asked = parameters.n_partitions or parameters.partition_rows or parameters.precomputed_knn
    return not asked and parameters.metric in OF_PRODUCTS and n_rows > ROWS_ALONE


def enough_partitions(n_rows: int, bound: int, overlap: int) -> int:
    """One, or so many that with overlap they stay a third below the bound on average: sizes vary."""
    return 1 if n_rows <= bound else max(overlap + 1, -(-3 * n_rows * overlap // (2 * bound)))


def partition_tasks(plan: Plan) -> list[PartitionTask]:
    """One task per partition."""
    return [PartitionTask(plan, partition) for partition in range(plan.n_partitions)]


def block_tasks(plan: Plan, turn: int = 0, mean_distance: float = 0.0) -> list[BlockTask]:
    """One task per block of rows."""
    return [BlockTask(plan, start, stop, turn, mean_distance) for start, stop in plan.blocks()]


def partition_groups(plan: Plan, n_rows: int) -> list[tuple[int, ...]]:
    """Partitions side by side for one task each, together about `n_rows` that joined them first.

    Dask takes as long for a task as some thousand rows do, and what is near is read once.
    """
    in_a_task = min(n_rows * plan.n_partitions // plan.n_rows, plan.n_partitions // LEAST_TASKS)
    ranges = arrays.row_blocks(plan.n_partitions, max(1, in_a_task))
    return [tuple(range(first, last)) for first, last in ranges]


def scratch_of(plan: Plan, kind: str, tasks: Sequence[Any]) -> list[str]:
    """URLs of what the tasks of a step left in scratch, in their order."""
    return [plan.scratch(kind, task.name) for task in tasks]


def create_store(plan: Plan) -> None:
    """Metadata first: every array over all rows, in shards of a block, before any task writes a region of it."""
    n_rows, k = plan.n_rows, plan.parameters.n_neighbors
    arrays.create_group(plan.place, {"n_rows": n_rows, "n_neighbors": k, "metric": plan.parameters.metric})
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "knn_indices": ((n_rows, k), np.int64),
        "knn_dists": ((n_rows, k), np.float32),
        "sigmas": ((n_rows,), np.float32),
        "rhos": ((n_rows,), np.float32),
        "isolated": ((n_rows,), np.bool_),
        "scratch/strongest_of": ((n_rows,), np.float32),
        "scratch/settled": ((n_rows, k), np.bool_),
        "scratch/partitions_of": ((n_rows, plan.overlap), np.int32),
        "scratch/cells_of": ((n_rows, plan.overlap * plan.n_cells), np.int32),
    }
    for name, (shape, dtype) in shapes.items():
        arrays.create_array(plan.member(name), shape=shape, dtype=dtype, shard_rows=plan.block_rows)


def read(url: str, rows: slice = slice(None)) -> NDArray[Any]:
    """Consecutive rows of an array."""
    array = _open(url)
    start, stop, _ = rows.indices(array.shape[0])
    return _read(array, url, start, stop)


def _open(url: str) -> Any:
    return shards.open_sharded(url) or arrays.open_array(url)


def _read(array: Any, url: str, start: int, stop: int) -> NDArray[Any]:
    if isinstance(array, shards.Sharded):
        try:
            return array.read(start, stop)
        except chunk_objects.DAMAGED:  # Zarr's way says what is lost
            array = arrays.open_array(url)
    return arrays.read_rows(array, start, stop, array.dtype)


def _take(array: Any, url: str, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids`, ascending."""
    if isinstance(array, shards.Sharded):
        with suppress(*chunk_objects.DAMAGED):  # Zarr's way says what is lost
            return array.take(ids)
        array = arrays.open_array(url)
    return np.asarray(arrays.read_ids(array, ids))


def write(url: str, start: int, rows: NDArray[Any]) -> None:
    """Write the rows of a block, which are whole shards of what `create_store` made."""
    array = shards.open_sharded(url)
    if array is None or not array.holds(start, start + len(rows)):
        raise ValueError(f"{url}: rows {start} to {start + len(rows)} are not whole shards of an array.")
    array.write(start, rows.astype(array.dtype, copy=False))


def gather(url: str, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids` of an array, in their order, as often as they stand there."""
    rows, at = lines(url, ids)
    return rows if len(rows) == len(at) and np.array_equal(at, np.arange(len(at))) else rows[at]


def lines(url: str, ids: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Rows of an array, and where among them each of `ids` is found; near ids are read as one range."""
    array = _open(url)
    first, last = (int(ids.min()), int(ids.max()) + 1) if len(ids) else (0, 0)
    row_bytes = int(array.dtype.itemsize * np.prod(array.shape[1:]))
    if (last - first) * row_bytes <= MOST_RANGE_BYTES:
        return _read(array, url, first, last), ids - first
    if len(ids) == last - first and np.array_equal(ids, np.arange(first, last)):
        return _read(array, url, first, last), ids - first
    once, at = np.unique(ids, return_inverse=True)
    return _take(array, url, once), at
