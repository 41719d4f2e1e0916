"""The training room's entry: from a graph and its rows to a model artefact.

Resident training: rows and edges are on the device, 4 bytes per value and 16 per edge.
"""

import importlib.metadata
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays, graph_store, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import artefact, curve, networks, sampling, splits
from pumascale.tasks.training.callbacks import Progress, ReportProgress
from pumascale.tasks.training.model import ParametricModel
from pumascale.tasks.training.sampling import Edges
from pumascale.tasks.training.window import Window

log = logging.getLogger("pumascale.training")

MOST_STEPS_PER_EXECUTION = 200


@dataclass(frozen=True)
class Problem:
    """What is trained on: `rows` of the source and the split edges with ids into them."""

    rows: NDArray[Any]
    split: splits.Split
    steps_per_report: int
    n_reports: int


def _silent(stage: str, done: int, total: int, values: dict[str, float]) -> None:
    pass


def fit(
    source: str, graph: str, place: str, parameters: TrainingParameters, *, on_progress: Progress = _silent
) -> dict[str, Any]:
    """Train an encoder on the graph of `source` and write the artefact at `place`, all but the commit.

    Parameters
    ----------
    source, graph, place : str
        URLs of the rows, of a finished graph and of the artefact.
    on_progress : callable
        Called with (stage, steps done, steps in all, losses).

    Returns
    -------
    dict
        The manifest: counts, losses, versions and parameters.
    """
    started = time.perf_counter()
    keras.utils.set_random_seed(parameters.random_state)
    problem = read_problem(source, graph, parameters)
    a, b = curve_of(parameters)
    encoder = networks.mlp_encoder(problem.rows.shape[1:], parameters.n_components, parameters.hidden_units)
    model = build_model(encoder, problem, parameters, a, b)
    history = train(model, problem, parameters, on_progress)
    manifest = describe(problem, history, parameters, a, b) | {"seconds": time.perf_counter() - started}
    save(place, encoder, problem, manifest, history, graph)
    return manifest


def read_problem(source: str, graph: str, parameters: TrainingParameters) -> Problem:
    """Read rows and edges, hold rows out, prune, and count the steps as umap-learn does."""
    array = arrays.open_source(source)
    n_rows = array.shape[0]
    n_epochs = parameters.n_epochs or sampling.default_n_epochs(n_rows)
    edges = sampling.prune(Edges(*graph_store.read_edges(graph)), n_epochs)
    held_out = splits.hold_out(n_rows, parameters.validation_split, parameters.random_state)
    split = splits.split_edges(edges, held_out, n_rows)
    if len(split.training) == 0:
        raise InputError(
            f"No edge of {graph} joins two trained rows. Lower training.validation_split or build a denser graph."
        )
    per_report = sampling.n_draws(split.training, n_epochs) / (parameters.batch_size * parameters.loss_report_frequency)
    n_reports = parameters.loss_report_frequency * parameters.n_training_epochs
    return Problem(read_rows(array), split, max(1, round(per_report)), n_reports)


def read_rows(array: Any) -> NDArray[Any]:
    """All rows, block by block: small integers as they are, all else as float32."""
    dtype = array.dtype if array.dtype.kind in "iu" and array.dtype.itemsize == 1 else np.float32
    rows = np.empty(array.shape, dtype)
    block = arrays.shard_rows(math.prod(array.shape[1:]) * array.dtype.itemsize, array.shape[0])
    for start, stop in arrays.row_blocks(array.shape[0], block):
        rows[start:stop] = arrays.read_rows(array, start, stop, dtype=dtype)
    return rows


def curve_of(parameters: TrainingParameters) -> tuple[float, float]:
    """`a` and `b` as given, or fitted."""
    if parameters.a is not None and parameters.b is not None:
        return parameters.a, parameters.b
    return curve.fit_curve(parameters.min_dist, parameters.spread)


def build_model(
    encoder: keras.Model, problem: Problem, parameters: TrainingParameters, a: float, b: float
) -> ParametricModel:
    """Put the data on the device and compile the step."""
    rows, edges = problem.rows, problem.split.training
    window = Window(len(rows), len(edges), rows.shape[1:], rows.dtype.name, parameters.random_state)
    window.load(rows, edges)
    objective = {"a": a, "b": b} | parameters.model_dump(
        include={"kernel", "negative_sample_rate", "repulsion_strength"}
    )
    model = ParametricModel(encoder, window, parameters.batch_size, objective)
    model.compile(
        optimizer=keras.optimizers.Adam(parameters.learning_rate, clipvalue=4.0),
        steps_per_execution=min(problem.steps_per_report, MOST_STEPS_PER_EXECUTION),
    )
    return model


def train(
    model: ParametricModel, problem: Problem, parameters: TrainingParameters, on_progress: Progress
) -> dict[str, list[float]]:
    """Run Keras's own `fit` and return its history."""
    validation = validation_rows(problem, parameters)
    callbacks: list[Any] = [ReportProgress(on_progress, problem.steps_per_report, problem.n_reports)]
    if validation is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=parameters.patience, restore_best_weights=True)
        )
    history = model.fit(
        np.zeros((problem.steps_per_report, 1), np.float32),
        batch_size=1,
        epochs=problem.n_reports,
        shuffle=False,
        verbose=0,
        validation_data=None if validation is None else (validation,),
        validation_batch_size=parameters.batch_size,
        callbacks=callbacks,
    )
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def validation_rows(problem: Problem, parameters: TrainingParameters) -> dict[str, NDArray[np.float32]] | None:
    """The rows at both ends of the validation edges; None without such edges."""
    rows = problem.rows
    row_nbytes = 4 * math.prod(rows.shape[1:])
    edges = splits.draw_validation(problem.split.validation, row_nbytes, parameters.batch_size, parameters.random_state)
    if len(edges) == 0:
        return None
    return {"head": rows[edges.head].astype(np.float32), "tail": rows[edges.tail].astype(np.float32)}


def describe(
    problem: Problem, history: dict[str, list[float]], parameters: TrainingParameters, a: float, b: float
) -> dict[str, Any]:
    """The manifest of a training."""
    monitored = history.get("val_loss", history["loss"])
    steps = problem.steps_per_report * len(history["loss"])
    return {
        "n_rows": len(problem.rows),
        "n_held_out": len(problem.split.held_out),
        "n_components": parameters.n_components,
        "n_training_edges": len(problem.split.training),
        "n_edges": steps * parameters.batch_size,
        "steps": steps,
        "best_val_loss": min(monitored),
        "best_epoch": int(np.argmin(monitored)),
        "stopped_epoch": len(history["loss"]),
        "n_reports": problem.n_reports,
        "history": {name: values[-5:] for name, values in history.items()},
        "backend": keras.backend.backend(),
        "keras": importlib.metadata.version("keras"),
        "a": a,
        "b": b,
        "parameters": parameters.model_dump(mode="json"),
    }


def save(
    place: str,
    encoder: keras.Model,
    problem: Problem,
    manifest: dict[str, Any],
    history: dict[str, list[float]],
    graph: str,
) -> None:
    """Write the objects of the artefact."""
    artefact.save_network(urls.join(place, "encoder.keras"), encoder)
    artefact.save_ids(urls.join(place, "held_out.npy"), problem.split.held_out)
    artefact.save_json(urls.join(place, "history.json"), history)
    metric = graph_store.read_graph_manifest(graph).get("metric")
    content = manifest | {"schema_version": artefact.SCHEMA_VERSION, "row_shape": problem.rows.shape[1:]}
    artefact.save_json(urls.join(place, "model.json"), content | {"metric": metric, "graph": graph})
