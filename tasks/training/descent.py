"""The training room's descent: how one row moves in one epoch of a layout, compiled for CPUs and for CUDA alike.

The step of a row is `umap/layouts.py`'s (`_optimize_layout_euclidean_single_epoch`): an edge is due every
`max(weight) / weight` epochs, attracts both its ends once in each direction, and repels `negative_sample_rate` rows
drawn at random; gradients are clipped at 4, the rate falls linearly to 0. It computes in 32 bits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Of 32 bits, or numba computes in 64.
ONE, TWO, STEEPEST, NEAREST = np.float32(1), np.float32(2), np.float32(4), np.float32(0.001)
SAME_PLACE = np.float32(1e-30)  # a squared distance; slopes at smaller ones leave the 32 bits
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


@njit(cache=True, nogil=True)
def move_row(place, row, places, neighbours, weight, step, powers):  # type: ignore[no-untyped-def]
    """Move `place`, the place of `row`, by an epoch of its edges; the others are where `places` has them."""
    n_rows = len(places)
    state = np.uint64(step.seed) * np.uint64(0xD1342543DE82EF95)
    state += np.uint64(step.epoch * n_rows + row) * np.uint64(2**20)
    for edge in range(len(weight)):
        share = weight[edge] / step.heaviest
        if int((step.epoch + 1) * share) == int(step.epoch * share):
            continue
        _attract(place, places[neighbours[edge]], step, powers)  # as head
        _attract(place, places[neighbours[edge]], step, powers)  # as tail
        for _ in range(step.n_negatives):
            state += np.uint64(1)
            drawn = int((_mixed(state) >> np.uint64(32)) * np.uint64(n_rows) >> np.uint64(32))
            if drawn != row:
                _repel(place, places[drawn], step, powers)


@njit(cache=True, nogil=True)
def _attract(place, other, step, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > SAME_PLACE:
        reach = step.a * _power(squared, powers)
        _shift(place, other, step.rate, -TWO * step.b * reach / (squared * (reach + ONE)))


@njit(cache=True, nogil=True)
def _repel(place, other, step, powers):  # type: ignore[no-untyped-def]
    squared = _squared(place, other)
    if squared > SAME_PLACE:
        reach = step.a * _power(squared, powers)
        _shift(place, other, step.rate, TWO * step.strength * step.b / ((NEAREST + squared) * (reach + ONE)))


@njit(cache=True, nogil=True)
def _shift(place, other, rate, slope):  # type: ignore[no-untyped-def]
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
