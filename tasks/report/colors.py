"""Colours for up to 60 classes, legible on white and on black, each as far as can be from those before it."""

from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

BASE = ["#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#38b2c8", "#ff8ab7", "#9c6b4e"]
GRAY = "#9498a0"
MOST = 60


def class_colors(n_classes: int) -> list[str]:
    """One colour for each of up to 60 classes as '#rrggbb', the first ones the most distinct."""
    return _palette()[:n_classes]


def ordered_colors(n_ranges: int) -> list[str]:
    """Colours from low to high: matplotlib's plasma, without its ends, which vanish on black or white."""
    return [to_hex(colormaps["plasma"](share)) for share in np.linspace(0.12, 0.86, n_ranges)]


@cache
def _palette() -> list[str]:
    """BASE, then the candidate that is farthest from all chosen ones and from gray, again and again."""
    steps = np.linspace(16, 240, 15)
    candidates = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3).astype(int)
    places = oklab(candidates)
    chroma = np.hypot(places[:, 1], places[:, 2])
    legible = (places[:, 0] > 0.5) & (places[:, 0] < 0.8) & (chroma > 0.06) & (chroma < 0.2)
    candidates, places = candidates[legible], places[legible]
    chosen = list(BASE)
    nearest = np.min([_distance(places, color) for color in [*BASE, GRAY]], axis=0)
    while len(chosen) < MOST:
        best = int(np.argmax(nearest))
        chosen.append("#{:02x}{:02x}{:02x}".format(*candidates[best]))
        nearest = np.minimum(nearest, _distance(places, chosen[-1]))
    return chosen


def _distance(places: NDArray[np.float64], color: str) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(places - oklab(rgb(color)), axis=1))


def rgb(color: str) -> NDArray[np.int64]:
    """'#rrggbb' as three values of 0 to 255."""
    return np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])


def oklab(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lightness and two axes of colour in which distances are those that people see (Ottosson 2020), (..., 3)."""
    linear = (values / 255.0) ** 2.2
    cones = np.cbrt(linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]]))
    mix = np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])
    return np.asarray(cones @ mix)
