"""Arrays: whole shards, lost chunks, and what is refused as a source."""

import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pumascale.tasks.graph import plan
from pumascale.tasks.storage import arrays, chunk_objects, fingerprints, probes, rows, sources, urls
from pumascale.tasks.storage.errors import InputError
from tests.s3.fixtures import changed_environment


def write(url: str, values: NDArray[Any], shard_rows: int | None = None) -> str:
    arrays.create_array(url, shape=values.shape, dtype=values.dtype, shard_rows=shard_rows)[:] = values
    return url


def numbers(n: int = 1000, width: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def test_rows_are_read_back_as_float32(workspace: str) -> None:
    url = write(f"{workspace}/a", np.arange(4000).reshape(1000, 4), 300)
    found = arrays.read_rows(arrays.open_array(url), 250, 650)
    assert (found.dtype, found.tolist()) == (np.float32, np.arange(1000, 2600).reshape(400, 4).tolist())


def test_shards_are_objects_even_when_they_hold_fill_values(workspace: str) -> None:
    url = write(f"{workspace}/a", np.zeros((1000, 8), np.float32), 300)
    names = {name for name in urls.list_objects(url) if name != "zarr.json"}
    assert names == {f"c/{index}/0" for index in range(4)}
    assert chunk_objects.object_name(arrays.open_array(url), 899) == "c/2/0"


def test_the_same_creation_opens_and_another_is_refused(workspace: str) -> None:
    url = write(f"{workspace}/a", numbers())
    again = arrays.create_array(url, shape=(1000, 8), dtype=np.float32)
    np.testing.assert_array_equal(again[:], numbers())
    with pytest.raises(InputError, match=r"already holds an array of \(1000, 8\) float32"):
        arrays.create_array(url, shape=(1000, 9), dtype=np.float32)


@given(st.integers(1, 10**6), st.integers(1, 10**9))
def test_shards_are_whole_chunks_of_about_32_mb(row_nbytes: int, n_rows: int) -> None:
    chunk, shard = arrays.chunk_rows(row_nbytes, n_rows), arrays.shard_rows(row_nbytes, n_rows)
    assert shard % chunk == 0
    assert shard < n_rows + chunk
    assert shard * row_nbytes <= max(arrays.SHARD_BYTES, row_nbytes)
    assert (chunk - 1) * row_nbytes < arrays.CHUNK_BYTES


def test_shards_of_any_size_have_chunks_of_a_useful_size(tmp_path: Any) -> None:
    array = arrays.create_array(str(tmp_path), shape=(10**6, 12), dtype=np.float32, shard_rows=100_000)
    assert array.shards == (100_000, 12)
    assert 1000 <= array.chunks[0] <= arrays.chunk_rows(48, 10**6)


@given(st.integers(0, 1000), st.integers(1, 300))
def test_row_blocks_cover_every_row_once(n_rows: int, block_rows: int) -> None:
    blocks = arrays.row_blocks(n_rows, block_rows)
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(n_rows))


def test_a_lost_chunk_is_an_error_and_named(workspace: str) -> None:
    url = write(f"{workspace}/a", numbers(), 300)
    urls.remove_object(f"{url}/c/2/0")
    for name in ("receipts/rows-0.json", ".DS_Store"):  # what else lies there does not stand for it
        urls.write_bytes(f"{url}/{name}", b"{}")
    with pytest.raises(InputError, match=r"c/2/0 \(rows 600 to 900\)"):
        arrays.read_rows(arrays.open_array(url), 0, 1000)


def test_a_torn_chunk_is_an_error_and_named(workspace: str) -> None:
    url = write(f"{workspace}/a", numbers(), 300)
    whole = urls.read_bytes(f"{url}/c/1/0") or b""
    urls.write_bytes(f"{url}/c/1/0", whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"^{url}/c/1/0 \(rows 300 to 600\) cannot be read"):
        arrays.read_rows(arrays.open_array(url), 0, 1000)


@pytest.mark.parametrize("is_torn", [False, True])
def test_of_the_chunks_that_share_rows_the_broken_one_is_named(tmp_path: Path, is_torn: bool) -> None:
    url = str(tmp_path / "a")
    zarr.create_array(url, shape=(1000, 8), chunks=(300, 4), dtype=np.float32)[:] = numbers()
    urls.remove_object(f"{url}/c/1/1")
    if is_torn:
        urls.write_bytes(f"{url}/c/1/1", b"torn")
    with pytest.raises(InputError, match=rf"^{url}/c/1/1 \(rows 300 to 600\)"):
        arrays.read_rows(arrays.open_array(url), 0, 1000)


def test_rows_by_id_name_a_broken_chunk_too(workspace: str) -> None:
    url = write(f"{workspace}/a", numbers(), 300)
    urls.write_bytes(f"{url}/c/2/0", b"torn")
    reads: list[Callable[[], object]] = [
        lambda: rows.read_ids(arrays.open_array(url), np.array([5, 700])),
        lambda: plan.gather(url, np.array([700, 5])),
        lambda: plan.gather(url, np.arange(500, 700)),
        lambda: plan.read(url, slice(500, 700)),
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "MOST_RANGE_BYTES", 0)
        for read in reads:
            with pytest.raises(InputError, match=r"c/2/0 \(rows 600 to 900\) cannot be read"):
                read()
        np.testing.assert_array_equal(plan.gather(url, np.array([950, 5])), numbers()[[950, 5]])


@pytest.mark.parametrize("error", [PermissionError("withdrawn"), EndpointConnectionError(endpoint_url="s3")])
def test_a_store_that_fails_at_the_second_look_is_not_called_a_damaged_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    url, looks = write(f"{tmp_path}/a", numbers(), 300), iter([ValueError("torn"), error])

    def fail(*arguments: object) -> None:
        raise next(looks)

    monkeypatch.setattr(zarr.Array, "__getitem__", fail)
    with pytest.raises(type(error)):
        arrays.read_rows(arrays.open_array(url), 0, 1000)


CODECS = [numcodecs.Zlib(), numcodecs.GZip(), numcodecs.BZ2(), numcodecs.LZMA(), numcodecs.Zstd(), numcodecs.Blosc()]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: str(codec.codec_id))
def test_a_corrupt_chunk_of_any_codec_is_an_error_and_named(tmp_path: Path, codec: Any) -> None:
    zarr.create_array(tmp_path, data=numbers(), chunks=(300, 8), zarr_format=2, compressors=codec)
    whole = (tmp_path / "1.0").read_bytes()
    (tmp_path / "1.0").write_bytes(np.random.default_rng(1).bytes(len(whole)))
    with pytest.raises(InputError, match=rf"^{tmp_path}/1\.0 \(rows 300 to 600\) cannot be read"):
        arrays.read_rows(sources.open_source(str(tmp_path)), 0, 1000)


def test_a_fingerprint_follows_the_data(workspace: str) -> None:
    url = write(f"{workspace}/a", numbers(), 300)
    first = fingerprints.fingerprint_source(url)
    assert fingerprints.fingerprint_source(url) == first
    changed = numbers()
    changed[500, 3] += 1
    arrays.open_writable(url)[300:600] = changed[300:600]
    assert fingerprints.fingerprint_source(url) != first


def test_a_store_that_does_not_tell_of_changed_data_is_refused(tmp_path: Path) -> None:
    write(f"{tmp_path}/a", numbers())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a"
        assert sources.open_source(url).shape == (1000, 8)
        with pytest.raises(InputError, match="changed data would not be noticed"):
            fingerprints.fingerprint_source(url)
        server.shutdown()


def test_a_request_has_one_id() -> None:
    first = fingerprints.request_id("graph", source="a", parameters={"x": 1, "y": 2})
    assert first == fingerprints.request_id("graph", parameters={"y": 2, "x": 1}, source="a")
    assert first != fingerprints.request_id("graph", source="a", parameters={"x": 1, "y": 3})
    assert first != fingerprints.request_id("model", source="a", parameters={"x": 1, "y": 2})


BAD: dict[str, tuple[Callable[[str], object], str]] = {
    "nothing": (lambda url: None, "No Zarr array at .*source"),
    "a group": (
        lambda url: (write(f"{url}/one", numbers(9)), write(f"{url}/two", numbers(9)), arrays.create_group(url)),
        r"is a Zarr group\. Expected one of the arrays inside it: .*source/one, .*source/two",
    ),
    "an empty group": (arrays.create_group, "group without arrays"),
    "one dimension": (lambda url: write(url, np.arange(9.0)), r"has shape \(9,\).*2 or more dimensions"),
    "complex": (lambda url: write(url, np.ones((9, 2), np.complex64)), "has dtype complex64"),
    "no rows": (
        lambda url: arrays.create_array(url, shape=(0, 3), dtype=np.float32),
        r"has shape \(0, 3\), so it holds no data",
    ),
    "no array but bytes": (lambda url: urls.write_bytes(f"{url}/zarr.json", b"{"), "cannot be opened as a Zarr array"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sources_are_refused(workspace: str, case: str) -> None:
    make, message = BAD[case]
    make(f"{workspace}/source")
    with pytest.raises(InputError, match=message):
        sources.open_source(f"{workspace}/source")


def test_strings_are_refused(tmp_path: Any) -> None:
    zarr.create_array(store=str(tmp_path), data=np.array([["a", "b"], ["c", "d"]]), zarr_format=2)
    with pytest.raises(InputError, match="has dtype"):
        sources.open_source(str(tmp_path))


def test_version_2_and_any_compressor_are_sources(tmp_path: Any) -> None:
    zarr.create_array(store=str(tmp_path), data=numbers().astype(np.float16), chunks=(100, 8), zarr_format=2)
    found = arrays.read_rows(sources.open_source(str(tmp_path)), 150, 750)
    np.testing.assert_array_equal(found, numbers().astype(np.float16).astype(np.float32)[150:750])


def test_wrong_keys_are_said(s3: str) -> None:
    write(f"{s3}/source", numbers())
    with changed_environment({"AWS_SECRET_ACCESS_KEY": "wrong"}):
        for check in (sources.open_source, probes.check_reachable, probes.check_workspace):
            with pytest.raises(InputError, match="refused these credentials"):
                check(f"{s3}/source")


def test_a_wrong_endpoint_or_bucket_is_said_at_once(s3: str) -> None:
    """By `open_source` and `check_workspace` too: tests/test_refusals.py."""
    with pytest.raises(InputError, match="There is no bucket 'no-such-bucket'"):
        probes.check_reachable("s3://no-such-bucket/source")
    with (
        changed_environment({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}),
        pytest.raises(InputError, match="does not answer: EndpointConnectionError"),
    ):
        probes.check_reachable(f"{s3}/source")


def test_a_good_store_passes_and_keeps_no_probe(workspace: str) -> None:
    probes.check_workspace(f"{workspace}/space")
    assert urls.list_objects(workspace) == {}


def test_a_workspace_that_cannot_be_written_is_said(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        probes.check_workspace(str(tmp_path / "file"))


def test_a_store_that_ignores_create_only_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "create_bytes", lambda url, data: urls.write_bytes(url, data) is None)
    with pytest.raises(InputError, match="ignores create-only writes"):
        probes.check_workspace(str(tmp_path))


def test_labels_whose_first_chunk_holds_only_zeros_are_read_as_zeros(tmp_path: Path) -> None:
    labels = zarr.create_array(tmp_path / "labels", shape=(8,), chunks=(4,), dtype="i8")
    labels[:] = [0, 0, 0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(np.asarray(sources.open_labels(str(tmp_path / "labels"))[:]), labels[:])


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    arrays.write_whole(str(tmp_path / "rows"), np.ones((5, 2), np.float32))
    arrays.write_whole(str(tmp_path / "labels"), np.ones(4, np.int64))
    with pytest.raises(InputError, match="4 labels for 5 rows"):
        sources.check_labels(str(tmp_path / "rows"), str(tmp_path / "labels"))
