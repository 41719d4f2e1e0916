"""The training room's Keras callbacks."""

import csv
import io
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import urls
from pumascale.tasks.training.checkpoints import KeepCheckpoint
from pumascale.tasks.training.devices import not_shared_out
from pumascale.tasks.training.progress import Progress


class ReportProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells `on_progress` the steps done and, at each report, the terms of the loss."""

    def __init__(self, on_progress: Progress, steps_per_report: int, n_reports: int, keeper: KeepCheckpoint) -> None:
        super().__init__()
        self.on_progress, self.keeper = on_progress, keeper
        self.steps_per_report = steps_per_report
        self.n_steps = steps_per_report * n_reports
        self.before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras counts the steps within a report; count those before it."""
        self.before = epoch * self.steps_per_report

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the steps done, a killed run's included; the last execution of a report may be a short one."""
        done = self.before + min(self.keeper.before + batch + 1, self.steps_per_report)
        self.on_progress("train", done, self.n_steps, {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the losses."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.on_progress("train", self.before + self.steps_per_report, self.n_steps, values)


class StopOnNonFinite(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops when the loss is no longer finite, and puts back the weights of the last report before.

    A resumed training has its checkpoint's weights until a report of its own is done.
    """

    def __init__(self, keeper: KeepCheckpoint) -> None:
        super().__init__()
        self.keeper = keeper
        self.stopped_at: int | None = None  # steps of the report
        self.good: list[Any] | None = None
        self.report = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember which report runs."""
        self.report = epoch
        if epoch and self.good is None:
            self.good = self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """A mean that holds one NaN stays NaN, so looking once per execution misses nothing."""
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            self.stopped_at = self.keeper.before + batch + 1
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights of a good report."""
        if self.stopped_at is None:
            self.good = self.model.get_weights()
        else:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the good weights back."""
        if self.stopped_at is not None and self.good is not None:
            self.model.set_weights(self.good)


class ValidateReconstruction(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports the reconstruction loss of given rows as `reconstruction_validation`."""

    def __init__(
        self, encoder: keras.Model, decoder: keras.Model, rows: NDArray[np.float32], loss: Callable[[Any, Any], Any]
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.rows, self.loss = encoder, decoder, rows, loss

    @not_shared_out()
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Encode, decode, compare; added to the logs that the next callbacks get."""
        places = self.encoder.predict(self.rows, batch_size=1000, verbose=0)
        given = self.decoder.predict(places, batch_size=1000, verbose=0)
        value = float(keras.ops.mean(self.loss(self.rows, given)))
        if logs is not None:
            logs["reconstruction_validation"] = value


class CsvLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the losses of every report as a CSV object, on a disk or any store (Keras's own needs a file)."""

    def __init__(self, url: str, past: dict[str, list[float]]) -> None:
        super().__init__()
        self.url = url
        self.lines = [{"report": report, **row} for report, row in enumerate(_rows(past))]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write all lines anew: objects cannot be appended to."""
        self.lines.append({"report": len(self.lines)} | {name: float(value) for name, value in (logs or {}).items()})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for line in self.lines for name in line)))
        writer.writeheader()
        writer.writerows(self.lines)
        urls.write_bytes(self.url, text.getvalue().encode())


def _rows(history: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]


class TensorBoardLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the losses as TensorBoard scalars to a URL (Keras's own needs a folder and a package)."""

    def __init__(self, url: str, n_past: int) -> None:
        super().__init__()
        import tensorflow  # here, since a training on JAX does without

        self.url, self.n_reports = url, n_past
        self.folder = tempfile.TemporaryDirectory()
        plugin = tensorflow.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self.metadata = tensorflow.compat.v1.SummaryMetadata(plugin_data=plugin)
        self.writer = tensorflow.summary.create_file_writer(self.folder.name)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write, then copy the file."""
        import tensorflow

        with self.writer.as_default(step=self.n_reports):
            for name, value in (logs or {}).items():
                tensorflow.summary.write(name, tensorflow.constant(float(value)), metadata=self.metadata)
        self.n_reports += 1
        self.writer.flush()
        for file in Path(self.folder.name).iterdir():
            urls.write_bytes(urls.join(self.url, file.name), file.read_bytes())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close."""
        self.writer.close()
        self.folder.cleanup()


def build_logs(parameters: TrainingParameters, past: dict[str, list[float]]) -> list[keras.callbacks.Callback]:
    """The logs by URL that are asked for; `past` holds the reports before, of a layout and of a run that goes on."""
    logs: list[keras.callbacks.Callback] = []
    logs += [CsvLog(parameters.csv_log, past)] if parameters.csv_log else []
    n_past = len(past.get("loss", ()))
    return [*logs, TensorBoardLog(parameters.tensorboard_log, n_past)] if parameters.tensorboard_log else logs
