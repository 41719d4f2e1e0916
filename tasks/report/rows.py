"""The rows that the report draws: all of them block by block, or a sample. Memory holds either, whatever n is."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.report.labels import Classes
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage import rows as stored

MOST_ROWS = 2**20  # in the sample
BLOCK_VALUES = 2**21  # of coordinates: 2^20 rows in two dimensions, which are a shard


@dataclass(frozen=True)
class Placed:
    """Some rows that have a place: `ids` int64 ascending, `x`, `y` float32 and the class `codes` int64, all (m,)."""

    ids: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def at(self, chosen: NDArray[Any]) -> "Placed":
        """Those that a mask or indices name."""
        return Placed(self.ids[chosen], self.x[chosen], self.y[chosen], self.codes[chosen])


@dataclass(frozen=True)
class Rows:
    """The rows of a map, their first two components and their classes; those with NaN are left out.

    Parameters
    ----------
    points : float32 (n, n_components)
        Stored or in memory. A map of one component is a line, y = 0.
    """

    points: Any
    classes: Classes

    def blocks(self) -> Iterator[Placed]:
        """All rows, block by block."""
        n_rows, n_components = self.points.shape
        for start, stop in arrays.row_blocks(n_rows, max(1, BLOCK_VALUES // n_components)) or [(0, 0)]:
            points = arrays.read_rows(self.points, start, stop)
            x, y = points[:, 0], points[:, 1] if n_components > 1 else np.zeros(len(points), np.float32)
            block = Placed(np.arange(start, stop), x, y, self.classes.codes[start:stop])
            yield block.at(np.isfinite(points).all(axis=1))

    @property
    def is_few(self) -> bool:
        """Whether the sample has all rows."""
        return bool(self.points.shape[0] <= MOST_ROWS)

    @cached_property
    def sample(self) -> Placed:
        """All rows, or about a million of them."""
        if self.is_few:
            return _together(list(self.blocks()))
        drawn = stored.sample(self.points.shape[0], MOST_ROWS)
        return _together([block.at(_is_among(block.ids, drawn)) for block in self.blocks()])


def _together(parts: list[Placed]) -> Placed:
    return Placed(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Placed)))


def _is_among(ids: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `ids` were drawn, both ascending."""
    at = np.minimum(np.searchsorted(drawn, ids), len(drawn) - 1)
    return np.asarray(drawn[at] == ids)
