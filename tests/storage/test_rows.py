"""Rows by id: those asked for, in parts, and no chunk of the source decoded twice for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pumascale.tasks.quality import rows as quality_rows
from pumascale.tasks.storage import chunk_objects, rows

VALUES = np.random.default_rng(0).normal(size=(1000, 3, 2)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zarr.Array[Any]:
    """Rows in four chunks of up to 300, each larger than what is read at once."""
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 100 * 24)
    monkeypatch.setattr(rows, "BLOCK_VALUES", 70 * 6)
    monkeypatch.setattr(quality_rows, "BLOCK_VALUES", 70 * 6)
    array = zarr.create_array(str(tmp_path / "rows"), shape=VALUES.shape, chunks=(300, 3, 2), dtype=np.float32)
    array[:] = VALUES
    return array


@pytest.mark.parametrize("ids", [np.arange(1000), np.arange(0, 1000, 7), np.array([299, 300]), np.zeros(0, int)])
def test_parts_have_the_rows_asked_for(source: zarr.Array[Any], ids: np.ndarray[Any, Any]) -> None:
    parts = list(rows.read_blocks(source, ids))
    assert all(0 < len(some) == len(block) <= 70 for some, block in parts)
    np.testing.assert_array_equal(np.concatenate([ids[:0], *(some for some, _ in parts)]), ids)
    found = np.concatenate([np.zeros((0, 6)), *(block for _, block in parts)])
    np.testing.assert_array_equal(found, VALUES[ids].reshape(-1, 6))
    np.testing.assert_array_equal(rows.read_ids(source, ids), found)


def test_no_chunk_is_read_twice(source: zarr.Array[Any], chunk_reads: list[str]) -> None:
    assert sum(len(block) for _, block in rows.read_blocks(source, np.arange(1000))) == 1000
    assert len(chunk_reads) == 4
    candidates = quality_rows.all_but(1000, np.array([5, 700]))
    assert sum(len(block) for _, block in quality_rows.candidate_blocks(source, candidates, 50)) == 998
    assert len(chunk_reads) == 8


def test_chunks_without_any_of_the_rows_are_not_read(source: zarr.Array[Any], chunk_reads: list[str]) -> None:
    assert len(list(rows.read_blocks(source, np.array([10, 310])))) == 2
    assert [path[-5:] for path in chunk_reads] == ["0/0/0", "1/0/0"]
    list(quality_rows.candidate_blocks(source, quality_rows.all_but(300, np.zeros(0, int)), 50))
    assert len(chunk_reads) == 3


@pytest.mark.parametrize(
    ("chunks", "shards", "expected"), [(10, None, 100), (300, None, 300), (30, 60, 60), (30, 240, 90)]
)
def test_a_block_is_whole_objects_or_whole_chunks(
    tmp_path: Path, source: zarr.Array[Any], chunks: int, shards: int | None, expected: int
) -> None:
    shape = {"chunks": (chunks, 6), "shards": None if shards is None else (shards, 6)}
    array = zarr.create_array(str(tmp_path / "other"), shape=(960, 6), dtype=np.float32, **shape)
    assert chunk_objects.block_rows(array) == expected
