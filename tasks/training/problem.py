"""The training room's reading: rows, edges and what is held out of them, before any network exists."""

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays, chunk_objects, graph_store, sources, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.rows import read_ids
from pumascale.tasks.training import sampling, splits
from pumascale.tasks.training.graph_edges import GraphEdges, survey
from pumascale.tasks.training.progress import Progress, silent
from pumascale.tasks.training.sampling import Edges, joined

MOST_STEPS_PER_EXECUTION = 200

Batches = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Problem:
    """What is trained on: rows and edges where they are stored, the few that validate, and for how long."""

    source: Any  # Zarr array (n_rows, ...)
    edges: GraphEdges
    n_training_edges: int
    degrees: NDArray[np.int32]  # (n_rows,), how many such edges each row has
    held_out: NDArray[np.int64]
    validation: Edges  # (held-out, trained)
    steps_per_report: int  # a multiple of steps_per_execution
    steps_per_execution: int
    n_reports: int
    n_epochs: int
    metric: str  # of the graph
    landmarks: NDArray[np.float32] | None  # (n_rows, n_components), NaN: free
    is_parametric: bool  # else a row is its number, and its place is learned by itself
    memory_limit: float  # bytes, for what training by gradients has of the data

    @property
    def n_rows(self) -> int:
        """Rows of the graph: others may have come behind them since."""
        return len(self.edges.is_held_out)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row, as the network sees it."""
        return tuple(self.source.shape[1:]) if self.is_parametric else (1,)

    @property
    def row_dtype(self) -> np.dtype[Any]:
        """What rows are kept as: small numbers as they are, all else as float32; without a network, their numbers."""
        if not self.is_parametric:
            return np.dtype(np.int32)
        dtype = np.dtype(self.source.dtype)
        return dtype if dtype in (np.int8, np.uint8, np.float16) else np.dtype(np.float32)


def read_problem(
    source: str, graph: str, parameters: TrainingParameters, memory_limit: float, on_progress: Progress = silent
) -> Problem:
    """Hold rows out, look through the edges, and count the steps as umap-learn does."""
    array, is_parametric = sources.open_source(source), parameters.parametric_embedding
    manifest = graph_store.read_graph_manifest(graph)
    n_rows = int(manifest["n_rows"])
    n_epochs = parameters.n_epochs or sampling.default_n_epochs(n_rows)
    # A place that is learned by itself cannot be held out.
    share = parameters.validation_split if is_parametric else 0.0
    held_out = splits.hold_out(n_rows, share, parameters.random_state)
    edges = GraphEdges(graph, splits.mask(held_out, n_rows), float(manifest["heaviest"]), n_epochs, on_progress)
    found = survey(edges)
    if found.n_training == 0:
        raise InputError(
            f"No edge of {graph} joins two trained rows. Lower training.validation_split, or build a denser graph."
        )
    # What is trained on of a prototype network was laid out before: a few draws per edge are plenty.
    share = 0.02 if trains_prototypes(parameters) else 1.0
    draws = share * sampling.n_draws(found.training_weight, n_epochs)
    steps = count_steps(draws / (parameters.batch_size * parameters.loss_report_frequency))
    n_reports = parameters.loss_report_frequency * n_training_epochs(parameters)
    metric = str(manifest.get("metric", "euclidean"))
    landmarks = read_landmarks(parameters)
    return Problem(
        array, edges, found.n_training, found.degrees, held_out, found.validation, *steps, n_reports, n_epochs,
        metric, landmarks, is_parametric, memory_limit,
    )  # fmt: skip


def count_steps(per_report: float) -> tuple[int, int]:
    """Steps per report and per execution: Python is entered once per execution, in whole ones."""
    per_execution = max(1, min(round(per_report), MOST_STEPS_PER_EXECUTION))
    return max(1, round(per_report / per_execution)) * per_execution, per_execution


def uses_prototypes(parameters: TrainingParameters) -> bool:
    """Whether a prototype network is made from a layout, rather than a network trained from the start."""
    return parameters.encoder == "prototypes" and parameters.parametric_embedding and parameters.warm_start is None


def trains_prototypes(parameters: TrainingParameters) -> bool:
    """Whether the encoder is a prototype network, laid out here or in the model that is trained on."""
    if parameters.warm_start is None or not parameters.parametric_embedding:
        return uses_prototypes(parameters)
    network = urls.read_bytes(urls.join(parameters.warm_start, "encoder.keras")) or b""
    with zipfile.ZipFile(io.BytesIO(network)) as content:  # known without Keras, and whatever trained it
        return b'"PrototypeAttention"' in content.read("config.json")


def learning_rate(parameters: TrainingParameters) -> float:
    """Of the default optimizer, as given; not where a layout takes it, whose rates are a thousand times as high."""
    if parameters.learning_rate is not None and not uses_prototypes(parameters):
        return parameters.learning_rate
    return 1e-3 if parameters.parametric_embedding else 0.1


def n_training_epochs(parameters: TrainingParameters) -> int:
    """As given; else none for a prototype network, which its layout shapes, and one for all others."""
    if parameters.n_training_epochs is not None:
        return parameters.n_training_epochs
    return 0 if uses_prototypes(parameters) else 1


def resident_rows(problem: Problem) -> NDArray[Any]:
    """All rows in memory."""
    if not problem.is_parametric:
        return np.arange(problem.n_rows, dtype=np.int32)[:, np.newaxis]
    array = problem.source
    rows = np.empty((problem.n_rows, *problem.row_shape), problem.row_dtype)
    for start, stop in arrays.row_blocks(problem.n_rows, chunk_objects.block_rows(array)):
        rows[start:stop] = arrays.read_rows(array, start, stop, dtype=problem.row_dtype)
    return rows


def resident_edges(problem: Problem) -> Edges:
    """All edges between trained rows, in memory."""
    return joined(list(problem.edges.training()))


def read_landmarks(parameters: TrainingParameters) -> NDArray[np.float32] | None:
    """The given places, if any; all NaN for a row that is not held on every axis."""
    if parameters.landmark_positions is None:
        return None
    array = sources.open_source(parameters.landmark_positions)
    places = np.array(arrays.read_rows(array, 0, array.shape[0]))
    places[~np.isfinite(places).all(axis=1)] = np.nan
    return places


def validation_edges(problem: Problem, parameters: TrainingParameters, batch_size: int) -> Edges:
    """The edges of held-out rows that `val_loss` is taken of."""
    row_nbytes = 4 * math.prod(problem.row_shape)
    return splits.draw_validation(problem.validation, row_nbytes, batch_size, parameters.random_state)


def validation_batches(problem: Problem, parameters: TrainingParameters, batch_size: int) -> Batches | None:
    """The rows at both ends of the validation edges, and where the tails are held; None without such edges."""
    edges = validation_edges(problem, parameters, batch_size)
    if len(edges) == 0:
        return None
    batches = {name: _rows_of(problem, ids) for name, ids in (("head", edges.head), ("tail", edges.tail))}
    if problem.landmarks is not None:
        batches["landmarks"] = problem.landmarks[edges.tail]
    return batches


def _rows_of(problem: Problem, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows `ids`, in that order."""
    once, back = np.unique(ids, return_inverse=True)
    return read_ids(problem.source, once)[back].reshape(len(ids), *problem.row_shape)
