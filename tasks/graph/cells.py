"""Cells: which points of a partition are compared, so many at once that their products stay in the cache.

A cell is what is nearest to one of some hundred centers. A point is at home in its nearest cell and visits the next
ones; who is at home in a cell meets everybody there. Of the pairs of points that is a small part, with nearly all of
the near ones.
"""

import numpy as np
from numpy.typing import NDArray

NOBODY = np.empty(0, np.int32)

Points = NDArray[np.int32]  # ids, ascending


def meetings_in(cells: NDArray[np.int32], tile: int, most: int) -> list[tuple[Points, Points]]:
    """Pairs of sets of points that meet: all at home in a cell each other, then them and the cell's visitors.

    Parameters
    ----------
    cells : int32 (m, n_cells)
        Of each point: first its home, then those that it visits; -1: none.
    tile : int
        Most points of a set.
    most : int
        About so many points of a cell a point meets at most.

    Returns
    -------
    list of (int32, int32)
        One set twice: its points meet each other. Two points whose cells are each other's homes meet twice.
    """
    homes, visitors = _by_cell(cells[:, :1]), _by_cell(cells[:, 1:])
    tiles, n_met = {cell: _tiles(members, tile) for cell, members in homes.items()}, -(-most // tile)
    among = [(one, other) for own in tiles.values() for at, one in enumerate(own) for other in own[at : at + n_met + 1]]
    visits = [
        (one, other)
        for cell, own in tiles.items()
        for other in _tiles(visitors.get(cell, NOBODY), tile)
        for one in own[: n_met + 1]
    ]
    return among + visits  # near points first: those that follow are mostly further away


def _by_cell(cells: NDArray[np.int32]) -> dict[int, Points]:
    """The points of each cell."""
    order = np.argsort(cells, axis=None, kind="stable")
    cell_of, points = cells.ravel()[order], (order // max(1, cells.shape[1])).astype(np.int32)
    found, begins = np.unique(cell_of, return_index=True)
    members = zip(found.tolist(), np.split(points, begins)[1:], strict=True)
    return {cell: some for cell, some in members if cell >= 0}


def _tiles(points: Points, tile: int) -> list[Points]:
    return [points[at : at + tile] for at in range(0, len(points), tile)]
