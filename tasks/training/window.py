"""The training room's window: rows, edges and their alias table as variables on the device, drawn from by the step.

They are variables, so that the compiled step can be fed other partitions without a new compilation, but not weights:
`get_weights` (early stopping, checkpoints) must not copy the data.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pumascale.tasks.training.sampling import Edges, alias_table

Tensor = Any
Tables = list[NDArray[Any]]  # in the order of Window.tables


class Window(keras.layers.Layer):  # type: ignore[misc]
    """Rows (m, *row_shape) and edges (e,) on the device.

    Parameters
    ----------
    n_rows, n_edges : int
        Capacity. What a window leaves free is never drawn: its weight is 0.
    n_components : int
        Width of the landmarks' places; 0 when there are no landmarks.
    """

    def __init__(
        self, n_rows: int, n_edges: int, row_shape: tuple[int, ...], dtype: str, seed: int, n_components: int = 0
    ) -> None:
        super().__init__(dtype="float32", autocast=False, name="window")
        self.capacity = (n_rows, n_edges)
        self.rows = self._table((n_rows, *row_shape), dtype, "rows")
        self.head = self._table((n_edges,), "int32", "head")
        self.tail = self._table((n_edges,), "int32", "tail")
        self.keep = self._table((n_edges,), "float32", "keep")
        self.alias = self._table((n_edges,), "int32", "alias")
        self.landmarks = self._table((n_rows, n_components), "float32", "landmarks") if n_components else None
        self.generator = keras.random.SeedGenerator(seed)

    def _table(self, shape: tuple[int, ...], dtype: str, name: str) -> keras.Variable:
        return self.add_weight(
            shape=shape, dtype=dtype, name=name, initializer="zeros", trainable=False, autocast=False
        )

    @property
    def tables(self) -> list[keras.Variable]:
        """The variables that hold data."""
        tables = [self.rows, self.head, self.tail, self.keep, self.alias, self.landmarks]
        return [table for table in tables if table is not None]

    @property
    def weights(self) -> list[keras.Variable]:
        """None: the data is not part of what is trained and saved."""
        return []

    def prepare(self, rows: NDArray[Any], edges: Edges, landmarks: NDArray[np.float32] | None = None) -> Tables:
        """What `put` takes of `rows` and the `edges` between them (ids local to `rows`); any thread may do it."""
        n_rows, n_edges = self.capacity
        ends = (_padded(end.astype(np.int32), n_edges) for end in (edges.head, edges.tail))
        tables = [_padded(rows, n_rows), *ends, *alias_table(_padded(edges.weight, n_edges))]
        return tables if landmarks is None else [*tables, _padded(landmarks, n_rows)]

    def put(self, tables: Tables) -> None:
        """Put what was prepared on the device, in place of what is there."""
        for table, values in zip(self.tables, tables, strict=True):
            table.assign(values)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw edges by weight, in a random direction: row ids of heads and tails, int32 (count,)."""
        column = keras.random.randint((count,), 0, self.capacity[1], seed=self.generator)
        coins = keras.random.uniform((2, count), seed=self.generator)
        edge = ops.where(coins[0] < ops.take(self.keep, column), column, ops.take(self.alias, column))
        head, tail = ops.take(self.head, edge), ops.take(self.tail, edge)
        forward = coins[1] < 0.5
        return ops.where(forward, head, tail), ops.where(forward, tail, head)

    def gather(self, ids: Tensor) -> Tensor:
        """Rows by id (len(ids), *row_shape): float32, or int32 where a row is its number."""
        rows = ops.take(self.rows, ids, axis=0)
        return rows if self.rows.dtype == "int32" else ops.cast(rows, "float32")


def _padded(array: NDArray[Any], length: int) -> NDArray[Any]:
    if len(array) == length:
        return array
    padded = np.zeros((length, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
