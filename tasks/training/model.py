"""The training room's Keras model: one compiled step draws edges, gathers rows, encodes them and takes the loss.

Its `fit` is Keras's own, over a data set of nothing: the batches are drawn on the device, so Python is entered once
per `steps_per_execution` steps. Each row of a batch is encoded once and takes part in one attracted and
`2 * negative_sample_rate` repelled pairs.
"""

from typing import Any

import keras
from keras import ops

from pumascale.tasks.training.objective import Tensor, batch_terms
from pumascale.tasks.training.window import Window


class ParametricModel(keras.Model):  # type: ignore[misc]
    """Trains `encoder` on the edges of `window` by UMAP's objective.

    Parameters
    ----------
    batch_size : int
        Edges per step.
    objective : dict
        `a`, `b`, `kernel`, `negative_sample_rate`, `repulsion_strength` of `objective.batch_terms`.
    """

    def __init__(self, encoder: keras.Model, window: Window, batch_size: int, objective: dict[str, Any]) -> None:
        super().__init__(name="parametric_umap", dtype="float32")
        self.encoder = encoder
        self.window = window
        self.batch_size = batch_size
        self.objective = objective
        self.terms = {name: keras.metrics.Mean(name=name) for name in ("attraction", "repulsion")}
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> dict[str, Tensor]:
        """Embed both ends of a batch of edges: drawn ones in training, the given rows in validation."""
        if training:
            rows = self.window.gather(ops.concatenate(self.window.draw(self.batch_size)))
        else:
            rows = ops.concatenate([inputs["head"], inputs["tail"]])
        embedded = ops.cast(self.encoder(rows, training=training), "float32")
        head, tail = ops.split(embedded, 2)
        return {"head": head, "tail": tail}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Attraction plus repulsion of the batch; each term is also a metric of its own."""
        attracted, repelled = batch_terms(y_pred["head"], y_pred["tail"], **self.objective)
        self.terms["attraction"].update_state(attracted)
        self.terms["repulsion"].update_state(repelled)
        return attracted + repelled
