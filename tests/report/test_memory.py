"""The pictures, the page and the labels take the memory of a block and a sample, whatever the number of rows."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.report import labels, pixels, rows
from pumascale.tasks.report.labels import read_classes
from pumascale.tasks.report.map import draw_map
from pumascale.tasks.report.page import make_page
from pumascale.tasks.report.pixels import count_pixels
from pumascale.tasks.report.rows import Rows
from pumascale.tasks.storage import arrays


def write(folder: Path, n_rows: int) -> None:
    generator = np.random.default_rng(0)
    for name, shape, dtype in (("points", (n_rows, 2), np.float32), ("labels", (n_rows,), np.int64)):
        array = arrays.create_array(str(folder / f"{n_rows}-{name}"), shape=shape, dtype=dtype, shard_rows=2**15)
        for start, stop in arrays.row_blocks(n_rows, 2**15):
            array[start:stop] = generator.integers(0, 9, (stop - start, *shape[1:]))


def report(folder: Path, n_rows: int) -> None:
    drawn = Rows(
        arrays.open_array(str(folder / f"{n_rows}-points")), read_classes(str(folder / f"{n_rows}-labels"), n_rows)
    )
    picture = draw_map(drawn, count_pixels(drawn))
    make_page(drawn, title="", map_picture=picture, loss_picture=None, quality={}, tables={})


def peak(folder: Path, n_rows: int) -> int:
    """Bytes that a report takes at most."""
    write(folder, n_rows)
    tracemalloc.start()
    report(folder, n_rows)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_AS_DISCS", 0)
    monkeypatch.setattr(pixels, "SIZE", 100)
    monkeypatch.setattr(labels, "BLOCK_ROWS", 2**15)
    monkeypatch.setattr(rows, "BLOCK_VALUES", 2**16)
    monkeypatch.setattr(rows, "MOST_ROWS", 2**14)
    write(tmp_path, 2**13)
    report(tmp_path, 2**13)  # what is compiled and imported once
    small, large = peak(tmp_path, 2**16), peak(tmp_path, 2**19)
    assert large - small < 2 * 2**19  # two bytes a row
