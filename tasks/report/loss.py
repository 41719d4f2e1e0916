"""The loss curves of a training, as a picture without a background: legible on light and on dark pages."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pumascale.tasks.report.colors import BASE

INK = "#808891"


def draw_loss(history: dict[str, list[float]]) -> bytes:
    """Total, validation and every single term over the reports, as PNG bytes."""
    figure = Figure(figsize=(4.4, 3.2), dpi=210, layout="constrained")
    axes = figure.add_subplot()
    for (name, values), color in zip(_curves(history).items(), BASE * len(history), strict=False):
        main = name in ("loss", "val_loss")
        axes.plot(
            np.arange(1, len(values) + 1), values, label=name.replace("_", " "), color=color,
            linewidth=2.2 if main else 1.2, alpha=1.0 if main else 0.8, marker="." if len(values) < 40 else "",
        )  # fmt: skip
    if history.get("val_loss"):
        best = int(np.argmin(history["val_loss"])) + 1
        axes.axvline(best, color=INK, linestyle=":", label=f"best weights: report {best}")
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


def _curves(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """What is drawn, the totals first: they get the strongest colours."""
    names = sorted(history, key=lambda name: (name != "loss", name != "val_loss", name.startswith("val_")))
    hidden = {"learning_rate"} | {name for name in names if name.startswith("val_") and name != "val_loss"}
    return {name: history[name] for name in names if name not in hidden and history[name]}


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, its paper transparent."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
