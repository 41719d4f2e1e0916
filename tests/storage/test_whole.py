"""Arrays of one object: any Zarr reader reads them, and they are what Zarr itself would have said of them."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from pumascale.tasks.storage import arrays, urls, whole
from pumascale.tasks.storage.errors import InputError


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint16", ">i4", "int64", "bool"])
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3), (3, 4, 2)])
def test_zarr_reads_what_was_written(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    url, values = str(tmp_path / "values"), np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    arrays.write_whole(url, np.ones((9, 9)))
    arrays.write_whole(url, values)
    found = zarr.open_array(url, mode="r")
    np.testing.assert_array_equal(found[:], values)
    assert found.dtype == values.dtype.newbyteorder("=")
    assert len(urls.list_objects(url)) == 2


def test_one_object_is_compressed_as_shards_are(tmp_path: Path) -> None:
    values = np.zeros((1000, 10), np.float32)
    arrays.write_whole(str(tmp_path / "whole"), values)
    whole = zarr.open_array(str(tmp_path / "whole"), mode="r")
    sharded = arrays.create_array(str(tmp_path / "sharded"), shape=values.shape, dtype=values.dtype)
    assert whole.compressors == sharded.compressors
    assert whole.fill_value == sharded.fill_value
    assert whole.nbytes_stored() < values.nbytes / 10


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", ">i4", "bool"])
@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 4, 2), (0, 3)])
def test_rows_are_picked_out_of_what_lies_plain(workspace: str, dtype: str, shape: tuple[int, ...]) -> None:
    url, values = f"{workspace}/values", np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    arrays.write_plain(url, np.ones((99, 9)))
    arrays.write_plain(url, values)
    np.testing.assert_array_equal(arrays.open_array(url)[:], values)
    for start, stop in ((0, len(values)), (2, 7), (3, 3)):
        if stop <= len(values):
            np.testing.assert_array_equal(whole.read_plain(url, start, stop), values[start:stop])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", ">i4", "bool"])
@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 4, 2), (0, 3)])
def test_all_is_read_back_whatever_wrote_it(workspace: str, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    arrays.write_whole(f"{workspace}/whole", values)
    arrays.write_plain(f"{workspace}/plain", values)
    arrays.create_array(f"{workspace}/sharded", shape=shape, dtype=values.dtype)[:] = values
    assert (whole.read_object(f"{workspace}/whole") is None) == (len(values) == 0)
    for name in ("whole", "plain", "sharded"):
        read = arrays.read_whole(f"{workspace}/{name}")
        assert read.dtype == values.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read, values)


def test_a_lost_or_damaged_object_is_an_error(tmp_path: Path) -> None:
    url, chunk = str(tmp_path / "values"), tmp_path / "values" / "c.0"
    arrays.write_whole(url, np.ones(5))
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"values.*lost or damaged"):
        arrays.read_whole(url)
    chunk.unlink()
    for read in (arrays.read_whole, lambda url: arrays.open_array(url)[:]):
        with pytest.raises((FileNotFoundError, InputError)):  # the latter by an older Zarr
            read(url)


def test_what_is_larger_than_a_shard_is_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "SHARD_BYTES", 2**20)
    values = np.arange(2**18, dtype=np.float64)
    arrays.write_whole(str(tmp_path / "values"), values)
    array = zarr.open_array(str(tmp_path / "values"), mode="r")
    assert array.shards is not None
    np.testing.assert_array_equal(array[:], values)
