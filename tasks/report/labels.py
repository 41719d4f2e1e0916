"""Labels as classes that a picture can show: at most 60, the largest first, or ten ranges of a continuous quantity."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.report.colors import GRAY, MOST, class_colors, ordered_colors
from pumascale.tasks.storage import sources

N_RANGES = 10


@dataclass(frozen=True)
class Classes:
    """`codes` int64 (n,): the class of each row; `names`, `counts` and `colors` by code; `ordered` for ranges."""

    codes: NDArray[np.int64]
    names: list[str]
    counts: list[int]
    colors: list[str]
    ordered: bool = False


def read_classes(labels: str | None, n_rows: int) -> Classes:
    """Read the label array; without one every row is of the one class 'rows'.

    The names of integer labels may stand in the array's attribute `classes`. Of more than 60 classes the smallest are
    one, 'others'; floats with more than 60 values are shown as ten ranges with equally many rows each.
    """
    if labels is None:
        return Classes(np.zeros(n_rows, np.int64), ["rows"], [n_rows], class_colors(1))
    array = sources.open_labels(labels)
    values = np.asarray(array[:])
    kinds, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if values.dtype.kind == "f" and len(kinds) > MOST:
        return _ranges(values)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    names = [_name(kinds[index], array.attrs.get("classes")) for index in order]
    return _gather(rank[codes], names, counts[order].tolist())


def _name(value: Any, classes: Any) -> str:
    if isinstance(classes, list) and np.issubdtype(type(value), np.integer) and 0 <= value < len(classes):
        return str(classes[value])
    return str(value)


def _gather(codes: NDArray[np.int64], names: list[str], counts: list[int]) -> Classes:
    """All classes when they are few, else the largest and one of all others, in gray."""
    if len(names) <= MOST:
        return Classes(codes, names, counts, class_colors(len(names)))
    kept = MOST - 1
    others = f"{len(names) - kept:,} others"
    return Classes(
        np.minimum(codes, kept),
        [*names[:kept], others],
        [*counts[:kept], sum(counts[kept:])],
        [*class_colors(kept), GRAY],
    )


def _ranges(values: NDArray[Any]) -> Classes:
    """Ranges between quantiles, ascending; NaN and infinity are 'none'."""
    finite = np.isfinite(values)
    edges = np.unique(np.quantile(values[finite].astype(np.float64), np.linspace(0, 1, N_RANGES + 1)))
    codes = np.where(finite, np.searchsorted(edges[1:-1], values, side="right"), len(edges) - 1)
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    colors = ordered_colors(len(names))
    if not finite.all():
        names, colors = [*names, "none"], [*colors, GRAY]
    return Classes(codes, names, np.bincount(codes, minlength=len(names)).tolist(), colors, ordered=True)
