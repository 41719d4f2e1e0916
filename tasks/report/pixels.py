"""Rows to pixels: how many lie in each, and their mean colour. Memory holds the pixels and a block of rows.

Up to 200,000 rows are drawn as discs with NumPy, in a fraction of a second; above, datashader counts them (it is
imported and compiled for some seconds first). Both give the same kind of picture.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.report.colors import rgb
from pumascale.tasks.report.rows import Placed, Rows

SIZE = 1400  # pixels of the longer side
MOST_AS_DISCS = 200_000

Window = tuple[float, float, float, float]  # x0, x1, y0, y1
Shape = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Pixels:
    """`counts` of rows float64 (height, width), their mean `colors` (..., 3), and how many rows lie outside."""

    window: Window
    counts: NDArray[np.float64]
    colors: NDArray[np.float64]
    n_rows: int
    n_outside: int


def count_pixels(rows: Rows) -> Pixels:
    """What is seen of the rows, in a window by their sample."""
    some = rows.sample
    window = view(some.x, some.y)
    palette = np.array([rgb(color) for color in rows.classes.colors]) / 255.0
    if rows.is_few and len(some) <= MOST_AS_DISCS:
        counts, sums = _discs(some, palette, window)
        n_rows, n_outside = len(some), _n_outside(some, window)
    else:
        counts, sums, n_rows, n_outside = _points(rows, palette, window)
    return Pixels(window, counts, sums / np.maximum(counts, 1e-9)[..., None], n_rows, n_outside)


def _n_outside(some: Placed, window: Window) -> int:
    x0, x1, y0, y1 = window
    return int(((some.x < x0) | (some.x > x1) | (some.y < y0) | (some.y > y1)).sum())


def view(x: NDArray[np.float32], y: NDArray[np.float32]) -> Window:
    """What is shown: all rows, save where 1 in 25 of them would leave most of the picture empty."""
    if not len(x):
        return (0.0, 1.0, 0.0, 1.0)
    (x0, x1), (y0, y1) = _range(x), _range(y)
    # No side is shorter than six tenths of the other: distances in the picture are those of the map.
    longer = 1.04 * max(x1 - x0, y1 - y0, 1e-6)
    half_x, half_y = (max(1.04 * (high - low), 0.6 * longer) / 2 for low, high in ((x0, x1), (y0, y1)))
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    return (middle_x - half_x, middle_x + half_x, middle_y - half_y, middle_y + half_y)


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = np.quantile(values.astype(np.float64), (0.02, 0.98))
    reach = 0.2 * (high - low)
    return max(float(np.min(values)), low - reach), min(float(np.max(values)), high + reach)


def _shape(window: Window) -> Shape:
    wide, high = window[1] - window[0], window[3] - window[2]
    return round(SIZE * high / max(wide, high)), round(SIZE * wide / max(wide, high))


def _discs(
    some: Placed, palette: NDArray[np.float64], window: Window
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows as discs with soft edges: how many cover each pixel (height, width), and the sum of their colours."""
    (x0, x1, y0, y1), (height, width) = window, _shape(window)
    radius = float(np.clip(SIZE * np.sqrt(0.06 / max(len(some), 1)), 0.6, 5.0))
    reach = int(np.ceil(radius))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    weights = np.clip(radius + 0.5 - np.hypot(offsets[:, 0], offsets[:, 1]), 0, 1)
    columns = ((some.x - x0) / (x1 - x0) * width).astype(np.int64)[:, None] + offsets[None, :, 0]
    lines = ((y1 - some.y) / (y1 - y0) * height).astype(np.int64)[:, None] + offsets[None, :, 1]
    inside = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height) & (weights > 0)
    pixel = (lines * width + columns)[inside]
    weight = np.broadcast_to(weights, inside.shape)[inside]
    color = np.broadcast_to(some.codes[:, None], inside.shape)[inside]
    counts = np.bincount(pixel, weight, width * height).astype(np.float64)
    sums = np.stack([np.bincount(pixel, weight * palette[color, i], width * height) for i in range(3)], axis=-1)
    return counts.reshape(height, width), sums.reshape(height, width, 3).astype(np.float64)


def _points(
    rows: Rows, palette: NDArray[np.float64], window: Window
) -> tuple[NDArray[np.float64], NDArray[np.float64], int, int]:
    """As `_discs`, a pixel a row, block by block; and how many rows there are, and how many of them outside."""
    import datashader

    height, width = _shape(window)
    canvas = datashader.Canvas(width, height, window[:2], window[2:])
    counts, sums, n_rows, n_outside = np.zeros((height, width)), np.zeros((height, width, 3)), 0, 0
    asked = datashader.summary(n=datashader.count("x"), **{name: datashader.sum(name) for name in "rgb"})
    for block in rows.blocks():
        found = canvas.points(_frame(block, palette), "x", "y", asked)
        counts += found["n"].to_numpy()[::-1]
        sums += np.nan_to_num(np.stack([found[name].to_numpy()[::-1] for name in "rgb"], axis=-1))
        n_rows, n_outside = n_rows + len(block), n_outside + _n_outside(block, window)
    return counts, sums, n_rows, n_outside


def _frame(block: Placed, palette: NDArray[np.float64]) -> Any:
    import pandas as pd

    return pd.DataFrame({"x": block.x, "y": block.y} | dict(zip("rgb", palette[block.codes].T, strict=True)))
