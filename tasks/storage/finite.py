"""Rows with NaN or inf: finding them, and saying which they are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, chunk_objects, sources
from pumascale.tasks.storage.errors import NonFiniteError


def read_block(rows: zarr.Array[Any], start: int, stop: int) -> NDArray[np.float32]:
    """Rows `start` to `stop` as float32; what is too large for float32 becomes inf."""
    with np.errstate(over="ignore"):
        return arrays.read_rows(rows, start, stop)


def finite_rows(block: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of `block` (m, ...) are finite numbers throughout, bool (m,)."""
    return np.asarray(np.isfinite(block.reshape(len(block), -1)).all(axis=1))


def read_blocks(rows: zarr.Array[Any]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """All rows once, as (first row, block) of about 64 MB and of whole chunks."""
    for start, stop in arrays.row_blocks(rows.shape[0], chunk_objects.block_rows(rows)):
        yield start, read_block(rows, start, stop)


def check_finite(source: str) -> None:
    """Read all rows once, block by block, and refuse NaN and inf. Integers and booleans need no reading.

    Raises
    ------
    NonFiniteError
        Saying how many rows have NaN or inf (as float32), and which is the first.
    """
    rows = sources.open_source(source)
    if rows.dtype.kind != "f":
        return
    n_bad, first = 0, -1
    for start, block in read_blocks(rows):
        bad = np.flatnonzero(~finite_rows(block))
        first = start + int(bad[0]) if n_bad == 0 and len(bad) else first
        n_bad += len(bad)
    refuse_bad(source, rows.shape[0], n_bad, first)


def refuse_bad(source: str, n_rows: int, n_bad: int, first: int) -> None:
    """Raise, where there are bad rows, what says how many have NaN or inf and which is the first."""
    if n_bad:
        raise NonFiniteError(
            f"{source} has NaN or inf in {n_bad} of its {n_rows} rows, first in row {first}. Expected finite "
            "numbers within float32: clean the rows, or give them NaN for coordinates (embedding.non_finite=nan) and, "
            "where a graph is built, no edges (graph.non_finite=skip)."
        )
