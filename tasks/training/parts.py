"""The training room's parts: what training takes of each partition, found once and kept in a scratch file.

A streamed training reads a partition again for every report. Its edges are pruned, without those of held-out rows and
numbered by the rows at their ends, so they are read from the graph once: the file has 12 bytes per edge and 16 per row.
It has no name, so a killed training leaves none behind. The rows themselves stay where the graph keeps them.
"""

import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, graph_store
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class Part:
    """Size and weight of what training takes of a partition."""

    partition: int
    n_rows: int
    n_edges: int
    weight: float
    offset: int  # in the scratch file


class Parts:
    """The partitions of a problem, read one at a time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.file = tempfile.TemporaryFile(prefix="pumascale-")  # noqa: SIM115, open as long as this object lives
        self.parts = [self._keep(partition) for partition in range(graph_store.n_partitions(problem.edges.graph))]
        self.file.flush()

    def _keep(self, partition: int) -> Part:
        edges = self.problem.edges.partition(partition).training
        ids = np.unique(np.append(edges.head, edges.tail))
        ends = np.searchsorted(ids, [edges.head, edges.tail]).astype(np.int32)
        offset = self.file.tell()
        self.file.write(
            ids.tobytes() + self._places(partition, ids).tobytes() + ends.tobytes() + edges.weight.tobytes()
        )
        return Part(partition, len(ids), len(edges), float(edges.weight.sum(dtype=np.float64)), offset)

    def _places(self, partition: int, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the rows `ids` are in a partition's own copy of its rows."""
        if not self.problem.is_parametric:
            return ids
        known = np.asarray(arrays.open_array(self._url(partition, "rows"))[:])
        order = np.argsort(known, kind="stable")  # ascending, but for the guests behind them
        return np.asarray(order[np.searchsorted(known, ids, sorter=order)])

    def _url(self, partition: int, name: str) -> str:
        return graph_store.partition_url(self.problem.edges.graph, partition, name)

    def edges(self, part: Part) -> tuple[NDArray[np.int64], Edges]:
        """The row ids of a part, ascending, and its edges with ids into them."""
        ids = self._read(part.offset, np.int64, part.n_rows)
        start = part.offset + 16 * part.n_rows
        head, tail = self._read(start, np.int32, 2 * part.n_edges).astype(np.int64).reshape(2, -1)
        return ids, Edges(head, tail, self._read(start + 8 * part.n_edges, np.float32, part.n_edges))

    def rows(self, part: Part) -> NDArray[Any]:
        """The rows of a part, in the order of their ids; without a network, their numbers."""
        places = self._read(part.offset + 8 * part.n_rows, np.int64, part.n_rows)
        if not self.problem.is_parametric:
            return places.astype(np.int32)[:, np.newaxis]
        data = arrays.open_array(self._url(part.partition, "data"))
        return np.asarray(arrays.read_rows(data, 0, data.shape[0], dtype=self.problem.row_dtype)[places])

    def _read(self, offset: int, dtype: Any, count: int) -> NDArray[Any]:
        # Not by the file's position: the next window is read while this one may have to be.
        return np.frombuffer(os.pread(self.file.fileno(), count * np.dtype(dtype).itemsize, offset), dtype)
