"""The training room's layout: a place for every row without a network, by UMAP's stochastic gradient descent in numba.

umap-learn's parallel layout lets threads race for the same rows, so no two runs agree. Here each row is moved by one
thread only, which sees the other rows where the last epoch left them: any number of threads gives the same map. Rows
are moved block by block, with their edges read from a file, so memory holds 16 bytes per row and no graph.

The step of a row is `umap/layouts.py`'s (`_optimize_layout_euclidean_single_epoch`): an edge is due every
`max(weight) / weight` epochs, attracts both its ends once in each direction, and repels `negative_sample_rate` rows
drawn at random; gradients are clipped at 4, the rate falls linearly to 0. It computes in 32 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pumascale.tasks.training.adjacency import Adjacency

# Of 32 bits, or numba computes in 64.
ONE, TWO, STEEPEST, NEAREST = np.float32(1), np.float32(2), np.float32(4), np.float32(0.001)
SAME_PLACE = np.float32(1e-30)  # a squared distance; slopes at smaller ones leave the 32 bits
TABLE_SHIFT, LARGEST_BITS = 16, 0x7F7FFFFF


@dataclass(frozen=True)
class LayoutOptions:
    """`a`, `b`, `negative_sample_rate`, `repulsion_strength`, `learning_rate` and epochs, as in umap-learn."""

    a: float
    b: float
    negative_sample_rate: int
    repulsion_strength: float
    learning_rate: float
    n_epochs: int
    seed: int


def lay_out(
    start: NDArray[np.float32],
    adjacency: Adjacency,
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
    places, moved, powers = start.copy(), np.empty_like(start), table_of_powers(options.b)
    for epoch in range(first_epoch, options.n_epochs):
        rate = options.learning_rate * (1 - epoch / options.n_epochs)
        for block in adjacency.blocks():
            _move(places, moved, block.first, block.offsets, block.neighbours, block.weight, adjacency.heaviest, epoch,
                  rate, options.a, options.b, options.negative_sample_rate, options.repulsion_strength,
                  options.seed, powers)  # fmt: skip
        places, moved = moved, places
        on_epoch(epoch + 1, places)
    return places


def start_places(
    components: NDArray[np.float32], adjacency: Adjacency, n_components: int, seed: int
) -> NDArray[np.float32]:
    """Principal components of the rows, smoothed over the graph, within 10 and with noise, float32.

    Smoothing (steps of a random walk) takes them towards the spectral start of umap-learn without an eigensolver.

    Parameters
    ----------
    components : float32 (n_rows, at most n_components)
        Constant ones (rows that are all alike) give way to noise, as do those that are missing.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, 2]))
    places = generator.standard_normal((len(components), n_components), np.float32)
    for axis in np.flatnonzero(np.ptp(components, axis=0) > 0):
        places[:, axis] = components[:, axis]
    places = _smoothed(places, adjacency)
    places *= 10 / np.abs(places).max()
    return places + generator.standard_normal(places.shape, np.float32) * np.float32(1e-4)


def start_from_landmarks(
    places: NDArray[np.float32], adjacency: Adjacency, wanted: NDArray[np.float32], steps: int = 50
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
    begun: NDArray[np.float32] = places + wanted[held].mean(axis=0, dtype=np.float32)
    begun[held] = wanted[held]
    for _ in range(steps):
        begun = walked(adjacency, begun)
        begun[held] = wanted[held]
    return begun


def walked(adjacency: Adjacency, places: NDArray[np.float32]) -> NDArray[np.float32]:
    """One step of a random walk on the graph: every row at the mean of its neighbours' places, by weight."""
    moved = np.empty_like(places)
    for block in adjacency.blocks():
        _average(places, moved, block.first, block.offsets, block.neighbours, block.weight)
    return moved


def _smoothed(places: NDArray[np.float32], adjacency: Adjacency, steps: int = 20) -> NDArray[np.float32]:
    for _ in range(steps):
        places = np.asarray((places + walked(adjacency, places)) / 2, np.float32)
        places -= places.mean(axis=0, dtype=np.float64).astype(np.float32)
        # Whitened, or all columns would end as the slowest one.
        spread = np.linalg.cholesky(_covariance(places) + 1e-12 * np.eye(places.shape[1]))
        places = np.asarray(places @ np.linalg.inv(spread).T, np.float32)
    return places


def _covariance(places: NDArray[np.float32]) -> NDArray[np.float64]:
    blocks = (places[start : start + 2**20].astype(np.float64) for start in range(0, len(places), 2**20))
    return np.asarray(sum(block.T @ block for block in blocks) / len(places))


@njit(parallel=True, cache=True, nogil=True)
def _average(places, moved, first, offsets, neighbours, weight):  # type: ignore[no-untyped-def]
    for index in prange(len(offsets) - 1):
        total = 0.0
        sums = np.zeros(places.shape[1])
        for edge in range(offsets[index], offsets[index + 1]):
            total += weight[edge]
            for axis in range(len(sums)):
                sums[axis] += weight[edge] * places[neighbours[edge], axis]
        for axis in range(len(sums)):
            moved[first + index, axis] = sums[axis] / total if total > 0 else places[first + index, axis]


@njit(parallel=True, cache=True, nogil=True)
def _move(  # type: ignore[no-untyped-def]
    places, moved, first, offsets, neighbours, weight, heaviest, epoch, rate, a, b, n_negatives, strength, seed, powers
):
    """One epoch of a block: `moved` gets its rows' new places, `places` stay as they were."""
    n_rows = len(places)
    rate, a, b, strength = np.float32(rate), np.float32(a), np.float32(b), np.float32(strength)
    for index in prange(len(offsets) - 1):
        row = first + index
        state = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(epoch * n_rows + row) * np.uint64(2**20)
        moved[row] = places[row]
        for edge in range(offsets[index], offsets[index + 1]):
            share = weight[edge] / heaviest
            if int((epoch + 1) * share) == int(epoch * share):
                continue
            _attract(moved[row], places[neighbours[edge]], rate, a, b, powers)  # as head
            _attract(moved[row], places[neighbours[edge]], rate, a, b, powers)  # as tail
            for _ in range(n_negatives):
                state += np.uint64(1)
                drawn = int((_mixed(state) >> np.uint64(32)) * np.uint64(n_rows) >> np.uint64(32))
                if drawn != row:
                    _repel(moved[row], places[drawn], rate, a, b, strength, powers)


@njit(cache=True, nogil=True)
def _attract(place, other, rate, a, b, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > SAME_PLACE:
        reach = a * _power(squared, powers)
        _step(place, other, rate, -TWO * b * reach / (squared * (reach + ONE)))


@njit(cache=True, nogil=True)
def _repel(place, other, rate, a, b, strength, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > SAME_PLACE:
        reach = a * _power(squared, powers)
        _step(place, other, rate, TWO * strength * b / ((NEAREST + squared) * (reach + ONE)))


@njit(cache=True, nogil=True)
def _step(place, other, rate, slope):  # type: ignore[no-untyped-def]
    for axis in range(len(place)):
        place[axis] += rate * max(-STEEPEST, min(STEEPEST, slope * (place[axis] - other[axis])))


@njit(cache=True, nogil=True)
def _squared(place, other):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for axis in range(len(place)):
        apart = place[axis] - other[axis]
        total += apart * apart
    return total


@njit(cache=True, nogil=True)
def _power(squared, powers):  # type: ignore[no-untyped-def]
    """squared**b, between two entries of the table: the power itself took half of a layout's time."""
    bits = np.float32(squared).view(np.int32)
    at, between = bits >> TABLE_SHIFT, np.float32(bits & (2**TABLE_SHIFT - 1)) / np.float32(2**TABLE_SHIFT)
    return powers[at] + between * (powers[at + 1] - powers[at])


def table_of_powers(b: float) -> NDArray[np.float32]:
    """x**b at 128 numbers x per octave: those whose bits as float32 are the index and then zeros.

    A line between two of them is off by less than 1e-5 of the value.
    """
    bits = np.arange(2 ** (31 - TABLE_SHIFT) + 1, dtype=np.int64) << TABLE_SHIFT
    numbers = np.minimum(bits, LARGEST_BITS).astype(np.int32).view(np.float32)
    return np.asarray(np.minimum(numbers.astype(np.float64) ** b, numbers[-1]), np.float32)


@njit(cache=True, nogil=True)
def _mixed(state):  # type: ignore[no-untyped-def]
    """A random number by counter (splitmix64)."""
    mixed = state * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
