"""The training room's entry: from a graph and its rows to a model artefact."""

import logging
import math
import time
from typing import Any

import keras
import numpy as np

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import manifests
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import configs, curve
from pumascale.tasks.training.callbacks import (
    ReportProgress,
    StopOnNonFinite,
    build_logs,
)
from pumascale.tasks.training.checkpoints import KeepCheckpoint, merged, remove_checkpoints, saving_on_sigterm
from pumascale.tasks.training.decoding import validate_reconstruction, without_gradients
from pumascale.tasks.training.devices import n_devices, on_all_devices
from pumascale.tasks.training.model import ParametricModel
from pumascale.tasks.training.networks import Networks, build_networks
from pumascale.tasks.training.outcome import History, Outcome, describe, one_after_another, save
from pumascale.tasks.training.problem import (
    Problem,
    learning_rate,
    read_problem,
    resident_edges,
    resident_rows,
    uses_prototypes,
    validation_batches,
)
from pumascale.tasks.training.progress import Progress, silent
from pumascale.tasks.training.seeds import seeded
from pumascale.tasks.training.stages import train_prototypes
from pumascale.tasks.training.stream import FeedWindows, Stream, is_resident
from pumascale.tasks.training.terms import Attraction, Correlation, Landmarks, Reconstruction, Repulsion, Term
from pumascale.tasks.training.window import Window

log = logging.getLogger("pumascale.training")


def fit(
    source: str,
    graph: str,
    place: str,
    parameters: TrainingParameters,
    *,
    on_progress: Progress = silent,
    memory_limit: float = math.inf,
) -> dict[str, Any]:
    """Train an encoder on the graph of `source` and write the artefact at `place`, all but the commit.

    Parameters
    ----------
    source, graph, place : str
        URLs of the rows, of a finished graph and of the artefact.
    on_progress : callable
        Called with (stage, steps done, steps in all, losses).
    memory_limit : float
        Bytes for the rows and edges of training by gradients; what is larger is streamed.

    Returns
    -------
    dict
        The manifest: counts, losses, versions and parameters.

    Raises
    ------
    InputError
        When a network or a config cannot be used, no edge is left, the limit is too small for one partition, or the
        loss is not finite from the start.
    """
    finished = manifests.read_receipts(place).get(manifests.FINISHED)
    if finished is None:
        finished = train_and_save(source, graph, place, parameters, on_progress, memory_limit)
        # Before the checkpoints go: a run killed from here on must not train again.
        manifests.write_receipt(place, manifests.FINISHED, finished)
    remove_checkpoints(place)
    return finished


def train_and_save(
    source: str, graph: str, place: str, parameters: TrainingParameters, on_progress: Progress, memory_limit: float
) -> dict[str, Any]:
    """Train, write the objects of the artefact, and return its manifest."""
    problem = read_problem(source, graph, parameters, memory_limit, on_progress)
    a, b = curve_of(parameters)
    with seeded(parameters.random_state), on_all_devices():
        networks, outcome = train_networks(problem, parameters, a, b, place, on_progress)
    manifest = describe(problem, outcome, parameters) | {"a": a, "b": b}
    save(place, networks, problem, manifest, outcome.history, graph)
    return manifest


def train_networks(
    problem: Problem, parameters: TrainingParameters, a: float, b: float, place: str, on_progress: Progress
) -> tuple[Networks, Outcome]:
    """The stages: a prototype network's layout where it is one, then training by gradients where it is asked for."""
    started = time.perf_counter()
    encoder, laid_out = None, History()
    if uses_prototypes(parameters):
        encoder, laid_out = train_prototypes(
            problem, parameters, umap_terms(parameters, a, b), a, b, place, on_progress
        )
    networks = build_networks(parameters, problem.row_shape, problem.n_rows, encoder)
    if problem.n_reports == 0:
        return networks, without_gradients(networks, problem, parameters, on_progress, laid_out, started)
    stream = None if is_resident(problem) else Stream(problem, parameters.batch_size, parameters.random_state)
    model = build_model(networks, problem, parameters, a, b, stream)
    return networks, train(model, problem, parameters, place, on_progress, stream, laid_out)


def curve_of(parameters: TrainingParameters) -> tuple[float, float]:
    """`a` and `b` as given, or fitted."""
    if parameters.a is not None and parameters.b is not None:
        return parameters.a, parameters.b
    return curve.fit_curve(parameters.min_dist, parameters.spread)


def build_model(
    networks: Networks, problem: Problem, parameters: TrainingParameters, a: float, b: float, stream: Stream | None
) -> ParametricModel:
    """Compile the step, with all data on the device or with room for a window of it."""
    width = 0 if problem.landmarks is None else parameters.n_components
    capacity = stream.capacity if stream else (problem.n_rows, problem.n_training_edges)
    window = Window(*capacity, problem.row_shape, problem.row_dtype.name, parameters.random_state, width)
    if stream is None:
        window.put(window.prepare(resident_rows(problem), resident_edges(problem), problem.landmarks))
    terms = build_terms(parameters, networks, a, b)
    batch_size = -(-parameters.batch_size // n_devices()) * n_devices()
    model = ParametricModel(networks.encoder, window, batch_size, terms, networks.decoder)
    model.compile(
        optimizer=configs.build_optimizer(parameters.optimizer, learning_rate(parameters)),
        steps_per_execution=stream.steps_per_execution if stream else problem.steps_per_execution,
    )
    return model


def umap_terms(parameters: TrainingParameters, a: float, b: float) -> dict[str, Term]:
    """UMAP's own two terms."""
    shape = (a, b, parameters.kernel, parameters.negative_sample_rate)
    return {"attraction": Attraction(*shape), "repulsion": Repulsion(*shape, parameters.repulsion_strength)}


def build_terms(parameters: TrainingParameters, networks: Networks, a: float, b: float) -> dict[str, Term]:
    """The loss terms that `parameters` ask for."""
    terms = umap_terms(parameters, a, b)
    if networks.decoder is not None:
        loss = configs.build_loss("parametric_reconstruction_loss_fcn", parameters.parametric_reconstruction_loss_fcn)
        weight = parameters.parametric_reconstruction_loss_weight
        terms["reconstruction"] = Reconstruction(networks.decoder, loss, weight, parameters.autoencoder_loss)
    if parameters.global_correlation_loss_weight > 0:
        terms["correlation"] = Correlation(parameters.global_correlation_loss_weight)
    if parameters.landmark_positions is not None:
        loss_fn = parameters.landmark_loss_fn and configs.build_loss("landmark_loss_fn", parameters.landmark_loss_fn)
        terms["landmark"] = Landmarks(parameters.landmark_loss_weight, loss_fn or None)
    return terms


def train(
    model: ParametricModel,
    problem: Problem,
    parameters: TrainingParameters,
    place: str,
    on_progress: Progress,
    stream: Stream | None,
    laid_out: History,
) -> Outcome:
    """Run Keras's own `fit`, from the checkpoint at `place` if any, and return its history behind `laid_out`."""
    started = time.perf_counter()
    validation = validation_batches(problem, parameters, model.batch_size)
    stopping = build_stopping(parameters, validation is not None)
    keeper = KeepCheckpoint(place, parameters.checkpoint_minutes, problem.steps_per_report, stopping)
    feed = [FeedWindows(stream, model.window, keeper, problem.steps_per_report)] if stream else []
    guard = StopOnNonFinite(keeper)
    past = one_after_another(laid_out, keeper.past)
    callbacks = [*build_callbacks(model, parameters, past), *([stopping] if stopping else [])]
    progress = ReportProgress(on_progress, problem.steps_per_report, problem.n_reports, keeper)
    with saving_on_sigterm(keeper):
        history = model.fit(
            np.zeros((problem.steps_per_report * n_devices(), 1), np.float32),
            batch_size=n_devices(),
            initial_epoch=keeper.first_report,
            epochs=problem.n_reports,
            shuffle=False,
            verbose=0,
            validation_data=None if validation is None else (validation,),
            validation_batch_size=model.batch_size,
            callbacks=[keeper, *feed, guard, *callbacks, progress],
        )
    values = merged(keeper.past, history.history)
    finite, step = finite_part(values, guard, problem)
    n_reports = len(finite["loss"])
    best = n_reports - 1 if stopping is None or stopping.best_weights is None else int(stopping.best_epoch)
    history, n_laid_out = one_after_another(laid_out, finite), len(laid_out.get("loss", ()))
    steps = problem.steps_per_report * n_reports
    return Outcome(history, n_laid_out + best, steps, step, time.perf_counter() - started)


def finite_part(history: History, guard: StopOnNonFinite, problem: Problem) -> tuple[History, int | None]:
    """The history up to the last finite report, and the step at which the loss left the numbers, if it did."""
    if guard.stopped_at is None:
        return history, None
    step = guard.report * problem.steps_per_report + guard.stopped_at
    if guard.good is None:
        raise InputError(
            f"The loss was not finite by step {step}, before the first report. Lower training.learning_rate, scale the "
            "rows, or check the custom network and losses."
        )
    log.warning("The loss was not finite at step %d: stopped, with the weights of the last report before.", step)
    return {name: reports[: guard.report] for name, reports in history.items()}, step


def build_stopping(parameters: TrainingParameters, has_validation: bool) -> keras.callbacks.EarlyStopping | None:
    """Keras's early stopping on the value asked for; without held-out rows on the trained ones' of that name."""
    if not parameters.early_stopping:
        return None
    monitor = parameters.monitor if has_validation else parameters.monitor.removeprefix("val_")
    return keras.callbacks.EarlyStopping(monitor, patience=parameters.patience, mode="min", restore_best_weights=True)


def build_callbacks(
    model: ParametricModel, parameters: TrainingParameters, past: History
) -> list[keras.callbacks.Callback]:
    """What sees the losses before early stopping does: added values, logs, the user's callbacks."""
    validation = validate_reconstruction(model.encoder, model.decoder, parameters) if model.decoder else []
    return [*validation, *build_logs(parameters, past), *map(configs.build_callback, parameters.callbacks)]
