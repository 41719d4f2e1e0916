"""Sorted runs: how a task hands rows or edges to many others, each in one range read.

    one object: | columns | where each owner's part begins | part of owner 0 | part of owner 1 | ...
    a part:     | its entries' first column | their second column | ...

The one shuffle of this room: blocks to partitions (rows, edges), partitions to blocks (neighbours, strongest edges),
and both to buckets of equal rows. Objects are as many as writers, not as pairs of writer and owner. They are plain
bytes: as Zarr arrays, opening them took longer than all that was done with their content.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.ranges import read_ranges

HEAD_BYTES = 512  # [name, dtype, shape of an entry] of each column, as JSON
Column = tuple[str, str, list[int]]


def write_run(url: str, owner: NDArray[Any], n_owners: int, content: dict[str, NDArray[Any]]) -> None:
    """Write entries sorted by owner, in their order for each.

    Parameters
    ----------
    owner : integers (m,)
        Who reads the entry, below n_owners; entries of owner -1 nobody reads.
    content : dict
        Arrays (m, ...) by name. One of m / s rows holds each of them for s entries side by side, uncopied.
    """
    kind = np.uint16 if n_owners < 2**16 else np.uint32  # of 16 bits NumPy sorts fifteen times faster
    order = np.argsort((owner + 1).astype(kind), kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(n_owners + 1))

    def part(first: int, last: int) -> list[NDArray[Any]]:
        return [values[order[first:last] * len(values) // len(owner)] for values in content.values()]

    _write(url, bounds, content, part)


def write_sorted(url: str, bounds: NDArray[np.int64], content: dict[str, NDArray[Any]]) -> None:
    """As `write_run`, of entries that are sorted by owner already: those of owner i are bounds[i] to bounds[i + 1]."""
    _write(url, bounds, content, lambda first, last: [values[first:last] for values in content.values()])


def _write(
    url: str,
    bounds: NDArray[np.int64],
    content: dict[str, NDArray[Any]],
    part: Callable[[int, int], list[NDArray[Any]]],
) -> None:
    columns: list[Column] = [(name, values.dtype.str, list(values.shape[1:])) for name, values in content.items()]
    begins = HEAD_BYTES + 8 * len(bounds) + (bounds - bounds[0]) * _entry_bytes(columns)
    run = bytearray(int(begins[-1]))
    run[: begins[0]] = json.dumps(columns).encode().ljust(HEAD_BYTES) + begins.tobytes()
    for at, (first, last) in zip(begins.tolist(), pairwise(bounds.tolist()), strict=False):
        if last > first:
            _fill(run, at, part(first, last))
    urls.write_large(url, run)


def _fill(run: bytearray, at: int, columns: list[NDArray[Any]]) -> None:
    """Put an owner's part in its place, so that a run, the largest thing that a task holds, is in memory once."""
    for values in columns:
        run[at : at + values.nbytes] = values.tobytes()
        at += values.nbytes


def read_runs(runs: Sequence[str], owner: int, names: Sequence[str]) -> list[NDArray[Any]]:
    """All entries of an owner, run after run, one array (m, ...) per name."""
    columns: list[Column] = json.loads(urls.read_range(runs[0], 0, HEAD_BYTES))
    at = [[column[0] for column in columns].index(name) for name in names]
    parts = _read_parts(runs, owner, columns, min(at), max(at) + 1)
    return [_joined([part[column - min(at)] for part in parts]) for column in at]


def _read_parts(
    runs: Sequence[str], owner: int, columns: list[Column], begin: int, end: int
) -> list[list[NDArray[Any]]]:
    """An owner's entries in every run, in the columns from `begin` to `end`, which lie side by side."""
    at, wanted, counts = HEAD_BYTES + 8 * owner, [], []
    for run, bounds in zip(runs, read_ranges([(run, at, at + 16) for run in runs]), strict=True):
        first, last = np.frombuffer(bounds, np.int64).tolist()
        counts.append((last - first) // _entry_bytes(columns))
        start, stop = (first + counts[-1] * _entry_bytes(columns[:column]) for column in (begin, end))
        wanted.append((run, start, stop))
    return [_split(*part, columns[begin:end]) for part in zip(read_ranges(wanted), counts, strict=True)]


def _split(content: bytes, count: int, columns: list[Column]) -> list[NDArray[Any]]:
    """The columns of `count` entries, one after the other."""
    start, part = 0, []
    for _, dtype, shape in columns:
        part.append(np.frombuffer(content, dtype, count * int(np.prod(shape)), start).reshape(count, *shape))
        start += part[-1].nbytes
    return part


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _entry_bytes(columns: list[Column]) -> int:
    return sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for _, dtype, shape in columns)
