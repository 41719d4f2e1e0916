"""The training room's Keras callbacks."""

from collections.abc import Callable
from typing import Any

import keras

Progress = Callable[[str, int, int, dict[str, float]], None]


class ReportProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells `on_progress` the steps done and, at each report, the terms of the loss."""

    def __init__(self, on_progress: Progress, steps_per_report: int, n_reports: int) -> None:
        super().__init__()
        self.on_progress = on_progress
        self.steps_per_report = steps_per_report
        self.n_steps = steps_per_report * n_reports
        self.before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras counts the steps within a report; count those before it."""
        self.before = epoch * self.steps_per_report

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the steps done; the last execution of a report may be a short one."""
        done = self.before + min(batch + 1, self.steps_per_report)
        self.on_progress("train", done, self.n_steps, {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the losses."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.on_progress("train", self.before + self.steps_per_report, self.n_steps, values)
