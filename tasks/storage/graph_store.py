"""The schema of a graph at `<workspace>/graphs/<id>`, and how to read it.

Arrays of the Zarr group: `knn_indices` int64 and `knn_dists` float32 (n, n_neighbors), ascending, the row itself in
column 0; `sigmas`, `rhos` float32 (n,); `partition_rows` int64, the partitions' global row ids one after the other,
and `partition_offsets`; `edge_head`, `edge_tail` int32 local to the partition, `edge_weight` float32, each undirected
edge once, and `edge_offsets`; `rows`, the partitions' data in the order of `partition_rows`, where there are several.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

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


def open_graph(place: str) -> zarr.Group:
    """Open a finished graph for reading."""
    read_graph_manifest(place)
    return arrays.open_group(place)


def open_member(place: str, name: str) -> zarr.Array[Any]:
    """Open the array `name` of the graph at `place`, finished or not."""
    return arrays.open_array(urls.join(place, name))


def n_partitions(place: str) -> int:
    """Number of partitions of the graph at `place`."""
    return int(open_member(place, "partition_offsets").shape[0]) - 1


def read_partition(place: str, partition: int) -> Partition:
    """Read one partition: its row ids and its edges."""
    rows = _slice(place, "partition_offsets", partition)
    edges = _slice(place, "edge_offsets", partition)
    head, tail, weight = (_read(place, f"edge_{name}", edges) for name in ("head", "tail", "weight"))
    return Partition(_read(place, "partition_rows", rows), head, tail, weight)


def read_edges(place: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """All edges with global ids: `head`, `tail` int64 (E,) and `weight` float32 (E,)."""
    parts = [read_partition(place, partition) for partition in range(n_partitions(place))]
    head = np.concatenate([part.rows[part.head] for part in parts])
    tail = np.concatenate([part.rows[part.tail] for part in parts])
    return head, tail, np.concatenate([part.weight for part in parts])


def _slice(place: str, offsets: str, partition: int) -> slice:
    start, stop = np.asarray(open_member(place, offsets)[partition : partition + 2])
    return slice(int(start), int(stop))


def _read(place: str, name: str, rows: slice) -> NDArray[Any]:
    return np.asarray(open_member(place, name)[rows])
