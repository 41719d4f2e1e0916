"""The training room's layout: a place for every row without a network, by UMAP's stochastic gradient descent in numba.

umap-learn's parallel layout lets threads race for the same rows, so no two runs agree. Here each row is moved by one
thread only, which sees the other rows where the last epoch left them: any number of threads gives the same map.

The step of a row is `umap/layouts.py`'s (`_optimize_layout_euclidean_single_epoch`): an edge is due every
`max(weight) / weight` epochs, attracts both its ends once in each direction, and repels `negative_sample_rate` rows
drawn at random; gradients are clipped at 4, the rate falls linearly to 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array

from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class LayoutOptions:
    """`a`, `b`, `negative_sample_rate`, `repulsion_strength` and epochs of a layout, as in umap-learn."""

    a: float
    b: float
    negative_sample_rate: int
    repulsion_strength: float
    n_epochs: int
    seed: int


def lay_out(
    start: NDArray[np.float32],
    edges: Edges,
    options: LayoutOptions,
    on_epoch: Callable[[int, NDArray[np.float32]], None] = lambda epoch, places: None,
    first_epoch: int = 0,
) -> NDArray[np.float32]:
    """Place all rows by their edges.

    Parameters
    ----------
    start : float32 (n_rows, n_components)
        Where they start; from a checkpoint, where they were before `first_epoch`.
    on_epoch : callable
        Called with (epochs done, places) after each; what it changes in `places` the next epoch starts from.

    Returns
    -------
    float32 (n_rows, n_components)
    """
    offsets, neighbours, period = _by_row(edges, len(start))
    places, moved = start.copy(), np.empty_like(start)
    for epoch in range(first_epoch, options.n_epochs):
        rate = 1 - epoch / options.n_epochs
        _move(places, moved, offsets, neighbours, period, epoch, rate, options.a, options.b,
              options.negative_sample_rate, options.repulsion_strength, options.seed)  # fmt: skip
        places, moved = moved, places
        on_epoch(epoch + 1, places)
    return places


def start_places(rows: NDArray[np.float32], edges: Edges, n_components: int, seed: int) -> NDArray[np.float32]:
    """Principal components of the rows, smoothed over the graph, within 10 and with noise, float32.

    Smoothing (steps of a random walk) takes them towards the spectral start of umap-learn without an eigensolver.

    Parameters
    ----------
    rows : float32 (n_rows, n_features)
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, 2]))
    centred = rows - rows.mean(axis=0)
    sample = centred[np.sort(generator.choice(len(rows), min(len(rows), 20_000), replace=False))]
    _, vectors = np.linalg.eigh(sample.T @ sample)
    width = min(n_components, rows.shape[1])
    places = generator.normal(size=(len(rows), n_components))
    components = centred @ vectors[:, ::-1][:, :width]
    # Constant rows have no components: they keep the noise.
    places[:, :width] = np.where(np.ptp(components, axis=0) > 0, components, places[:, :width])
    places = _smoothed(places, edges)
    places *= 10 / np.abs(places).max()
    return (places + generator.normal(scale=1e-4, size=places.shape)).astype(np.float32)


def start_from_landmarks(
    places: NDArray[np.float32], edges: Edges, wanted: NDArray[np.float32], steps: int = 50
) -> NDArray[np.float32]:
    """Start at the landmarks, and the free rows among those that they are connected to, float32.

    Parameters
    ----------
    places : float32 (n_rows, n_components)
        The start without landmarks, kept (around the landmarks) by rows that no landmark reaches.
    wanted : float32 (n_rows, n_components)
        NaN for free rows.
    """
    held = ~np.isnan(wanted).any(axis=1)
    walk, degree = _random_walk(edges, len(places))
    begun = places + np.mean(wanted[held], axis=0)
    begun[held] = wanted[held]
    for _ in range(steps):
        begun = np.where((degree > 0)[:, np.newaxis], walk @ begun, begun)
        begun[held] = wanted[held]
    return np.asarray(begun, np.float32)


def _random_walk(edges: Edges, n_rows: int) -> tuple[Any, NDArray[np.float64]]:
    """The transition matrix of the graph, sparse (n_rows, n_rows), and the rows' degrees."""
    once = coo_array((edges.weight.astype(np.float64), (edges.head, edges.tail)), (n_rows, n_rows)).tocsr()
    both = once + once.T
    degree: NDArray[np.float64] = np.asarray(both.sum(axis=1))
    return diags_array(1 / np.maximum(degree, 1e-12)) @ both, degree


def _smoothed(places: NDArray[np.float64], edges: Edges, steps: int = 20) -> NDArray[np.float64]:
    n_rows = len(places)
    walk, degree = _random_walk(edges, n_rows)
    alone = degree == 0
    for _ in range(steps):
        walked = 0.5 * places + 0.5 * (walk @ places)
        walked[alone] = places[alone]
        walked -= walked.mean(axis=0)
        # Whitened, or all columns would end as the slowest one.
        spread = np.linalg.cholesky(walked.T @ walked / n_rows + 1e-12 * np.eye(walked.shape[1]))
        places = walked @ np.linalg.inv(spread).T
    return places


def _by_row(edges: Edges, n_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """The edges of every row in both directions: offsets (n_rows + 1,), neighbours and periods (2 n_edges,)."""
    ends = np.concatenate([edges.head, edges.tail])
    order = np.argsort(ends, kind="stable")
    offsets = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(ends, minlength=n_rows), out=offsets[1:])
    period = (np.max(edges.weight) / np.concatenate([edges.weight, edges.weight])).astype(np.float32)
    return offsets, np.concatenate([edges.tail, edges.head])[order].astype(np.int32), period[order]


@njit(parallel=True, cache=True)
def _move(places, moved, offsets, neighbours, period, epoch, rate, a, b, n_negatives, strength, seed):  # type: ignore[no-untyped-def]
    """One epoch: `moved` gets every row's new place, `places` stay as they were."""
    n_rows = len(places)
    for row in prange(n_rows):
        state = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(epoch * n_rows + row) * np.uint64(2**20)
        moved[row] = places[row]
        for edge in range(offsets[row], offsets[row + 1]):
            if int((epoch + 1) / period[edge]) == int(epoch / period[edge]):
                continue
            _attract(moved[row], places[neighbours[edge]], rate, a, b)  # as head
            _attract(moved[row], places[neighbours[edge]], rate, a, b)  # as tail
            for _ in range(n_negatives):
                state += np.uint64(1)
                drawn = int(_mixed(state) % np.uint64(n_rows))
                if drawn != row:
                    _repel(moved[row], places[drawn], rate, a, b, strength)


@njit(inline="always")
def _attract(place, other, rate, a, b):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > 0:
        slope = -2 * a * b * squared ** (b - 1) / (a * squared**b + 1)
        for axis in range(len(place)):
            place[axis] += rate * max(-4.0, min(4.0, slope * (place[axis] - other[axis])))


@njit(inline="always")
def _repel(place, other, rate, a, b, strength):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > 0:
        slope = 2 * strength * b / ((0.001 + squared) * (a * squared**b + 1))
        for axis in range(len(place)):
            place[axis] += rate * max(-4.0, min(4.0, slope * (place[axis] - other[axis])))


@njit(inline="always")
def _squared(place, other):  # type: ignore[no-untyped-def]
    total = 0.0
    for axis in range(len(place)):
        total += (place[axis] - other[axis]) ** 2
    return total


@njit(inline="always")
def _mixed(state):  # type: ignore[no-untyped-def]
    """A random number by counter (splitmix64)."""
    mixed = state * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
