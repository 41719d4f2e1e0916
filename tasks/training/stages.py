"""The training room's stages of the prototype network: choose prototypes, lay the graph out, read their places off.

The layout takes the whole graph of the trained rows; held-out rows are placed by the network alone, at every report,
so `val_loss` tells here too how rows fare that were never seen.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.training import layout, prototypes, splits
from pumascale.tasks.training.callbacks import Progress
from pumascale.tasks.training.checkpoints import Checkpoint, KeepLayout, saving_on_sigterm
from pumascale.tasks.training.problem import Problem, validation_batches
from pumascale.tasks.training.prototypes import PrototypeAttention
from pumascale.tasks.training.sampling import Edges
from pumascale.tasks.training.terms import Term

Values = dict[str, float]
History = dict[str, list[float]]


@dataclass(frozen=True)
class Trained:
    """The rows that training may look at, flat and as the network sees them, and their edges with ids into them."""

    rows: NDArray[np.float32]  # (n_trained, n_features)
    edges: Edges
    landmarks: NDArray[np.float32] | None  # (n_trained, n_components), NaN: free


def train_prototypes(
    problem: Problem,
    parameters: TrainingParameters,
    terms: dict[str, Term],
    a: float,
    b: float,
    place: str,
    on_progress: Progress,
) -> tuple[keras.Model, History]:
    """Make the prototype encoder of a graph; the layout goes on from its checkpoint at `place`, if there is one.

    Returns
    -------
    keras.Model
        The encoder.
    dict
        The losses at each report: of trained rows where the layout has them, of held-out rows where the network does.
    """
    trained = trained_rows(problem)
    count = parameters.n_prototypes or prototypes.default_n_prototypes(len(trained.rows))
    chosen = prototypes.choose_prototypes(trained.rows, count, parameters.random_state)
    encoder = prototypes.prototype_encoder(
        problem.row_shape, parameters.n_components, len(chosen), problem.metric, parameters.spread
    )
    layer = encoder.get_layer("prototypes")
    layer.set_keys(trained.rows[chosen])
    options = layout.LayoutOptions(
        a, b, parameters.negative_sample_rate, parameters.repulsion_strength, problem.n_epochs, parameters.random_state
    )
    keeper = KeepLayout(place, parameters.checkpoint_minutes)
    watch = Watch(layer, chosen, trained, problem, parameters, terms, on_progress, keeper)
    start, first_epoch = start_of(trained, parameters, keeper.resumed)
    with saving_on_sigterm(keeper):
        places = layout.lay_out(start, trained.edges, options, watch, first_epoch)
    layer.set_values(places[chosen])
    return encoder, watch.history


def start_of(
    trained: Trained, parameters: TrainingParameters, resumed: Checkpoint | None
) -> tuple[NDArray[np.float32], int]:
    """Where the rows start, and the epochs that are done by then."""
    if resumed is not None:
        return resumed.state[0], resumed.step
    start = layout.start_places(trained.rows, trained.edges, parameters.n_components, parameters.random_state)
    if trained.landmarks is not None:
        start = layout.start_from_landmarks(start, trained.edges, trained.landmarks)
    return start, 0


def trained_rows(problem: Problem) -> Trained:
    """The rows that have an edge in training, renumbered."""
    edges = problem.split.training
    ids = np.unique(np.concatenate([edges.head, edges.tail]))
    local = np.searchsorted(ids, edges.head), np.searchsorted(ids, edges.tail)
    landmarks = None if problem.landmarks is None else problem.landmarks[ids]
    if landmarks is not None and np.isnan(landmarks).any(axis=1).all():
        landmarks = None
    return Trained(flat_rows(problem.rows[ids], problem.metric), Edges(*local, edges.weight), landmarks)


def flat_rows(rows: NDArray[Any], metric: str) -> NDArray[np.float32]:
    """Rows as `prototype_encoder` hands them to its attention, float32 (n, n_features)."""
    flat = rows.reshape(len(rows), -1).astype(np.float32)
    if metric in prototypes.SPHERICAL_METRICS:
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return flat


class Watch:
    """Looks after the layout while it grows: holds landmarks and tells progress at every epoch, losses at every report.

    A landmark is pulled to its place by `landmark_weight` of the way per epoch, so 1 pins it.
    """

    def __init__(
        self,
        layer: PrototypeAttention,
        chosen: NDArray[np.int64],
        trained: Trained,
        problem: Problem,
        parameters: TrainingParameters,
        terms: dict[str, Term],
        on_progress: Progress,
        keeper: KeepLayout,
    ) -> None:
        self.layer, self.chosen, self.terms, self.on_progress = layer, chosen, terms, on_progress
        self.keeper = keeper
        self.n_epochs = problem.n_epochs
        self.n_reports = min(parameters.loss_report_frequency, problem.n_epochs)
        self.sample = splits.draw_validation(trained.edges, 1, parameters.batch_size, parameters.random_state)
        batches = validation_batches(problem, parameters, parameters.batch_size)
        self.attended = batches and [self._attend(flat_rows(batches[end], problem.metric)) for end in ("head", "tail")]
        self.landmarks = trained.landmarks
        self.landmark_weight = min(1.0, parameters.landmark_loss_weight)
        self.history: History = keeper.resumed.history if keeper.resumed else {}

    def _attend(self, rows: NDArray[np.float32]) -> tuple[Any, Any]:
        # The prototypes of a row stay the same while their places move.
        blocks = [self.layer.attend(rows[start : start + 1024]) for start in range(0, len(rows), 1024)]
        return ops.concatenate([chosen for chosen, _ in blocks]), ops.concatenate([weight for _, weight in blocks])

    def __call__(self, epoch: int, places: NDArray[np.float32]) -> None:
        """Report after `epoch` epochs."""
        self.hold(places)
        values: Values = {}
        if epoch * self.n_reports // self.n_epochs > (epoch - 1) * self.n_reports // self.n_epochs:
            values = self.losses(places)
            for name, value in values.items():
                self.history.setdefault(name, []).append(value)
        self.on_progress("layout", epoch, self.n_epochs, values)
        self.keeper(epoch, places, self.history)

    def hold(self, places: NDArray[np.float32]) -> None:
        """Pull the landmarks to their places."""
        if self.landmarks is not None:
            places += self.landmark_weight * np.nan_to_num(self.landmarks - places)

    def losses(self, places: NDArray[np.float32]) -> Values:
        """The terms now."""
        values = self._terms("", places[self.sample.head], places[self.sample.tail])
        if self.attended:
            self.layer.set_values(places[self.chosen])
            values |= self._terms("val_", *(self.layer.place(*attended) for attended in self.attended))
        return values

    def _terms(self, prefix: str, head: Any, tail: Any) -> Values:
        batch = {"head": ops.convert_to_tensor(head), "tail": ops.convert_to_tensor(tail)}
        values = {f"{prefix}{name}": float(self.terms[name](batch, False)) for name in ("attraction", "repulsion")}
        return values | {f"{prefix}loss": sum(values.values())}
