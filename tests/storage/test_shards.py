"""Whole shards against Zarr itself: each reads what the other wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pumascale.tasks.graph import plan
from pumascale.tasks.storage import arrays, shards, urls


def created(url: str, shape: tuple[int, ...], dtype: Any, shard_rows: int) -> shards.Sharded:
    arrays.create_array(url, shape=shape, dtype=dtype, shard_rows=shard_rows)
    found = shards.open_sharded(url)
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
@pytest.mark.parametrize(("shape", "shard_rows"), [((1000,), 300), ((7,), 7), ((1000, 90), 500), ((50, 3, 40), 20)])
def test_zarr_reads_what_was_written_and_the_other_way_round(
    workspace: str, dtype: str, shape: tuple[int, ...], shard_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 2**12)  # several chunks in a shard
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    mine = created(f"{workspace}/mine", shape, dtype, shard_rows)
    mine.write(0, values[:shard_rows])
    mine.write(shard_rows, values[shard_rows:])
    np.testing.assert_array_equal(arrays.open_array(mine.url)[:], values)
    theirs = created(f"{workspace}/theirs", shape, dtype, shard_rows)
    arrays.open_writable(theirs.url)[:] = values
    for start, stop in ((0, len(values)), (len(values) // 3, len(values) // 2), (0, 1), (3, 3)):
        np.testing.assert_array_equal(theirs.read(start, stop), values[start:stop])
    for some in (
        np.arange(len(values)),
        np.arange(1, len(values), 7),
        np.array([0, len(values) - 1]),
        np.array([], int),
    ):
        np.testing.assert_array_equal(theirs.take(some), values[some])
    assert urls.list_objects(mine.url).keys() == urls.list_objects(theirs.url).keys()


def test_what_is_no_array_of_whole_shards_is_left_to_zarr(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    others: dict[str, dict[str, Any]] = {
        "chunks": {"chunks": (5, 3)},
        "columns": {"chunks": (5, 1), "shards": (10, 3)},
        "gzip": {"chunks": (5, 3), "shards": (10, 3), "compressors": zarr.codecs.GzipCodec()},
        "older": {"chunks": (5, 3), "zarr_format": 2},
    }
    for name, layout in others.items():
        url = str(tmp_path / name)
        zarr.create_array(url, shape=values.shape, dtype=values.dtype, **layout)[:] = values
        assert shards.open_sharded(url) is None
        np.testing.assert_array_equal(plan.read(url, slice(4, 17)), values[4:17])
        np.testing.assert_array_equal(plan.gather(url, np.array([9, 2])), values[[9, 2]])
    assert shards.open_sharded(str(tmp_path / "nowhere")) is None


def test_only_whole_shards_are_written(tmp_path: Path) -> None:
    url = created(str(tmp_path / "rows"), (20, 3), np.float32, 8).url
    with pytest.raises(ValueError, match="rows 4 to 12 are not whole shards"):
        plan.write(url, 4, np.zeros((8, 3), np.float32))
    with pytest.raises(ValueError, match="rows 0 to 12 are not whole shards"):
        plan.write(url, 0, np.zeros((12, 3), np.float32))
