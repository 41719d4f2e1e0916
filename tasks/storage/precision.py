"""Numbers that float32 cannot tell apart: all is computed in float32, and a map of rounded rows looks perfect."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, sources
from pumascale.tasks.storage.errors import InputError

RUN, N_RUNS = 256, 16  # rows side by side: scattered ones would read every chunk
MOST_LOST = 0.01  # of the differences; of a number itself float32 rounds away at most 6e-8


def check_precision(source: str) -> None:
    """Refuse wide numbers far from 0, such as times in seconds, whose differences float32 rounds away.

    Raises
    ------
    InputError
        With the share of the differences, in a sample of rows, that is lost, and what to change.
    """
    array = sources.open_source(source)
    if np.can_cast(array.dtype, np.float32):
        return
    starts = range(0, array.shape[0], max(RUN, array.shape[0] // N_RUNS))
    runs = [arrays.read_rows(array, at, min(at + RUN, array.shape[0]), array.dtype) for at in starts]
    sample = np.concatenate(runs)
    lost = share_lost(sample.reshape(len(sample), -1))
    if lost > MOST_LOST:
        raise InputError(
            f"{source} has numbers of dtype {array.dtype} so far from 0 that float32, in which all is computed, rounds "
            f"away {lost:.0%} of what rows differ by. Expected numbers around 0: subtract each feature's mean."
        )


def share_lost(sample: NDArray[Any]) -> float:
    """How far float32 is off, of the differences between the first and all other finite rows (m, n_features)."""
    with np.errstate(over="ignore"):
        narrow = sample.astype(np.float32)
    finite = np.isfinite(narrow).all(axis=1)
    right, rounded = (values[finite].astype(np.float64) for values in (sample, narrow))
    differences = right - right[:1]
    off = np.linalg.norm(rounded - rounded[:1] - differences)
    return float(off / max(np.linalg.norm(differences), np.finfo(float).tiny))
