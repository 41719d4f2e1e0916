"""Where the names of classes stand on the map: at the densest place of each class that has one of its own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 40  # along each side of the map
LEAST_SHARE = 0.25  # of a class must lie around its place, and half of what lies there must be of the class


def name_places(
    x: NDArray[np.float32], y: NDArray[np.float32], codes: NDArray[np.int64], window: tuple[float, float, float, float]
) -> dict[int, tuple[float, float]]:
    """Class code to a place in the units of the map, for the classes that gather somewhere, the largest first."""
    x0, x1, y0, y1 = window
    columns, lines = _cells(x, x0, x1), _cells(y, y0, y1)
    everyone = _around(columns, lines)
    places = {}
    for code in np.unique(codes):
        mine = codes == code
        around = _around(columns[mine], lines[mine])
        column, line = np.unravel_index(int(np.argmax(around)), around.shape)
        near = mine & (np.abs(columns - column) <= 1) & (np.abs(lines - line) <= 1)
        if around.max() >= max(LEAST_SHARE * mine.sum(), 0.5 * everyone[column, line], 2):
            places[int(code)] = (float(np.median(x[near])), float(np.median(y[near])))
    return places


def _cells(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    return np.asarray(np.clip((values - low) / (high - low) * CELLS, -1, CELLS), np.int64)


def _around(columns: NDArray[np.int64], lines: NDArray[np.int64]) -> NDArray[Any]:
    """How many lie in each cell and the eight around it, (CELLS, CELLS)."""
    inside = (columns >= 0) & (columns < CELLS) & (lines >= 0) & (lines < CELLS)
    counts = np.bincount(columns[inside] * CELLS + lines[inside], minlength=CELLS**2).reshape(CELLS, CELLS)
    padded = np.pad(counts, 1)
    return np.asarray(np.sum([padded[i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3)], axis=0))
