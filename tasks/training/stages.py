"""The training room's stages of the prototype network: choose prototypes, lay the graph out, read their places off.

The layout takes the whole graph of the trained rows; held-out rows are placed by the network alone, at every report,
so `val_loss` tells here too how rows fare that were never seen.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import model_store, sources, urls
from pumascale.tasks.storage.rows import read_ids
from pumascale.tasks.training import artefact, layout, splits
from pumascale.tasks.training.adjacency import draw_edges
from pumascale.tasks.training.callbacks import build_logs
from pumascale.tasks.training.checkpoints import Checkpoint, KeepLayout, saving_on_sigterm
from pumascale.tasks.training.medoids import NOBODY, choose_prototypes, principal_axes
from pumascale.tasks.training.problem import Problem, validation_edges
from pumascale.tasks.training.progress import Progress
from pumascale.tasks.training.prototypes import PrototypeAttention, default_n_prototypes, prototype_encoder
from pumascale.tasks.training.sampling import Edges
from pumascale.tasks.training.terms import Term
from pumascale.tasks.training.trained import Trained, flat_rows, principal_components, read_sample, read_trained

Values = dict[str, float]
History = dict[str, list[float]]
Axes = tuple[NDArray[np.float32], NDArray[np.float32]]  # the mean row, and the directions from it


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
    trained = read_trained(problem)
    encoder, chosen, axes = choose_encoder(problem, trained, parameters)
    layer = encoder.get_layer("prototypes")
    options = layout.LayoutOptions(
        a, b, parameters.negative_sample_rate, parameters.repulsion_strength, parameters.learning_rate or 1.0,
        problem.n_epochs, parameters.random_state,
    )  # fmt: skip
    keeper = KeepLayout(place, parameters.checkpoint_minutes)
    watch = Watch(layer, chosen, trained, problem, parameters, terms, on_progress, keeper)
    start, first_epoch = start_of(problem, trained, axes, parameters, keeper.resumed, on_progress)
    with saving_on_sigterm(keeper):
        places = layout.lay_out(start, trained.adjacency, options, watch, first_epoch)
    keeper.save(problem.n_epochs, places, watch.history)
    layer.set_values(places[chosen])
    artefact.save_ids(urls.join(place, model_store.PROTOTYPES), trained.ids[chosen])
    for log in watch.logs:
        log.on_train_end()
    return encoder, watch.history


def choose_encoder(
    problem: Problem, trained: Trained, parameters: TrainingParameters
) -> tuple[keras.Model, NDArray[np.int64], Axes]:
    """The encoder with its prototypes as keys, their numbers among the trained rows, and the principal axes.

    All that looks at the sample is here, so its rows are in memory no longer than this.
    """
    seed, count = parameters.random_state, parameters.n_prototypes or default_n_prototypes(len(trained.ids))
    sample = read_sample(problem, count, seed)
    earlier = _earlier_prototypes(parameters.landmark_positions)
    among = choose_prototypes(sample.rows, sample.ids, count, seed, earlier)
    encoder = prototype_encoder(
        problem.row_shape, parameters.n_components, len(among), problem.metric, parameters.spread
    )
    encoder.get_layer("prototypes").set_keys(sample.rows[among], sample.center)
    mean = sample.center + sample.rows.mean(axis=0)
    axes = mean, principal_axes(sample.rows, sample.ids, parameters.n_components, seed)
    return encoder, trained.numbers_of(sample.ids[among]), axes


def _earlier_prototypes(landmarks: str | None) -> NDArray[np.int64]:
    """Ids of the prototypes of the model that placed the landmarks, where they name one: the map is to stay."""
    model = sources.open_source(landmarks).attrs.get("model") if landmarks else None
    return model_store.read_prototypes(model) if isinstance(model, str) else NOBODY


def start_of(
    problem: Problem,
    trained: Trained,
    axes: Axes,
    parameters: TrainingParameters,
    resumed: Checkpoint | None,
    on_progress: Progress,
) -> tuple[NDArray[np.float32], int]:
    """Where the rows start, and the epochs that are done by then."""
    if resumed is not None:
        return resumed.state[0], resumed.step
    components = principal_components(problem, trained.ids, *axes)
    start = layout.start_places(
        components, trained.adjacency, parameters.n_components, parameters.random_state,
        lambda done: on_progress("start", done, layout.SMOOTHINGS, {}),
    )  # fmt: skip
    if trained.landmarks is not None:
        start = layout.start_from_landmarks(start, trained.adjacency, trained.landmarks)
    return start, 0


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
        count = min(2 * problem.n_training_edges, splits.MOST_VALIDATION_EDGES)
        self.sample = draw_edges(trained.adjacency, count, parameters.random_state)
        edges = validation_edges(problem, parameters, parameters.batch_size)
        self.attended = self._attend(problem, edges) if len(edges) else []
        self.landmarks = trained.landmarks
        self.landmark_weight = min(1.0, parameters.landmark_loss_weight)
        self.history: History = keeper.resumed.history if keeper.resumed else {}
        self.logs = build_logs(parameters, self.history)

    def _attend(self, problem: Problem, edges: Edges) -> list[tuple[Any, Any]]:
        """The prototypes and their weights of the rows at both ends: they stay the same while their places move."""
        ids, ends = np.unique([edges.head, edges.tail], return_inverse=True)
        rows = flat_rows(read_ids(problem.source, ids), problem.metric)
        # Small blocks: each holds several copies of its scores, 8 MB at 8,192 prototypes.
        blocks = [self.layer.attend(rows[start : start + 256]) for start in range(0, len(rows), 256)]
        attended = [ops.concatenate(parts) for parts in zip(*blocks, strict=True)]
        chosen, weight = ([ops.take(values, at, axis=0) for at in ends.reshape(2, -1)] for values in attended)
        return list(zip(chosen, weight, strict=True))

    def __call__(self, epoch: int, places: NDArray[np.float32]) -> None:
        """Report after `epoch` epochs."""
        self.hold(places)
        values: Values = {}
        if epoch * self.n_reports // self.n_epochs > (epoch - 1) * self.n_reports // self.n_epochs:
            values = self.losses(places)
            for name, value in values.items():
                self.history.setdefault(name, []).append(value)
            for log in self.logs:
                log.on_epoch_end(len(self.history["loss"]) - 1, values)
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
