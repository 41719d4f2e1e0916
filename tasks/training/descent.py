"""The training room's descent: how one row moves in one epoch of a layout, compiled for CPUs and for CUDA alike.

The step of a row is `umap/layouts.py`'s (`_optimize_layout_euclidean_single_epoch`): an edge is due every
`max(weight) / weight` epochs, attracts both its ends once in each direction, and repels `negative_sample_rate` rows
drawn at random; gradients are clipped at 4, the rate falls linearly to 0. It computes in 32 bits. Unlike there, an
edge's rows repel from one place, not each from where the one before has pushed to: a processor computes them side by
side. And of more than 65,536 rows so many are drawn per epoch that may repel: their places stay in the cache.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.training.draws import FAR

Places = NDArray[np.float32]  # (n_rows, n_components)

# Of 32 bits, or numba computes in 64.
ZERO, ONE, TWO, STEEPEST, NEAREST = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(0.001)
SAME_PLACE = np.float32(1e-30)  # a squared distance; slopes at smaller ones leave the 32 bits
MOST_FAR = 2**16  # places of 8 bytes that stay in a core's cache
TABLE_SHIFT, LARGEST_BITS = 16, 0x7F7FFFFF


class Step(NamedTuple):
    """What the step of every row in an epoch depends on, of 32 bits where it is a real number."""

    epoch: int
    n_negatives: int
    seed: int
    rate: np.float32
    a: np.float32
    b: np.float32
    strength: np.float32  # of the repulsion
    heaviest: np.float32  # weight of an edge


def far_places(places: Places, step: Step) -> Places:
    """Where the rows are that others are repelled from in an epoch: all rows, or so many of them, drawn anew."""
    if len(places) <= MOST_FAR:
        return places
    generator = np.random.Generator(np.random.Philox(key=[step.seed, FAR], counter=step.epoch << 128))
    return places[generator.integers(len(places), size=MOST_FAR)]


@njit(cache=True, nogil=True)
def move_row(place, push, n_components, row, places, far, neighbours, weight, step, powers):  # type: ignore[no-untyped-def]
    """Move `place`, the place of `row`, by an epoch of its edges: to its neighbours in `places`, from rows of `far`.

    `push` is room for as much. The compiler is to know `n_components`: then a row takes a fifth less time.
    """
    state = np.uint64(step.seed) * np.uint64(0xD1342543DE82EF95)
    state += np.uint64(step.epoch * len(places) + row) * np.uint64(2**20)
    for edge in range(len(weight)):
        share = weight[edge] / step.heaviest
        if int((step.epoch + 1) * share) == int(step.epoch * share):
            continue
        other = places[neighbours[edge]]
        for _ in range(2):  # as head, as tail
            _add(place, place, other, n_components, step.rate, _attraction(place, other, n_components, step, powers))
        for axis in range(n_components):
            push[axis] = np.float32(0)
        for _ in range(step.n_negatives):
            state += np.uint64(1)
            drawn = int((_mixed(state) >> np.uint64(32)) * np.uint64(len(far)) >> np.uint64(32))
            if drawn != row:  # where `far` has all rows
                slope = _repulsion(place, far[drawn], n_components, step, powers)
                _add(push, place, far[drawn], n_components, step.rate, slope)
        for axis in range(n_components):
            place[axis] += push[axis]


@njit(cache=True, nogil=True)
def _attraction(place, other, n_components, step, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other, n_components)
    if squared <= SAME_PLACE:
        return ZERO
    reach = step.a * _power(squared, powers)
    return -TWO * step.b * reach / (squared * (reach + ONE))


@njit(cache=True, nogil=True)
def _repulsion(place, other, n_components, step, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other, n_components)
    if squared <= SAME_PLACE:
        return ZERO
    reach = step.a * _power(squared, powers)
    return TWO * step.strength * step.b / ((NEAREST + squared) * (reach + ONE))


@njit(cache=True, nogil=True)
def _add(total, place, other, n_components, rate, slope):  # type: ignore[no-untyped-def]
    """Add a step along the line from `other`, clipped."""
    for axis in range(n_components):
        total[axis] += rate * max(-STEEPEST, min(STEEPEST, slope * (place[axis] - other[axis])))


@njit(cache=True, nogil=True)
def _squared(place, other, n_components):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for axis in range(n_components):
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
