"""Labels as codes and names, the largest class first."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays


@dataclass(frozen=True)
class Classes:
    """`codes` int64 (n,): the class of each row, 0 the largest; `names` and `counts` by code."""

    codes: NDArray[np.int64]
    names: list[str]
    counts: list[int]


def read_classes(labels: str | None, n_rows: int) -> Classes:
    """Read the label array; without one every row is of the one class 'rows'.

    The names of integer labels may stand in the array's attribute `classes`.
    """
    if labels is None:
        return Classes(np.zeros(n_rows, np.int64), ["rows"], [n_rows])
    array = arrays.open_labels(labels)
    values, codes, counts = np.unique(np.asarray(array[:]), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    names = [_name(values[index], array.attrs.get("classes")) for index in order]
    return Classes(rank[codes], names, counts[order].tolist())


def _name(value: Any, classes: Any) -> str:
    if isinstance(classes, list) and np.issubdtype(type(value), np.integer) and 0 <= value < len(classes):
        return str(classes[value])
    return str(value)
