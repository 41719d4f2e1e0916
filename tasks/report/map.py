"""The map as a picture: datashader for any number of rows, coloured by label, with a legend that stays readable."""

import io
from typing import Any

import datashader
import datashader.transfer_functions as shading
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pumascale.tasks.report.colors import class_colors
from pumascale.tasks.report.labels import Classes

SIZE = 1400
MOST_IN_LEGEND = 30
BACKGROUNDS = {"light": "#ffffff", "dark": "#101317"}
INKS = {"light": "#22262b", "dark": "#e6e8eb"}


def draw_map(points: NDArray[np.float32], classes: Classes, theme: str = "light") -> bytes:
    """Draw the first two components, as PNG bytes.

    Parameters
    ----------
    points : float32 (n, n_components)
        Rows with NaN are left out; a one-dimensional map is drawn as a line of points.
    theme : {"light", "dark"}
    """
    placed = np.isfinite(points).all(axis=1)
    x, y = points[placed, 0], points[placed, 1] if points.shape[1] > 1 else np.zeros(placed.sum(), np.float32)
    colors = class_colors(len(classes.names))
    picture = shade(x, y, classes.codes[placed], colors, theme)
    figure = Figure(figsize=(10, 7.6), dpi=140, facecolor=BACKGROUNDS[theme], layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(picture, interpolation="antialiased")
    axes.set_axis_off()
    if len(classes.names) > 1:
        _legend(axes, classes, colors, theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=BACKGROUNDS[theme])
    return buffer.getvalue()


def shade(
    x: NDArray[np.float32], y: NDArray[np.float32], codes: NDArray[np.int64], colors: list[str], theme: str
) -> NDArray[Any]:
    """Points to pixels, uint8 (SIZE, SIZE, 4): the mix of the classes in each, by how many rows fall there."""
    frame = pd.DataFrame({"x": x, "y": y, "code": pd.Categorical(codes, categories=range(len(colors)))})
    canvas = datashader.Canvas(SIZE, SIZE, *_square(x, y))
    counts = canvas.points(frame, "x", "y", datashader.count_cat("code"))
    image = shading.shade(counts, color_key=colors, how="eq_hist", min_alpha=150)
    image = shading.spread(image, px=_point_radius(len(x)), shape="circle")
    return np.asarray(shading.set_background(image, BACKGROUNDS[theme]).to_pil())


def _square(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges with one scale for both axes and a small margin: distances in the picture are those of the map."""
    half = 0.52 * max(float(np.ptp(x)), float(np.ptp(y)), 1e-6)
    middle = [float(np.min(values)) / 2 + float(np.max(values)) / 2 for values in (x, y)]
    return (middle[0] - half, middle[0] + half), (middle[1] - half, middle[1] + half)


def _point_radius(n_points: int) -> int:
    return int(np.clip(round(4.5 - 1.0 * np.log10(max(n_points, 10) / 500)), 0, 5))


def _legend(axes: Any, classes: Classes, colors: list[str], theme: str) -> None:
    shown = list(zip(classes.names, classes.counts, colors, strict=True))[:MOST_IN_LEGEND]
    handles = [Patch(color=color, label=f"{name[:28]}  {count:,}") for name, count, color in shown]
    hidden = len(classes.names) - len(shown)
    if hidden:
        handles.append(Patch(alpha=0, label=f"{hidden} more"))
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8,
        labelcolor=INKS[theme], handlelength=1.0, handleheight=1.0,
    )  # fmt: skip
