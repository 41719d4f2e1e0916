# mypy: disable-error-code="attr-defined,no-untyped-call,no-untyped-def,untyped-decorator"
"""The training room's layout on a CUDA device: a thread per row, each by the very step that a core takes.

The edges stay on the device where half of its free memory holds them, 8 bytes each in both directions; else they are
read anew in every epoch, block by block, as for the cores. Places travel to the device and back in every epoch, since
landmarks and checkpoints want them here: 16 bytes per row, a thousandth of what the rows' steps would take on a core.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32
from numpy.typing import NDArray

from pumascale.tasks.training.adjacency import Adjacency, Block
from pumascale.tasks.training.descent import Step, far_places, move_row

THREADS = 128  # of a block of CUDA's
warnings.filterwarnings("ignore", ".*Grid size")  # few rows leave most of a device idle


def mover(adjacency: Adjacency, powers: NDArray[np.float32], n_components: int) -> Any:
    """A function that moves all rows by an epoch: from places (n_rows, n_components) and a `Step` to new places."""
    move, table = compiled(n_components), cuda.to_device(powers)
    kept = list(map(on_device, adjacency.blocks())) if fits(adjacency) else None

    def moved_by_device(places: NDArray[np.float32], step: Step) -> NDArray[np.float32]:
        here, moved = cuda.to_device(places), cuda.device_array_like(places)
        far = cuda.to_device(far_places(places, step))
        for first, offsets, neighbours, weight in kept or map(on_device, adjacency.blocks()):
            move[-(-len(offsets) // THREADS), THREADS](
                here, moved, far, first, offsets, neighbours, weight, step, table
            )
        return np.asarray(moved.copy_to_host())

    return moved_by_device


def fits(adjacency: Adjacency) -> bool:
    """Whether the device keeps the edges."""
    free, _ = cuda.current_context().get_memory_info()
    return bool(8 * adjacency.offsets[-1] < free / 2)


def on_device(block: Block) -> tuple[int, Any, Any, Any]:
    """A block of rows with its edges, copied."""
    return block.first, *map(cuda.to_device, (block.offsets, block.neighbours, block.weight))


@cache
def compiled(n_components: int) -> Any:
    """The kernel for places of so many dimensions: known to the compiler, they stay in registers."""

    @cuda.jit
    def move(places, moved, far, first, offsets, neighbours, weight, step, powers):
        index = cuda.grid(1)
        if index < len(offsets) - 1:
            row, start, stop = first + index, offsets[index], offsets[index + 1]
            place, push = cuda.local.array(n_components, float32), cuda.local.array(n_components, float32)
            for axis in range(n_components):
                place[axis] = places[row, axis]
            near, weights = neighbours[start:stop], weight[start:stop]
            move_row(place, push, n_components, row, places, far, near, weights, step, powers)
            for axis in range(n_components):
                moved[row, axis] = place[axis]

    return move
