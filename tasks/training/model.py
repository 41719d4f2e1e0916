"""The training room's Keras model: one compiled step draws edges, gathers rows, encodes them and takes the loss.

Its `fit` is Keras's own, over a data set of nothing: the batches are drawn on the device, so Python is entered once
per `steps_per_execution` steps. Each row of a batch is encoded once and takes part in one attracted and
`negative_sample_rate` repelled pairs.
"""

from typing import Any

import keras
from keras import ops

from pumascale.tasks.training.devices import shared_out
from pumascale.tasks.training.objective import Tensor
from pumascale.tasks.training.terms import Batch, Term
from pumascale.tasks.training.window import Window


class ParametricModel(keras.Model):  # type: ignore[misc]
    """Trains `encoder` (and `decoder`) on the edges of `window` by the sum of `terms`.

    Parameters
    ----------
    batch_size : int
        Edges per step.
    terms : dict
        Loss terms by the name that the history gives them.
    """

    def __init__(
        self,
        encoder: keras.Model,
        window: Window,
        batch_size: int,
        terms: dict[str, Term],
        decoder: keras.Model | None = None,
    ) -> None:
        super().__init__(name="parametric_umap", dtype="float32")
        self.encoder = encoder
        self.decoder = decoder
        self.window = window
        self.batch_size = batch_size
        self.terms = terms
        self.means = {name: keras.metrics.Mean(name=name) for name in terms}
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Batch:
        """Embed both ends of a batch of edges: drawn ones in training, the given rows in validation."""
        batch = self.given(inputs) if isinstance(inputs, dict) else self.drawn()
        embedded = ops.cast(self.encoder(batch["rows"], training=training), "float32")
        head, tail = ops.split(embedded, 2)
        return batch | {"head": head, "tail": tail}

    def drawn(self) -> Batch:
        """A batch drawn from the window."""
        head, tail = map(shared_out, self.window.draw(self.batch_size))
        batch = {"rows": self.window.gather(ops.concatenate([head, tail]))}
        if self.window.landmarks is not None:
            batch["landmarks"] = ops.take(self.window.landmarks, tail, axis=0)
        return batch

    def given(self, inputs: Batch) -> Batch:
        """A batch of validation: `head` and `tail` are rows."""
        rest = {name: values for name, values in inputs.items() if name not in ("head", "tail")}
        return rest | {"rows": ops.concatenate([inputs["head"], inputs["tail"]])}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The sum of the terms; each is also a metric of its own."""
        total = ops.zeros((), "float32")
        for name, term in self.terms.items():
            value = term(y_pred, training)
            self.means[name].update_state(value)
            total = total + value
        return total
