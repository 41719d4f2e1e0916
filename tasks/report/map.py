"""The map as a picture, for any number of rows: coloured by label, dense places stronger, with a legend."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from pumascale.tasks.report.colors import rgb
from pumascale.tasks.report.labels import Classes
from pumascale.tasks.report.names import name_places
from pumascale.tasks.report.pixels import SIZE, Pixels, Window
from pumascale.tasks.report.rows import Rows

LEGEND_LINES = 32
LEGEND_FONT = 12.5  # points at most, so that it is read where the Prefect UI shows the picture at a third of its size
NAME_FONT = 11.0
MOST_LETTERS = 24
BACKGROUNDS = {"light": "#ffffff", "dark": "#101317"}
INKS = {"light": "#22262b", "dark": "#e6e8eb"}
DPI = 140


def draw_map(rows: Rows, pixels: Pixels, theme: str = "light") -> bytes:
    """Draw the first two components, as PNG bytes.

    Parameters
    ----------
    pixels : Pixels
        The rows as `count_pixels` counted them: once for both themes.
    theme : {"light", "dark"}
    """
    picture, classes, window = shade(pixels, theme), rows.classes, pixels.window
    labelled = len(classes.names) > 1
    font = _legend_font(len(classes.names), len(picture))
    figure, width = _frame(picture, _legend_width(classes.names, font) if labelled else 0, theme)
    if labelled:
        _legend(figure, classes, theme, width, font)
        some = rows.sample
        places = {} if classes.ordered else name_places(some.x, some.y, some.codes, window)
        _names(figure, places, classes.names, window, picture.shape, theme)
    _note(figure, pixels, theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=BACKGROUNDS[theme])
    return buffer.getvalue()


def shade(pixels: Pixels, theme: str) -> NDArray[np.uint8]:
    """Counts to colours, uint8 (height, width, 3)."""
    strength, paper = _strength(pixels.counts)[..., None], rgb(BACKGROUNDS[theme]) / 255.0
    return np.asarray(np.rint(255 * (paper * (1 - strength) + pixels.colors * strength)), np.uint8)


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


def _note(figure: Figure, pixels: Pixels, theme: str) -> None:
    if pixels.n_outside:
        text = f"{pixels.n_outside:,} of {pixels.n_rows:,} rows lie farther out"
        figure.text(0.008, 0.012, text, color=INKS[theme], alpha=0.6, fontsize=7)
