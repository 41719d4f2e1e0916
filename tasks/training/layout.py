"""The training room's layout: a place for every row without a network, by UMAP's stochastic gradient descent in numba.

umap-learn's parallel layout lets threads race for the same rows, so no two runs agree. Here each row is moved by one
thread only, which sees the other rows where the last epoch left them: any number of threads gives the same map. Rows
are moved block by block, with their edges read from a file, so memory holds 16 bytes per row and no graph.

Where there is a CUDA device that numba can compile for, it moves the rows, by the same code: an epoch of a million rows
took an H100 .0069 s, and 16 cores .299, before the rows that repel were drawn once per epoch. It fuses products with
sums, so its map is as good, but not that of the cores.
"""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.descent import Places, Step, far_places, move_row, table_of_powers

log = logging.getLogger("pumascale.training")

SMOOTHINGS = 20
Mover = Callable[[Places, Step], Places]  # all rows by an epoch, to new places


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
    places, powers = start.copy(), table_of_powers(options.b)
    move = choose_mover(adjacency, powers, start, step_of(first_epoch, options, adjacency))
    for epoch in range(first_epoch, options.n_epochs):
        places = move(places, step_of(epoch, options, adjacency))
        on_epoch(epoch + 1, places)
    return places


def step_of(epoch: int, options: LayoutOptions, adjacency: Adjacency) -> Step:
    """The step of `epoch`; the rate falls to 0."""
    rate = options.learning_rate * (1 - epoch / options.n_epochs)
    real = np.array([rate, options.a, options.b, options.repulsion_strength, adjacency.heaviest], np.float32)
    return Step(epoch, options.negative_sample_rate, options.seed, *real)


def choose_mover(adjacency: Adjacency, powers: NDArray[np.float32], start: Places, step: Step) -> Mover:
    """What moves the rows: a CUDA device where there is one that could take the first step, else the cores."""
    if has_cuda():
        try:
            from pumascale.tasks.training.layout_cuda import mover  # here, as it imports what few machines have

            move: Mover = mover(adjacency, powers, start.shape[1])
            move(start, step)  # compiles
            return move
        except Exception as error:  # whatever is missing there, the cores do it too
            log.warning("The layout is computed on the CPU, since the GPU failed: %r", error)
    return lambda places, step: moved_by_cores(places, step, adjacency, powers)


def has_cuda() -> bool:
    """Whether numba sees a CUDA device; without a driver the answer costs nothing."""
    try:
        ctypes.CDLL("libcuda.so.1")
        from numba import cuda
    except (OSError, ImportError):
        return False
    return bool(cuda.is_available())  # type: ignore[no-untyped-call]


def moved_by_cores(places: Places, step: Step, adjacency: Adjacency, powers: NDArray[np.float32]) -> Places:
    """All rows by an epoch, block by block, on all cores."""
    move, moved, far = compiled(places.shape[1]), np.empty_like(places), far_places(places, step)
    for block in adjacency.blocks():
        move(places, moved, far, block.first, block.offsets, block.neighbours, block.weight, step, powers)
    return moved


def start_places(
    components: NDArray[np.float32],
    adjacency: Adjacency,
    n_components: int,
    seed: int,
    on_step: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """Principal components of the rows, smoothed over the graph, within 10 and with noise, float32.

    Smoothing (steps of a random walk) takes them towards the spectral start of umap-learn without an eigensolver.

    Parameters
    ----------
    components : float32 (n_rows, at most n_components)
        Constant ones (rows that are all alike) give way to noise, as do those that are missing.
    on_step : callable
        Called with the steps of `SMOOTHINGS` done.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, 2]))
    places = generator.standard_normal((len(components), n_components), np.float32)
    for axis in np.flatnonzero(np.ptp(components, axis=0) > 0):
        places[:, axis] = components[:, axis]
    for done in range(1, SMOOTHINGS + 1):
        places = _smoothed(places, adjacency)
        on_step(done)
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


def _smoothed(places: NDArray[np.float32], adjacency: Adjacency) -> NDArray[np.float32]:
    """Half a step of a random walk, and whitened, or all columns would end as the slowest one."""
    places = np.asarray((places + walked(adjacency, places)) / 2, np.float32)
    places -= places.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = np.linalg.cholesky(_covariance(places) + 1e-12 * np.eye(places.shape[1]))
    return np.asarray(places @ np.linalg.inv(spread).T, np.float32)


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


@cache
def compiled(n_components: int) -> Any:
    """The loop over a block's rows for places of so many dimensions: `moved` gets new ones, `places` stay."""

    @njit(parallel=True, cache=True, nogil=True)
    def move(places, moved, far, first, offsets, neighbours, weight, step, powers):  # type: ignore[no-untyped-def]
        for index in prange(len(offsets) - 1):
            row, start, stop = first + index, offsets[index], offsets[index + 1]
            place, push = places[row].copy(), np.empty(n_components, np.float32)
            near, weights = neighbours[start:stop], weight[start:stop]
            move_row(place, push, n_components, row, places, far, near, weights, step, powers)
            moved[row] = place

    return move
