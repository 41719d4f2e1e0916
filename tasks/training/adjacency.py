"""The training room's adjacency: the edges of every row in both directions, in a scratch file and read block by block.

A layout goes over all rows in order, hundreds of times. What it needs of them at a time is one block of rows with
their edges, so memory holds two blocks and 12 bytes per row, however many edges there are; the next block is read
while the layout works on the last. The file has no name, so a killed training leaves none behind.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.ahead import ahead
from pumascale.tasks.training.sampling import Edges, joined

BLOCK_ROWS = 2**17  # about 3 million edges, so 24 MB
ENTRY = np.dtype([("row", np.int32), ("neighbour", np.int32), ("weight", np.float32)])


@dataclass(frozen=True)
class Block:
    """Rows from `first` on: the edges of its row i lie from `offsets[i]` to `offsets[i + 1]`."""

    first: int
    offsets: NDArray[np.int64]  # (m + 1,)
    neighbours: NDArray[np.int32]  # (e,) row ids
    weight: NDArray[np.float32]  # (e,)


class Adjacency:
    """The neighbours of rows, in the order in which their edges came.

    Parameters
    ----------
    degrees : int (n_rows,)
        How many edges each row has.
    parts : iterable
        The undirected edges, part by part.
    """

    def __init__(self, degrees: NDArray[np.int32], parts: Iterable[Edges], block_rows: int = BLOCK_ROWS) -> None:
        self.n_rows, self.block_rows = len(degrees), block_rows
        self.heaviest, self.total_weight = np.float32(0), 0.0
        self.offsets = np.zeros(self.n_rows + 1, np.int64)
        np.cumsum(degrees, out=self.offsets[1:])
        self.file = tempfile.TemporaryFile(prefix="pumascale-")  # noqa: SIM115, open as long as this object lives
        self._fill(parts)
        for start in range(0, self.n_rows, block_rows):
            self._sort(start)

    def blocks(self) -> Iterator[Block]:
        """All rows in order; each block is read while the one before it is worked on."""
        return ahead(self._read, range(0, self.n_rows, self.block_rows), 1)

    def _fill(self, parts: Iterable[Edges]) -> None:
        """Append both directions of every edge to the stretch of its block."""
        free = self.offsets[:: self.block_rows].copy()
        for edges in parts:
            self.heaviest = max(self.heaviest, edges.weight.max(initial=0))
            self.total_weight += 2 * float(edges.weight.sum(dtype=np.float64))
            for ends, others in ((edges.head, edges.tail), (edges.tail, edges.head)):
                self._append(free, Edges(ends, others, edges.weight).at(np.argsort(ends, kind="stable")))

    def _append(self, free: NDArray[np.int64], edges: Edges) -> None:
        """Write entries, ordered by row, where their blocks are `free`."""
        entries = np.empty(len(edges), ENTRY)
        entries["row"], entries["neighbour"], entries["weight"] = edges.head, edges.tail, edges.weight
        blocks, begins, counts = np.unique(edges.head // self.block_rows, return_index=True, return_counts=True)
        for block, begin, count in zip(blocks, begins, counts, strict=True):
            self._write(int(free[block]), entries[begin : begin + count].tobytes())
        free[blocks] += counts

    def _sort(self, start: int) -> None:
        """Order the entries of a block by row; from now on it holds its neighbours and then its weights."""
        low, high = self._stretch(start)
        entries = np.frombuffer(self._bytes(low, (high - low) * ENTRY.itemsize), ENTRY)
        entries = entries[np.argsort(entries["row"], kind="stable")]
        self._write(low, entries["neighbour"].tobytes() + entries["weight"].tobytes())

    def _read(self, start: int) -> Block:
        low, high = self._stretch(start)
        data = self._bytes(low, (high - low) * 8)
        neighbours, weight = np.split(np.frombuffer(data, np.int32), 2)
        return Block(
            start, self.offsets[start : start + self.block_rows + 1] - low, neighbours, weight.view(np.float32)
        )

    def _stretch(self, start: int) -> tuple[int, int]:
        """The first entry of the block from row `start`, and the first one behind it."""
        return int(self.offsets[start]), int(self.offsets[min(start + self.block_rows, self.n_rows)])

    def _bytes(self, entry: int, count: int) -> bytes:
        self.file.seek(entry * ENTRY.itemsize)
        return self.file.read(count)

    def _write(self, entry: int, data: bytes) -> None:
        self.file.seek(entry * ENTRY.itemsize)
        self.file.write(data)


def draw_edges(adjacency: Adjacency, count: int, seed: int) -> Edges:
    """Draw `count` directed edges by weight, systematically: at even steps of the cumulated weight, then shuffled."""
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))
    steps = (generator.random() + np.arange(count)) / count * adjacency.total_weight
    passed, drawn = 0.0, list[Edges]()
    for block in adjacency.blocks():
        cumulated = passed + np.cumsum(block.weight, dtype=np.float64)
        end = cumulated[-1] if len(cumulated) else passed
        entry = np.searchsorted(cumulated, steps[(steps >= passed) & (steps < end)], side="right")
        row = block.first + np.searchsorted(block.offsets, entry, side="right") - 1
        drawn.append(Edges(row, block.neighbours[entry].astype(np.int64), block.weight[entry]))
        passed = end
    return joined(drawn).at(generator.permutation(sum(map(len, drawn))))
