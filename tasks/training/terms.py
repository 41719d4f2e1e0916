"""The training room's loss, term by term: each takes the batch that the model's `call` returned and gives one number.

A batch is a dict of tensors: `head`, `tail` (batch, n_components) embedded ends; `rows` (2 batch, *row_shape), the
heads' rows first; `landmarks` (batch, n_components), where the tails belong, NaN for free ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from pumascale.tasks.training.objective import Tensor, attraction, repulsion, squared_distances

Batch = dict[str, Any]
Term = Callable[[Batch, bool], Tensor]


@dataclass(frozen=True)
class Attraction:
    """Mean loss of the attracted pairs, over all pairs of the batch."""

    a: float
    b: float
    kernel: str
    negative_sample_rate: int

    def __call__(self, batch: Batch, training: bool) -> Tensor:
        """Each head with its own tail."""
        losses = attraction(squared_distances(batch["head"], batch["tail"]), self.a, self.b, self.kernel)
        return ops.mean(losses) / (1 + self.negative_sample_rate)


@dataclass(frozen=True)
class Repulsion:
    """Mean loss of the repelled pairs, over all pairs of the batch.

    The repelled pairs are each tail with the heads of the next edges of the batch. Edges are drawn independently, so
    this is as random as `ParametricUMAP`'s permutation of the batch's heads, without its sort and gather.
    """

    a: float
    b: float
    kernel: str
    negative_sample_rate: int
    repulsion_strength: float

    def __call__(self, batch: Batch, training: bool) -> Tensor:
        """Each tail with the heads of `negative_sample_rate` other edges."""
        head, tail = batch["head"], batch["tail"]
        total = ops.zeros((), "float32")
        for turn in range(self.negative_sample_rate):
            others = ops.roll(head, 1 + turn % max(1, head.shape[0] - 1), axis=0)
            total = total + ops.mean(repulsion(squared_distances(others, tail), self.a, self.b, self.kernel))
        return self.repulsion_strength * total / (1 + self.negative_sample_rate)


@dataclass(frozen=True)
class Reconstruction:
    """Loss of the heads' rows after encoding and decoding; the gradient stops before the encoder unless asked for."""

    decoder: keras.Model
    loss: Callable[[Any, Any], Tensor]
    weight: float
    autoencoder_loss: bool

    def __call__(self, batch: Batch, training: bool) -> Tensor:
        """The decoder's loss on the batch."""
        head = batch["head"] if self.autoencoder_loss else ops.stop_gradient(batch["head"])
        rows = batch["rows"][: head.shape[0]]
        given = ops.cast(self.decoder(head, training=training), "float32")
        return self.weight * ops.mean(self.loss(rows, given))


@dataclass(frozen=True)
class Correlation:
    """Minus the correlation of the distances between consecutive rows with those between their places.

    As `umap/parametric_umap.py` does it: both sides standardised over the batch and clipped at 10.
    """

    weight: float

    def __call__(self, batch: Batch, training: bool) -> Tensor:
        """On the tails of the batch."""
        tail = batch["tail"]
        flat = ops.reshape(batch["rows"][tail.shape[0] :], (tail.shape[0], -1))
        wanted, given = _steps(flat), _steps(tail)
        wanted, given = wanted - ops.mean(wanted), given - ops.mean(given)
        scale = ops.sqrt(ops.mean(ops.square(wanted)) * ops.mean(ops.square(given)) + 1e-12)
        return -self.weight * ops.mean(wanted * given) / scale


def _steps(values: Tensor) -> Tensor:
    """Distances between consecutive standardised rows, (m - 1,)."""
    spread = ops.sqrt(ops.var(values, axis=0, keepdims=True) + 1e-12)
    scaled = ops.clip((values - ops.mean(values, axis=0, keepdims=True)) / spread, -10.0, 10.0)
    return ops.sqrt(squared_distances(scaled[1:], scaled[:-1]) + 1e-10)


@dataclass(frozen=True)
class Landmarks:
    """Loss of the tails that have a given place, by their distance to it or by the user's function."""

    weight: float
    loss: Callable[[Any, Any], Tensor] | None = None

    def __call__(self, batch: Batch, training: bool) -> Tensor:
        """Mean over the landmarks of the batch; 0 without any."""
        tail, wanted = batch["tail"], batch["landmarks"]
        held = ops.logical_not(ops.any(ops.isnan(wanted), axis=-1))
        # Free rows are wanted where they are, so they add nothing, whatever the function.
        wanted = ops.where(held[:, None], ops.nan_to_num(wanted), ops.stop_gradient(tail))
        share = ops.cast(tail.shape[0], "float32") / ops.maximum(ops.sum(ops.cast(held, "float32")), 1.0)
        loss = self.loss or _mean_distance
        return self.weight * share * ops.mean(loss(wanted, tail))


def _mean_distance(wanted: Tensor, placed: Tensor) -> Tensor:
    return ops.sqrt(squared_distances(wanted, placed) + 1e-10) - 1e-5
