"""The training room's decoder of a finished encoder: trained on places and rows alone, without edges.

The places do not change any more, so each row is encoded once for all of training.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays, sources
from pumascale.tasks.storage.rows import read_ids
from pumascale.tasks.training import configs
from pumascale.tasks.training.callbacks import ValidateReconstruction
from pumascale.tasks.training.devices import not_shared_out
from pumascale.tasks.training.networks import Networks
from pumascale.tasks.training.outcome import History, Outcome
from pumascale.tasks.training.problem import Problem, learning_rate
from pumascale.tasks.training.progress import Progress
from pumascale.tasks.training.stream import ROW_COPIES

BATCH_SIZE = 256
MOST_PASSES = 100


@dataclass(frozen=True)
class Pairs:
    """`places` (n, n_components) and the `rows` (n, *row_shape) that belong there."""

    places: NDArray[np.float32]
    rows: NDArray[np.float32]


def without_gradients(
    networks: Networks,
    problem: Problem,
    parameters: TrainingParameters,
    on_progress: Progress,
    laid_out: History,
    started: float,
) -> Outcome:
    """What a layout and a decoder leave: of the one the last places are kept, of the other the best weights."""
    history = laid_out
    if networks.decoder is not None:
        history = laid_out | train_decoder(networks.encoder, networks.decoder, problem, parameters, on_progress)
    if laid_out:
        best, steps = len(laid_out["loss"]) - 1, problem.n_epochs
    else:
        best, steps = int(np.argmin(history.get("val_reconstruction") or history["reconstruction"])), 0
    return Outcome(history, best, steps, None, time.perf_counter() - started)


@not_shared_out()
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
        `reconstruction`, `val_reconstruction` and `reconstruction_validation` of every pass over the rows.
    """
    trained, unseen = (read_pairs(encoder, problem, ids) for ids in split_rows(problem, parameters.random_state))
    loss = configs.build_loss("parametric_reconstruction_loss_fcn", parameters.parametric_reconstruction_loss_fcn)
    optimizer = configs.build_optimizer(parameters.optimizer, learning_rate(parameters))
    n_steps = -(-len(trained.rows) // BATCH_SIZE)
    decoder.compile(optimizer=optimizer, loss=loss, steps_per_execution=min(n_steps, 200))
    history = decoder.fit(
        trained.places,
        trained.rows,
        batch_size=BATCH_SIZE,
        epochs=MOST_PASSES,
        verbose=0,
        validation_data=(unseen.places, unseen.rows) if len(unseen.rows) else None,
        callbacks=[
            *validate_reconstruction(encoder, decoder, parameters),
            *_callbacks(parameters, len(unseen.rows) > 0, on_progress),
        ],
    ).history
    return {name.replace("loss", "reconstruction"): list(map(float, values)) for name, values in history.items()}


def validate_reconstruction(
    encoder: keras.Model, decoder: keras.Model, parameters: TrainingParameters
) -> list[ValidateReconstruction]:
    """What reports the reconstruction loss of the given rows, where there are any."""
    if parameters.reconstruction_validation is None:
        return []
    array = sources.open_source(parameters.reconstruction_validation)
    loss = configs.build_loss("parametric_reconstruction_loss_fcn", parameters.parametric_reconstruction_loss_fcn)
    return [ValidateReconstruction(encoder, decoder, arrays.read_rows(array, 0, array.shape[0]), loss)]


def split_rows(problem: Problem, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the rows to train on and to stop by: all, or as many of each as the memory limit has room for."""
    share = min(1.0, problem.memory_limit / (ROW_COPIES * 4 * math.prod(problem.row_shape) * problem.n_rows))
    generator = np.random.Generator(np.random.Philox(key=[seed, 7]))
    trained = np.flatnonzero(~problem.edges.is_held_out)
    kinds = (generator.choice(ids, math.ceil(share * len(ids)), replace=False) for ids in (trained, problem.held_out))
    first, second = map(np.sort, kinds)
    return first, second


def read_pairs(encoder: keras.Model, problem: Problem, ids: NDArray[np.int64]) -> Pairs:
    """The rows `ids` (ascending), but for those with NaN or inf, and where the encoder puts them."""
    rows = read_ids(problem.source, ids)
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows.reshape(len(rows), *problem.row_shape)
    if len(rows) == 0:  # nothing that Keras predicts
        return Pairs(np.empty((0, *encoder.output_shape[1:]), np.float32), rows)
    return Pairs(encoder.predict(rows, batch_size=1024, verbose=0), rows)


def _callbacks(parameters: TrainingParameters, has_unseen: bool, on_progress: Progress) -> list[Any]:
    monitor = "val_loss" if has_unseen else "loss"
    stop = keras.callbacks.EarlyStopping(monitor, patience=parameters.patience, restore_best_weights=True)
    return [stop, keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_progress(
        "decoder", epoch + 1, MOST_PASSES, {name: float(value) for name, value in logs.items()}
    ))]  # fmt: skip
