"""The loss curves of a training, as a picture."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def draw_loss(history: dict[str, list[float]]) -> bytes:
    """Total, validation and every single term over the reports, as PNG bytes."""
    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    drawn = [name for name in history if not name.startswith("val_") and name != "learning_rate"]
    for name in [*drawn, *(["val_loss"] if "val_loss" in history else [])]:
        emphasis: dict[str, Any] = (
            {"linewidth": 2.2} if name in ("loss", "val_loss") else {"linewidth": 1.0, "alpha": 0.8}
        )
        reports = np.arange(1, len(history[name]) + 1)
        axes.plot(reports, history[name], label=name, marker="." if len(reports) < 40 else "", **emphasis)
    if history.get("val_loss"):
        best = int(np.argmin(history["val_loss"]))
        axes.axvline(best + 1, color="0.6", linestyle=":", label="best weights")
    axes.set_xlabel("report")
    axes.set_ylabel("loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
