"""The training room's decoder of a finished encoder: trained on places and rows alone, without edges.

The places do not change any more, so each row is encoded once for all of training.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.training import configs
from pumascale.tasks.training.callbacks import Progress
from pumascale.tasks.training.problem import Problem, resident_rows

BATCH_SIZE = 256
MOST_PASSES = 100


@dataclass(frozen=True)
class Pairs:
    """`places` (n, n_components) and the `rows` (n, *row_shape) that belong there."""

    places: NDArray[np.float32]
    rows: NDArray[np.float32]

    def of(self, ids: NDArray[Any]) -> "Pairs":
        """Those of the rows `ids`."""
        return Pairs(self.places[ids], self.rows[ids])


def train_decoder(
    encoder: keras.Model,
    decoder: keras.Model,
    problem: Problem,
    parameters: TrainingParameters,
    on_progress: Progress,
) -> dict[str, list[float]]:
    """Train `decoder` to undo `encoder`, until the held-out rows no longer gain.

    Returns
    -------
    dict
        `reconstruction` and `val_reconstruction` of every pass over the rows.
    """
    rows = resident_rows(problem).astype(np.float32, copy=False)
    pairs = Pairs(encoder.predict(rows, batch_size=1024, verbose=0), rows)
    held_out = problem.held_out
    trained, unseen = pairs.of(np.setdiff1d(np.arange(len(rows)), held_out)), pairs.of(held_out)
    loss = configs.build_loss("parametric_reconstruction_loss_fcn", parameters.parametric_reconstruction_loss_fcn)
    optimizer = configs.build_optimizer(parameters.optimizer, parameters.learning_rate or 1e-3)
    n_steps = -(-len(trained.rows) // BATCH_SIZE)
    decoder.compile(optimizer=optimizer, loss=loss, steps_per_execution=min(n_steps, 200))
    history = decoder.fit(
        trained.places,
        trained.rows,
        batch_size=BATCH_SIZE,
        epochs=MOST_PASSES,
        verbose=0,
        validation_data=(unseen.places, unseen.rows) if len(held_out) else None,
        callbacks=_callbacks(parameters, len(held_out) > 0, on_progress),
    ).history
    return {name.replace("loss", "reconstruction"): list(map(float, values)) for name, values in history.items()}


def _callbacks(parameters: TrainingParameters, has_unseen: bool, on_progress: Progress) -> list[Any]:
    monitor = "val_loss" if has_unseen else "loss"
    stop = keras.callbacks.EarlyStopping(monitor, patience=parameters.patience, restore_best_weights=True)
    return [stop, keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_progress(
        "decoder", epoch + 1, MOST_PASSES, {name: float(value) for name, value in logs.items()}
    ))]  # fmt: skip
