"""The training room's parts: what streamed training takes of the data, copied once into a scratch file by small pieces.

A streamed training reads everything again and again. So the edges, pruned, without those of held-out rows and numbered
by the rows at their ends, and these rows themselves lie in a file in TMPDIR, each piece behind the other, and a window
is read from it without decoding: 12 bytes per edge, and 8 and its own size per copy of a row, some four of each row.
The file has no name, so a killed training leaves none behind; the next one makes it again, the same.
"""

import errno
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, graph_store
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training.pieces import local, pieces
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class Part:
    """Size and weight of a piece of a partition, and where it lies in the scratch file."""

    n_rows: int
    n_edges: int
    weight: float
    offset: int


class Parts:
    """The pieces of a problem's partitions, read one at a time.

    Parameters
    ----------
    is_small : callable
        Whether edges are few enough for a piece.

    Raises
    ------
    InputError
        When the disk of TMPDIR is too small.
    """

    def __init__(self, problem: Problem, is_small: Callable[[Edges], bool]) -> None:
        self.problem, self.is_small = problem, is_small
        self.file = tempfile.TemporaryFile(prefix="pumascale-")  # noqa: SIM115, open as long as this object lives
        n_partitions = graph_store.n_partitions(problem.edges.graph)
        try:
            self.parts = [part for partition in range(n_partitions) for part in self._copy(partition)]
            self.file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise InputError(
                f"{tempfile.gettempdir()} is full: a streamed training keeps its rows and edges there, some four times "
                "the rows. Set TMPDIR to a larger disk, or raise training.memory_limit."
            ) from error

    def _copy(self, partition: int) -> list[Part]:
        edges = self.problem.edges.partition(partition).training
        if len(edges) == 0:
            return []
        ids = np.unique(np.append(edges.head, edges.tail))
        rows = self._rows(partition, ids)
        return [self._write(piece, ids, rows) for piece in pieces(edges, self.is_small)]

    def _write(self, edges: Edges, known: NDArray[np.int64], rows: NDArray[Any]) -> Part:
        ids, inside = local(edges)
        offset = self.file.tell()
        ends = np.stack([inside.head, inside.tail]).astype(np.int32)
        for values in (ids, ends, edges.weight, rows[np.searchsorted(known, ids)]):
            self.file.write(np.ascontiguousarray(values).data)
        return Part(len(ids), len(edges), float(edges.weight.sum(dtype=np.float64)), offset)

    def _rows(self, partition: int, ids: NDArray[np.int64]) -> NDArray[Any]:
        """The rows `ids` of a partition, from its own copy of them; without a network, their numbers."""
        if not self.problem.is_parametric:
            return ids.astype(np.int32)[:, np.newaxis]
        known = np.asarray(arrays.open_array(self._url(partition, "rows"))[:])
        data = graph_store.read_data(self.problem.edges.graph, partition, len(known), self.problem.row_dtype)
        order = np.argsort(known, kind="stable")  # ascending, but for the guests behind them
        places = order[np.searchsorted(known, ids, sorter=order)]
        return np.asarray(data[places])

    def _url(self, partition: int, name: str) -> str:
        return graph_store.partition_url(self.problem.edges.graph, partition, name)

    def edges(self, part: Part) -> tuple[NDArray[np.int64], Edges]:
        """The row ids of a part, ascending, and its edges with ids into them."""
        ids, ends = np.empty(part.n_rows, np.int64), np.empty((2, part.n_edges), np.int32)
        weight = np.empty(part.n_edges, np.float32)
        self._fill(part.offset, ids, ends, weight)
        head, tail = ends.astype(np.int64)
        return ids, Edges(head, tail, weight)

    def read_rows(self, part: Part, rows: NDArray[Any]) -> None:
        """Fill `rows` (n_rows, *row_shape) with those of a part, in the order of their ids."""
        self._fill(part.offset + 8 * part.n_rows + 12 * part.n_edges, rows)

    def _fill(self, offset: int, *wanted: NDArray[Any]) -> None:
        # Not by the file's position: the next window is read while this one may have to be.
        for array in wanted:
            free: memoryview = array.reshape(-1).view(np.uint8).data
            while free:
                done = os.preadv(self.file.fileno(), [free], offset)  # at most 2 GiB at once
                if done == 0:
                    raise OSError(f"The scratch file in {tempfile.gettempdir()} ends too early.")
                free, offset = free[done:], offset + done
