"""The training room's checkpoints: a killed training goes on and ends where it would have ended.

One object holds everything that the next step depends on: weights, optimizer, random state, the running means of the
report, what early stopping remembers, and the history. It replaces the one before in a single write. A training draws
its edges from the random state alone, so a resumed run on a CPU gives the very weights of an unbroken one. A layout
draws from its seed and the epoch, so it needs its places alone.
"""

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import urls
from pumascale.tasks.training.model import ParametricModel

FOLDER = "checkpoints"
LAYOUT, TRAINING = "layout.npz", "state.npz"
STOPPING = ("wait", "best", "best_epoch", "stopped_epoch")


@dataclass(frozen=True)
class Checkpoint:
    """Where a training was: `report` reports and `step` steps of the next one are done."""

    report: int
    step: int
    history: dict[str, list[float]]
    stopping: dict[str, Any]
    state: list[NDArray[Any]]
    best_weights: list[NDArray[Any]] | None


def load_checkpoint(place: str, name: str = TRAINING) -> Checkpoint | None:
    """The checkpoint of a training that was killed at `place`, if any."""
    data = urls.read_bytes(urls.join(place, FOLDER, name))
    if data is None:
        return None
    with np.load(io.BytesIO(data)) as arrays:
        facts = json.loads(str(arrays["facts"]))
        state = [arrays[f"state_{index}"] for index in range(facts.pop("n_state"))]
        n_best = facts.pop("n_best")
        best = None if n_best is None else [arrays[f"best_{index}"] for index in range(n_best)]
    return Checkpoint(**facts, state=state, best_weights=best)


def save_checkpoint(place: str, checkpoint: Checkpoint, name: str = TRAINING) -> None:
    """Replace the checkpoint at `place`."""
    best = checkpoint.best_weights
    facts = {name: getattr(checkpoint, name) for name in ("report", "step", "history", "stopping")}
    facts |= {"n_state": len(checkpoint.state), "n_best": None if best is None else len(best)}
    arrays = {f"state_{index}": value for index, value in enumerate(checkpoint.state)}
    arrays |= {f"best_{index}": value for index, value in enumerate(best or [])}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
    urls.write_bytes(urls.join(place, FOLDER, name), buffer.getvalue())


def remove_checkpoints(place: str) -> None:
    """Remove what a finished training no longer needs."""
    urls.remove_tree(urls.join(place, FOLDER))


class KeepCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves a checkpoint every few minutes and when told to end; at the start, takes up the one that is there.

    Comes first among the callbacks: it hides the steps done before from Keras's count within the resumed report.
    """

    def __init__(
        self, place: str, minutes: float, steps_per_report: int, stopping: keras.callbacks.EarlyStopping | None
    ) -> None:
        super().__init__()
        self.place, self.seconds, self.steps_per_report, self.stopping = place, minutes * 60, steps_per_report, stopping
        self.resumed = load_checkpoint(place)
        self.past = self.resumed.history if self.resumed else {}
        self.report, self.before = 0, 0
        self.saved_at = time.monotonic()
        self.told_to_end = False
        self.ends_report = False

    @property
    def first_report(self) -> int:
        """The report to begin with."""
        return self.resumed.report if self.resumed else 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put back where the killed run was, the means of its unfinished report included; save when it is time."""
        self.report, self.before = epoch, 0
        if self.resumed and epoch == self.resumed.report:
            self.before = self.resumed.step
            _put_back(self.model, self.resumed.state)
            self._restore_stopping(self.resumed)
        if epoch > self.first_report:
            self._save_when_due(0)

    def _restore_stopping(self, checkpoint: Checkpoint) -> None:
        if self.stopping is not None:
            for name, value in checkpoint.stopping.items():
                setattr(self.stopping, name, value)
            self.stopping.best_weights = checkpoint.best_weights

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save when it is time; end a resumed report where its last step is."""
        done = self.before + batch + 1
        if done < self.steps_per_report:
            self._save_when_due(done)
        elif self.before:
            self.ends_report = self.model.stop_training = True  # of this report only, see on_epoch_end

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let the next report run, unless one of the callbacks after this one objects."""
        if self.ends_report:
            self.ends_report = self.model.stop_training = False

    def _save_when_due(self, step: int) -> None:
        # Not behind a report's last step: its validation and what early stopping makes of it are still to come.
        if self.told_to_end or time.monotonic() - self.saved_at >= self.seconds:
            self._save(self.report, step)
        if self.told_to_end:
            raise Terminated

    def _save(self, report: int, step: int) -> None:
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        stopping = {name: getattr(self.stopping, name) for name in STOPPING if hasattr(self.stopping, name)}
        stopping = {name: None if value is None else float(value) for name, value in stopping.items()}
        best = getattr(self.stopping, "best_weights", None)
        history, state = merged(self.past, getattr(self.model.history, "history", {})), _state(self.model)
        if all(np.isfinite(values).all() for values in state):  # else the one before stays
            save_checkpoint(self.place, Checkpoint(report, step, history, stopping, state, best))
        self.saved_at = time.monotonic()


class KeepLayout:
    """Saves where the rows are, every few minutes and when told to end; the next epoch depends on nothing else."""

    def __init__(self, place: str, minutes: float) -> None:
        self.place, self.seconds = place, minutes * 60
        self.resumed = load_checkpoint(place, LAYOUT)
        self.saved_at = time.monotonic()
        self.told_to_end = False

    def __call__(self, epoch: int, places: NDArray[np.float32], history: dict[str, list[float]]) -> None:
        """Save after `epoch` epochs, when it is time."""
        if self.told_to_end or time.monotonic() - self.saved_at >= self.seconds:
            self.save(epoch, places, history)
        if self.told_to_end:
            raise Terminated

    def save(self, epoch: int, places: NDArray[np.float32], history: dict[str, list[float]]) -> None:
        """Save; behind the last epoch too, for a run that is killed in what follows the layout."""
        save_checkpoint(self.place, Checkpoint(0, epoch, history, {}, [places], None), LAYOUT)
        self.saved_at = time.monotonic()


class Terminated(Exception):  # noqa: N818, not an error but an order
    """The process was told to end; a checkpoint is there."""


@contextmanager
def saving_on_sigterm(callback: KeepCheckpoint | KeepLayout) -> Iterator[None]:
    """Inside, SIGTERM waits for the steps that run and a checkpoint; then it does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: setattr(callback, "told_to_end", True))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if callback.told_to_end:
            os.kill(os.getpid(), signal.SIGTERM)


def merged(past: dict[str, list[float]], present: dict[str, list[float]]) -> dict[str, list[float]]:
    """The reports of the killed run, then those of this one."""
    names = list(past) or list(present)
    return {name: [*past.get(name, []), *map(float, present.get(name, []))] for name in names}


def _variables(model: ParametricModel) -> list[keras.Variable]:
    """All that changes while training: not the data."""
    skipped = {id(variable) for variable in [*model.window.tables, *model.metrics_variables]}
    kept = [variable for variable in model.variables if id(variable) not in skipped]
    return [*kept, *model.metrics_variables, *model.optimizer.variables]


def _state(model: ParametricModel) -> list[NDArray[Any]]:
    return [keras.ops.convert_to_numpy(variable.value) for variable in _variables(model)]


def _put_back(model: ParametricModel, state: list[NDArray[Any]]) -> None:
    model.optimizer.build(model.trainable_variables)
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)
