"""The schema of a graph at `<workspace>/graphs/<id>`, and how to read it.

Arrays over all rows: `knn_indices` int64 and `knn_dists` float32 (n, n_neighbors), ascending, the row itself in column
0; `sigmas`, `rhos` float32 (n,); `isolated` bool (n,), the rows without any edge. The edges lie by partition, a
neighbourhood of rows, in arrays of their own, so that a task writes whole objects and training can stream them:
`partitions/<p>/rows` int64, the global row ids; `partitions/<p>/head`, `tail` int32, indices into them, and `weight`
float32, each undirected edge of the graph once, in one partition that holds both its ends; `partitions/<p>/data`, the
rows themselves, where there are several partitions, and `partitions/<p>/guest_data`, those behind them in `rows` that
were taken in for an edge's sake.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pumascale.tasks.storage import arrays, manifests, urls
from pumascale.tasks.storage.errors import InputError


@dataclass(frozen=True)
class Partition:
    """One neighbourhood of rows with the edges found in it; `head` and `tail` index `rows`."""

    rows: NDArray[np.int64]  # (m,) global ids
    head: NDArray[np.int32]  # (e,)
    tail: NDArray[np.int32]  # (e,)
    weight: NDArray[np.float32]  # (e,)


def read_graph_manifest(place: str) -> dict[str, Any]:
    """The manifest of a finished graph; InputError where `place` holds none."""
    manifest = manifests.read_manifest(place)
    if manifest is None:
        raise InputError(f"{place} holds no finished graph. Expected the URL that build_graph returned: run it first.")
    return manifest


def n_partitions(place: str) -> int:
    """Number of partitions of the finished graph at `place`."""
    return int(read_graph_manifest(place)["n_partitions"])


def partition_url(place: str, partition: int, name: str) -> str:
    """URL of an array of a partition."""
    return urls.join(place, "partitions", f"{partition:06d}", name)


def read_partition(place: str, partition: int) -> Partition:
    """Read one partition: its row ids and its edges."""
    names = ("rows", "head", "tail", "weight")
    return Partition(*(arrays.read_whole(partition_url(place, partition, name)) for name in names))


def read_ids(place: str, partition: int) -> NDArray[np.int64]:
    """The row ids of one partition."""
    return arrays.read_whole(partition_url(place, partition, "rows"))


def read_data(place: str, partition: int, n_rows: int, dtype: DTypeLike) -> NDArray[Any]:
    """The `n_rows` rows of a partition themselves as `dtype`, in the order of their ids."""
    data = _read_rows(partition_url(place, partition, "data"), dtype)
    if len(data) == n_rows:
        return data
    return np.concatenate([data, _read_rows(partition_url(place, partition, "guest_data"), dtype)])


def _read_rows(url: str, dtype: DTypeLike) -> NDArray[Any]:
    array = arrays.open_array(url)
    return arrays.read_rows(array, 0, array.shape[0], dtype)


def write_partition(place: str, partition: int, content: Partition) -> None:
    """Write one partition whole; what a killed run left of it is replaced."""
    for name in ("rows", "head", "tail", "weight"):
        arrays.write_whole(partition_url(place, partition, name), getattr(content, name))


def read_edges(place: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """All edges with global ids: `head`, `tail` int64 (E,) and `weight` float32 (E,)."""
    parts = [read_partition(place, partition) for partition in range(n_partitions(place))]
    head = np.concatenate([part.rows[part.head] for part in parts])
    tail = np.concatenate([part.rows[part.tail] for part in parts])
    return head, tail, np.concatenate([part.weight for part in parts])
