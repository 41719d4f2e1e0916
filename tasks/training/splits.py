"""The training room's held-out rows: kept out of training with all their edges, so that `val_loss` judges new rows.

Held-out edges between trained rows would not show memorising: wide networks keep improving on them while rows that
they never saw get worse.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.training.draws import HELD_OUT, draw
from pumascale.tasks.training.sampling import Edges

MOST_HELD_OUT = 20_000
MOST_VALIDATION_EDGES = 20_000
MOST_VALIDATION_BYTES = 2**28


@dataclass(frozen=True)
class Split:
    """`training` edges between trained rows, `validation` edges (held-out, trained)."""

    training: Edges
    validation: Edges


def hold_out(n_rows: int, share: float, seed: int) -> NDArray[np.int64]:
    """Draw the held-out rows: `share` of them, at most 20,000, ascending."""
    return draw(np.ones(n_rows, bool), n_held_out(n_rows, share), seed, HELD_OUT)


def n_held_out(n_rows: int, share: float) -> int:
    """How many rows are held out."""
    return min(int(n_rows * share), MOST_HELD_OUT)


def mask(ids: NDArray[np.int64], n_rows: int) -> NDArray[np.bool_]:
    """True at `ids`, bool (n_rows,)."""
    chosen = np.zeros(n_rows, bool)
    chosen[ids] = True
    return chosen


def split_edges(edges: Edges, is_out: NDArray[np.bool_]) -> Split:
    """Part the edges: both ends trained, or one end held out (that end becomes the head)."""
    head_out, tail_out = is_out[edges.head], is_out[edges.tail]
    crossing = edges.at(head_out != tail_out)
    swap = is_out[crossing.tail]
    head = np.where(swap, crossing.tail, crossing.head)
    tail = np.where(swap, crossing.head, crossing.tail)
    return Split(edges.at(~head_out & ~tail_out), Edges(head, tail, crossing.weight))


def draw_validation(edges: Edges, row_nbytes: int, batch_size: int, seed: int) -> Edges:
    """Draw validation edges by weight, once for all: at most 20,000 and 256 MB of rows, in whole batches."""
    if len(edges) == 0:
        return edges
    count = min(2 * len(edges), MOST_VALIDATION_EDGES, max(16, MOST_VALIDATION_BYTES // (2 * row_nbytes)))
    count = max(1, count // batch_size) * batch_size  # drawn with replacement, so few edges fill a batch too
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))
    chosen = generator.choice(len(edges), count, p=edges.weight / edges.weight.sum(dtype=np.float64))
    return edges.at(chosen)
