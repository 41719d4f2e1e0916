"""The measures take the memory of a block and a sample, and a bit for each row, whatever the number of rows."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.quality import measure as room
from pumascale.tasks.quality import rows as room_rows
from pumascale.tasks.quality.drift import drift
from pumascale.tasks.quality.measure import measure
from pumascale.tasks.storage import arrays, chunk_objects


def peaks(folder: Path, n_rows: int) -> tuple[int, int]:
    """Bytes that the measures of a map, and then drift, take at most."""
    generator = np.random.default_rng(0)
    rows, points, labels = (str(folder / f"{n_rows}-{name}") for name in ("rows", "points", "labels"))
    for url, shape in ((rows, (n_rows, 2)), (points, (n_rows, 2)), (labels, (n_rows,))):
        array = arrays.create_array(url, shape=shape, dtype=np.float32, shard_rows=2**15)
        for start, stop in arrays.row_blocks(n_rows, 2**15):
            array[start:stop] = generator.integers(0, 90, (stop - start, *shape[1:]))
    tracemalloc.start()
    measure(rows, points, held_out=np.arange(100), labels=labels, sample=50)
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    drift(rows, rows, first_new_row=n_rows - 1000, sample=50)
    drifted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return measured, drifted


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BLOCK_ROWS", 2**15)
    monkeypatch.setattr(room_rows, "ID_ROWS", 2**15)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", 2**21)
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 2**18)
    few, many = peaks(tmp_path, 2**16), peaks(tmp_path, 2**19)
    assert many[0] - few[0] < 2 * 2**19  # two bytes a row
    assert many[1] - few[1] < 2 * 2**19
