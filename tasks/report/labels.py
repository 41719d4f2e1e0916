"""Labels as classes that a picture can show: at most 60, the largest first, or ten ranges of a continuous quantity.

Labels are read block by block: memory holds one block and the different labels, of any number of rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from pumascale.tasks.report.colors import GRAY, MOST, class_colors, ordered_colors
from pumascale.tasks.storage import arrays, rows, sources

N_RANGES = 10
BLOCK_ROWS = 2**20
MOST_KINDS = 2**20  # different labels that are counted at once
MOST_ROWS = 2**20  # that ranges are made of


class Codes(Protocol):
    """The class of each row, found when it is asked for: `codes[start:stop]` is int64 (stop - start,)."""

    def __getitem__(self, block: slice, /) -> NDArray[np.int64]:
        """The classes of some rows."""


@dataclass(frozen=True)
class Classes:
    """`codes`: the class of each row; `names`, `counts` and `colors` by code; `ordered` for ranges."""

    codes: Codes
    names: list[str]
    counts: list[int]
    colors: list[str]
    ordered: bool = False


@dataclass(frozen=True)
class Coded:
    """`Codes` of stored labels."""

    labels: zarr.Array[Any]
    encode: Callable[[NDArray[Any]], NDArray[np.int64]]

    def __getitem__(self, block: slice, /) -> NDArray[np.int64]:
        """Read the labels and encode them."""
        return self.encode(np.asarray(self.labels[block]))


def read_classes(labels: str | None, n_rows: int) -> Classes:
    """Read the label array; without one every row is of the one class 'rows'.

    The names of integer labels may stand in the array's attribute `classes`. Of more than 60 classes the smallest are
    one, 'others'; floats with more than 60 values are shown as ten ranges with equally many rows each, by a sample of a
    million rows where there are more. Where more than a million labels differ, those that are rare at first are
    counted among the others.
    """
    if labels is None:
        return Classes(np.broadcast_to(np.int64(0), n_rows), ["rows"], [n_rows], class_colors(1))
    array = sources.open_labels(labels)
    kinds, counts = count_kinds(array)
    if kinds.dtype.kind == "f" and len(kinds) > MOST:
        return _ranges(array, kinds)
    order = np.argsort(-counts, kind="stable")
    kept = order if len(order) <= MOST else order[: MOST - 1]
    classes = array.attrs.get("classes")
    names, sizes = [_name(kinds[index], classes) for index in kept], counts[kept].tolist()
    colors = class_colors(len(kept))
    if len(kept) < len(order):
        names, colors = [*names, f"{len(order) - len(kept):,} others"], [*colors, GRAY]
        sizes.append(array.shape[0] - sum(sizes))
    return Classes(Coded(array, partial(_codes, kinds[kept])), names, sizes, colors)


def _name(value: Any, classes: Any) -> str:
    if isinstance(classes, list) and np.issubdtype(type(value), np.integer) and 0 <= value < len(classes):
        return str(classes[value])
    return str(value)


def count_kinds(labels: zarr.Array[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The different labels, ascending, and the number of rows that have each; of too many the rarest so far go."""
    kinds, counts = np.asarray(labels[:0]), np.zeros(0, np.int64)
    for start, stop in arrays.row_blocks(labels.shape[0], BLOCK_ROWS):
        more, n_more = np.unique(arrays.read_rows(labels, start, stop, labels.dtype), return_counts=True)
        kinds, merged = np.unique(np.concatenate([kinds, more]), return_inverse=True)
        counts = np.bincount(merged, np.concatenate([counts, n_more])).astype(np.int64)
        if len(kinds) > MOST_KINDS:
            kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_KINDS // 2])
            kinds, counts = kinds[kept], counts[kept]
    return kinds, counts


def _codes(kept: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int64]:
    """Where each value stands in `kept`; behind them all where it does not."""
    kinds, merged = np.unique(np.concatenate([kept, values]), return_inverse=True)
    codes = np.full(len(kinds), len(kept))
    codes[merged[: len(kept)]] = np.arange(len(kept))
    return codes[merged[len(kept) :]]


def _ranges(labels: zarr.Array[Any], kinds: NDArray[Any]) -> Classes:
    """Ranges between quantiles, ascending; NaN and infinity are 'none'."""
    n_rows, known = labels.shape[0], kinds[np.isfinite(kinds)]
    values = arrays.read_ids(labels, rows.sample(n_rows, MOST_ROWS)) if n_rows > MOST_ROWS else np.asarray(labels[:])
    values = values[np.isfinite(values)] if np.isfinite(values).any() else known
    edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, N_RANGES + 1)))
    codes = Coded(labels, partial(_range_codes, edges))
    blocks = arrays.row_blocks(n_rows, BLOCK_ROWS)
    counts = np.sum([np.bincount(codes[start:stop], minlength=len(edges)) for start, stop in blocks], axis=0)
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    colors = ordered_colors(len(names))
    if counts[-1]:
        names, colors = [*names, "none"], [*colors, GRAY]
    return Classes(codes, names, counts[: len(names)].tolist(), colors, ordered=True)


def _range_codes(edges: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.int64]:
    return np.where(np.isfinite(values), np.searchsorted(edges[1:-1], values, side="right"), len(edges) - 1)
