"""Rows for the measures: which are candidates, which of them are sampled, and all in blocks beside their distances."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.rows import read_chosen

BLOCK_VALUES = 2**23  # of the rows, and of their distances: 64 MB in float64
SAMPLE_VALUES = 2**27  # of all sampled rows: 1 GB in float64
ID_ROWS = 2**20  # whose ids are held at once


class Candidates:
    """Some of `n_rows` rows, a bit for each: 100 M rows take 12.5 MB, where a list of ids would take 800."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self._bits = np.zeros(-(-n_rows // 8), np.uint8)

    def __len__(self) -> int:
        """How many there are."""
        return sum(len(ids) for ids in self.blocks(ID_ROWS))

    def add(self, start: int, wanted: NDArray[np.bool_]) -> None:
        """Take of the rows from `start`, a multiple of 8, those that `wanted` has."""
        bits = np.packbits(wanted)
        self._bits[start // 8 : start // 8 + len(bits)] = bits

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out."""
        np.bitwise_and.at(self._bits, ids // 8, ~_bits_of(ids))

    def keep(self, ids: NDArray[np.int64]) -> None:
        """Leave all rows out but these."""
        kept = np.zeros_like(self._bits)
        np.bitwise_or.at(kept, ids // 8, _bits_of(ids))
        self._bits &= kept

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        """The ids of those among the rows `start` to `stop`, ascending."""
        first = start // 8 * 8
        bits = np.unpackbits(self._bits[start // 8 : -(-stop // 8)])
        return start + np.flatnonzero(bits[start - first : stop - first])

    def blocks(self, block_rows: int) -> Iterator[NDArray[np.int64]]:
        """All ids, ascending, some at a time."""
        return (self.between(*block) for block in arrays.row_blocks(self.n_rows, block_rows))

    def at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of the first, second ... candidate, by `places` from 0, ascending."""
        found, before = [np.zeros(0, np.int64)], 0
        for ids in self.blocks(ID_ROWS):
            low, high = np.searchsorted(places, (before, before + len(ids)))
            found.append(ids[places[low:high] - before])
            before += len(ids)
        return np.concatenate(found)


def _bits_of(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Each row's bit within its byte."""
    return np.right_shift(np.uint8(128), (ids % 8).astype(np.uint8))


def all_but(n_rows: int, left_out: NDArray[np.int64]) -> Candidates:
    """All of the first `n_rows` rows but a few."""
    candidates = Candidates(n_rows)
    for start, stop in arrays.row_blocks(n_rows, ID_ROWS):
        candidates.add(start, np.ones(stop - start, bool))
    candidates.remove(left_out)
    return candidates


def draw(n_rows: int, sample: int, random_state: int, n_features: int) -> NDArray[np.int64]:
    """At most `sample` of `n_rows`, ascending; fewer where the rows are so wide that memory would not be bounded."""
    size = min(sample, n_rows, max(1, SAMPLE_VALUES // n_features))
    return np.sort(np.random.default_rng(random_state).choice(n_rows, size, replace=False))


def candidate_blocks(
    array: Any, candidates: Candidates, n_queries: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Ids and flattened rows of the candidates (ascending), block by block; blocks without any are not read."""
    n_features = int(np.prod(array.shape[1:]))
    return read_chosen(array, candidates.between, max(1, BLOCK_VALUES // max(n_features, n_queries)))
