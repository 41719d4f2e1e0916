"""The training room's pieces: a neighbourhood's edges halved until they are small, with few rows in both halves.

A window of few large neighbourhoods trains worse than one of many small ones: most rows that repel each other come from
the same few places, and what lies elsewhere is forgotten meanwhile. The cut follows the graph alone, so it serves rows
of any kind and metric: a random value per row, averaged over its neighbours again and again, varies slowly along the
graph (power iteration towards its second eigenvector, as in spectral clustering).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.training.sampling import Edges

AVERAGINGS = 30  # on debian-packages 10 leave a tenth more rows in both halves, 100 save a fiftieth


def pieces(edges: Edges, is_small: Callable[[Edges], bool]) -> list[Edges]:
    """Halve `edges` until all parts are small, or single edges."""
    if len(edges) < 2 or is_small(edges):
        return [edges]
    return [piece for half in _halves(edges) for piece in pieces(half, is_small)]


def local(edges: Edges) -> tuple[NDArray[np.int64], Edges]:
    """The rows at the ends, ascending, and the edges with ids into them."""
    ids, ends = np.unique(np.append(edges.head, edges.tail), return_inverse=True)
    head, tail = ends.reshape(2, -1)
    return ids, Edges(head, tail, edges.weight)


def _halves(edges: Edges) -> list[Edges]:
    ids, inside = local(edges)
    value = _slow_value(inside, len(ids))
    order = np.argsort(value[inside.head] + value[inside.tail], kind="stable")
    return [edges.at(np.sort(half)) for half in np.array_split(order, 2)]


def _slow_value(edges: Edges, n_rows: int) -> NDArray[np.float64]:
    """A value per row that differs little between neighbours."""
    weight = edges.weight.astype(np.float64)
    degree = _summed(edges, n_rows, weight, weight)
    value = np.random.default_rng(0).normal(size=n_rows)  # the same for every seed: a cut is no draw
    for _ in range(AVERAGINGS):
        value += _summed(edges, n_rows, weight * value[edges.tail], weight * value[edges.head]) / degree
        value -= np.average(value, weights=degree)  # else all become equal
        value /= max(float(np.abs(value).max()), np.finfo(np.float64).tiny)
    return value


def _summed(
    edges: Edges, n_rows: int, at_head: NDArray[np.float64], at_tail: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Per row, the values that its edges bring to it."""
    return np.asarray(np.bincount(edges.head, at_head, n_rows) + np.bincount(edges.tail, at_tail, n_rows))
