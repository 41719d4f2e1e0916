"""What a build is about: the places, the row blocks, the partitions; small, frozen, and sent along with every task."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, urls

BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Plan:
    """One build of one graph."""

    source: str
    place: str
    n_rows: int
    n_features: int
    n_partitions: int
    block_rows: int
    parameters: GraphParameters

    def member(self, name: str) -> str:
        """URL of an array of the graph."""
        return urls.join(self.place, name)

    def scratch(self, *parts: str) -> str:
        """URL of something that is gone when the graph is finished."""
        return urls.join(self.place, "scratch", *parts)

    def partition_ids(self, partition: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Global ids of the partition's rows, ascending."""
        start, stop = np.asarray(arrays.open_array(self.member("partition_offsets"))[partition : partition + 2])
        return np.asarray(arrays.open_array(self.member("partition_rows"))[int(start) : int(stop)])


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
    mean_distance: float = 0.0

    @property
    def name(self) -> str:
        """Names the task's receipt."""
        return f"{self.start:012d}"


def make_plan(source: str, place: str, parameters: GraphParameters, n_partitions: int) -> Plan:
    """Plan the build; blocks are those of the shards of `knn_indices`, so that a task writes whole shards."""
    shape = arrays.open_source(source).shape
    block_rows = arrays.shard_rows(8 * parameters.n_neighbors, shape[0])
    return Plan(source, place, shape[0], int(np.prod(shape[1:])), n_partitions, block_rows, parameters)


def partition_tasks(plan: Plan) -> list[PartitionTask]:
    """One task per partition."""
    return [PartitionTask(plan, partition) for partition in range(plan.n_partitions)]


def block_tasks(plan: Plan, mean_distance: float = 0.0) -> list[BlockTask]:
    """One task per block of rows."""
    blocks = arrays.row_blocks(plan.n_rows, plan.block_rows)
    return [BlockTask(plan, start, stop, mean_distance) for start, stop in blocks]


def create_store(plan: Plan) -> None:
    """Metadata first: every array whose size is known, before any task writes a region of it."""
    n_rows, k = plan.n_rows, plan.parameters.n_neighbors
    arrays.create_group(plan.place, {"n_rows": n_rows, "n_neighbors": k, "metric": plan.parameters.metric})
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "knn_indices": ((n_rows, k), np.int64),
        "knn_dists": ((n_rows, k), np.float32),
        "sigmas": ((n_rows,), np.float32),
        "rhos": ((n_rows,), np.float32),
    }
    for name, (shape, dtype) in shapes.items():
        arrays.create_array(plan.member(name), shape=shape, dtype=dtype, shard_rows=plan.block_rows)


def write_whole(url: str, values: np.ndarray[Any, Any]) -> None:
    """Write an array whose size only its maker knows; a killed run's half of it is replaced."""
    if urls.list_objects(url):
        urls.remove_tree(url)
    arrays.create_array(url, shape=values.shape, dtype=values.dtype)[:] = values


