"""The loss curves of a training, as a picture without a background: legible on light and on dark pages."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pumascale.tasks.report.colors import BASE

INK = "#808891"
DASHED = (0, (3, 1.5))


def draw_loss(history: dict[str, list[float]], kept: int | None = None) -> bytes:
    """Total and every single term over the reports, held-out rows dashed, as PNG bytes.

    Parameters
    ----------
    kept : int, optional
        The report whose weights are kept.
    """
    figure = Figure(figsize=(4.4, 3.2), dpi=210, layout="constrained")
    axes = figure.add_subplot()
    for name, color in zip(_terms(history), BASE * len(history), strict=False):
        look: dict[str, Any] = {"color": color, "linewidth": 2.2 if name == "loss" else 1.2}
        axes.plot([], [], label=name.replace("_", " "), **look)
        for prefix, style in (("", "-"), ("val_", DASHED)):
            values = np.asarray(history.get(prefix + name, []), float)
            marker = "." if len(values) < 40 else ""
            axes.plot(np.arange(1, len(values) + 1), values, linestyle=style, marker=marker, markersize=4, **look)
    if any(name.startswith("val_") for name in history):
        axes.plot([], [], color=INK, linestyle=DASHED, label="held-out rows")
    if kept is not None:
        axes.axvline(kept + 1, color=INK, linestyle=":", label=f"kept weights: report {kept + 1}")
    axes.set_xlabel("report", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.tick_params(colors=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=INK, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
    return png(figure)


def _terms(history: dict[str, list[float]]) -> list[str]:
    """What is drawn, the total first: it gets the strongest colour."""
    names = dict.fromkeys(name.removeprefix("val_") for name, values in history.items() if values)
    return sorted(names.keys() - {"learning_rate"}, key=lambda name: (name != "loss", list(names).index(name)))


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, its paper transparent."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
