"""The map as a picture, for any number of rows: coloured by label, dense places stronger, with a legend.

Up to 200,000 rows are drawn as discs with NumPy, in a fraction of a second; above, datashader counts them (it compiles
for 12 s first). Both give the same kind of picture: in each pixel the mean colour of its rows.
"""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from pumascale.tasks.report.colors import rgb
from pumascale.tasks.report.labels import Classes
from pumascale.tasks.report.names import name_places

SIZE = 1400  # pixels of the longer side
MOST_AS_DISCS = 200_000
LEGEND_LINES = 32
LEGEND_FONT = 12.5  # points at most, so that it is read where the Prefect UI shows the picture at a third of its size
NAME_FONT = 11.0
MOST_LETTERS = 24
BACKGROUNDS = {"light": "#ffffff", "dark": "#101317"}
INKS = {"light": "#22262b", "dark": "#e6e8eb"}
DPI = 140

Window = tuple[float, float, float, float]  # x0, x1, y0, y1


def draw_map(points: NDArray[np.float32], classes: Classes, theme: str = "light") -> bytes:
    """Draw the first two components, as PNG bytes.

    Parameters
    ----------
    points : float32 (n, n_components)
        Rows with NaN are left out; a one-dimensional map is drawn as a line of points.
    theme : {"light", "dark"}
    """
    placed = np.isfinite(points).all(axis=1)
    x, y = plane(points[placed])
    codes, window = classes.codes[placed], view(x, y)
    picture = shade(x, y, codes, classes.colors, window, theme)
    labelled = len(classes.names) > 1
    font = _legend_font(len(classes.names), len(picture))
    figure, width = _frame(picture, _legend_width(classes.names, font) if labelled else 0, theme)
    if labelled:
        _legend(figure, classes, theme, width, font)
        places = {} if classes.ordered else name_places(x, y, codes, window)
        _names(figure, places, classes.names, window, picture.shape, theme)
    _note(figure, x, y, window, theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=BACKGROUNDS[theme])
    return buffer.getvalue()


def plane(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first two components; the second is 0 where there is but one."""
    return points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points), np.float32)


def shade(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    codes: NDArray[np.int64],
    colors: list[str],
    window: Window,
    theme: str,
) -> NDArray[np.uint8]:
    """Points to pixels, uint8 (height, width, 3)."""
    width, height = _pixels(window)
    palette = np.array([rgb(color) for color in colors]) / 255.0
    count = _discs if len(x) <= MOST_AS_DISCS else _pixel_counts
    counts, mixed = count(x, y, codes, palette, window, width, height)
    strength = _strength(counts)[..., None]
    paper = rgb(BACKGROUNDS[theme]) / 255.0
    return np.asarray(np.rint(255 * (paper * (1 - strength) + mixed * strength)), np.uint8)


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


def _pixels(window: Window) -> tuple[int, int]:
    wide, high = window[1] - window[0], window[3] - window[2]
    return round(SIZE * wide / max(wide, high)), round(SIZE * high / max(wide, high))


def _discs(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    codes: NDArray[np.int64],
    palette: NDArray[np.float64],
    window: Window,
    width: int,
    height: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows as discs with soft edges: how many cover each pixel (height, width), and their mean colour (..., 3)."""
    x0, x1, y0, y1 = window
    radius = float(np.clip(SIZE * np.sqrt(0.06 / max(len(x), 1)), 0.6, 5.0))
    reach = int(np.ceil(radius))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    weights = np.clip(radius + 0.5 - np.hypot(offsets[:, 0], offsets[:, 1]), 0, 1)
    columns = ((x - x0) / (x1 - x0) * width).astype(np.int64)[:, None] + offsets[None, :, 0]
    lines = ((y1 - y) / (y1 - y0) * height).astype(np.int64)[:, None] + offsets[None, :, 1]
    inside = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height) & (weights > 0)
    pixel = (lines * width + columns)[inside]
    weight = np.broadcast_to(weights, inside.shape)[inside]
    color = np.broadcast_to(codes[:, None], inside.shape)[inside]
    counts = np.bincount(pixel, weight, width * height)
    sums = [np.bincount(pixel, weight * palette[color, channel], width * height) for channel in range(3)]
    mixed = np.stack(sums, axis=-1) / np.maximum(counts, 1e-9)[:, None]
    return np.asarray(counts.reshape(height, width), np.float64), mixed.reshape(height, width, 3)


def _pixel_counts(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    codes: NDArray[np.int64],
    palette: NDArray[np.float64],
    window: Window,
    width: int,
    height: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `_discs`, a pixel a row."""
    import datashader
    import pandas as pd

    canvas = datashader.Canvas(width, height, window[:2], window[2:])
    counts, sums = np.zeros((height, width)), np.zeros((height, width, 3))
    # Class by class: all at once would hold a count for each pixel and class.
    for code, color in enumerate(palette):
        mine = codes == code
        found = canvas.points(pd.DataFrame({"x": x[mine], "y": y[mine]}), "x", "y").to_numpy()[::-1].astype(np.float64)
        counts += found
        sums += found[..., None] * color
    return counts, sums / np.maximum(counts, 1e-9)[..., None]


def _strength(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strongly each pixel is coloured, 0 to 1: by the logarithm of its rows, soft where a disc ends."""
    drawn = counts[counts > 0]
    if not len(drawn):
        return counts
    dense = np.log1p(max(float(np.quantile(drawn, 0.99)), 3.0))
    return np.asarray(np.minimum(counts, 1) * np.clip(0.5 + 0.5 * np.log1p(counts) / dense, 0, 1))


def _frame(picture: NDArray[np.uint8], legend: int, theme: str) -> tuple[Figure, float]:
    """A figure with the picture pixel by pixel and room for the legend; the picture's share of its width."""
    height, width = picture.shape[:2]
    figure = Figure(((width + legend) / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUNDS[theme])
    figure.figimage(picture, 0, 0)
    return figure, width / (width + legend)


def _legend_font(n_classes: int, height: int) -> float:
    """Points: as large as lets every line into the picture's height."""
    lines = -(-n_classes // _legend_columns(n_classes))
    return min(LEGEND_FONT, 0.95 * height * 72 / DPI / (1.65 * lines))


def _legend_columns(n_classes: int) -> int:
    return -(-n_classes // LEGEND_LINES)


def _legend_width(names: list[str], font: float) -> int:
    """Pixels, by the longest name."""
    longest = min(max(len(name) for name in names), MOST_LETTERS)
    return round(_legend_columns(len(names)) * font * (12 + 1.2 * longest))


def _legend(figure: Figure, classes: Classes, theme: str, left: float, font: float) -> None:
    shown = zip(classes.names, classes.counts, classes.colors, strict=True)
    handles = [Patch(color=color, label=f"{name[:MOST_LETTERS]}  {count:,}") for name, count, color in shown]
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(left, 0.5), frameon=False, fontsize=font,
        labelcolor=INKS[theme], handlelength=1.0, handleheight=1.0, borderaxespad=0.5, columnspacing=1.2,
        ncols=_legend_columns(len(handles)),
    )  # fmt: skip


def _names(
    figure: Figure,
    places: dict[int, tuple[float, float]],
    names: list[str],
    window: Window,
    shape: tuple[int, ...],
    theme: str,
) -> None:
    """Names just above their places, inside the picture; one that would lie over a larger class's is left out."""
    halo, (height, width) = [withStroke(linewidth=2.5, foreground=BACKGROUNDS[theme])], shape[:2]
    taken: list[Window] = []
    for code, (x, y) in places.items():
        name = names[code][:MOST_LETTERS]
        half, high = 0.33 * NAME_FONT * DPI / 72 * len(name), 1.3 * NAME_FONT * DPI / 72
        middle = float(np.clip((x - window[0]) / (window[1] - window[0]) * width, half, width - half))
        foot = (y - window[2]) / (window[3] - window[2]) * height + 0.005 * SIZE
        box = (middle - half, middle + half, foot, foot + high)
        if any(overlap(box, other) for other in taken):
            continue
        taken.append(box)
        figure.text(
            middle / (figure.get_figwidth() * DPI), foot / height, name,
            color=INKS[theme], ha="center", va="bottom", fontsize=NAME_FONT, path_effects=halo,
        )  # fmt: skip


def overlap(one: Window, other: Window) -> bool:
    """Whether two boxes (x0, x1, y0, y1) share a point."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _note(figure: Figure, x: NDArray[np.float32], y: NDArray[np.float32], window: Window, theme: str) -> None:
    outside = int(((x < window[0]) | (x > window[1]) | (y < window[2]) | (y > window[3])).sum())
    if outside:
        text = f"{outside:,} of {len(x):,} rows lie farther out"
        figure.text(0.008, 0.012, text, color=INKS[theme], alpha=0.6, fontsize=7)
