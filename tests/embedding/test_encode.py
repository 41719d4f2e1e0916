"""Rows to coordinates and back: the result, its schema, killed runs, bad rows, bounded memory."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from pumascale.tasks.embedding import blocks
from pumascale.tasks.embedding.adopt import adopt_shards
from pumascale.tasks.embedding.encode import decode, encode
from pumascale.tasks.storage import arrays, chunk_objects, manifests, sources, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.finite import check_finite
from tests.embedding.conftest import WEIGHTS, Rows, Write, project


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 512 rows and blocks of 250 rows, so that small arrays have many."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(blocks, "MOST_SHARD_ROWS", 512)
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 250 * 48)


def run(source: str, target: str, n_rows_before_death: int | None = None, **options: object) -> dict[str, object]:
    """Encode with `project`; dies once it has seen more than `n_rows_before_death` rows."""
    seen = 0

    def encoder(rows: Rows) -> Rows:
        nonlocal seen
        seen += len(rows)
        if n_rows_before_death is not None and seen > n_rows_before_death:
            raise RuntimeError("killed")
        return project(rows)

    shape = sources.open_source(source).shape[1:]
    values = {"row_shape": shape, "out_shape": (2,), "batch_size": 100, **options}
    return encode(source, encoder, target, **values) | {"seen": seen}  # type: ignore[arg-type]


def test_a_shard_is_read_in_one_request(tmp_path: Path, chunk_reads: list[str]) -> None:
    """Not in one for each of its chunks, which takes as long on S3 as all else."""
    array = arrays.create_array(str(tmp_path / "rows"), shape=(2048, 12), dtype=np.float32, shard_rows=64)
    array[:] = 1
    chunk_reads.clear()
    run(str(tmp_path / "rows"), str(tmp_path / "map"))
    asked = [path for path in chunk_reads if path.startswith(str(tmp_path / "rows"))]
    assert sorted(asked) == sorted(str(tmp_path / f"rows/c/{shard}/0") for shard in range(32))


@pytest.mark.parametrize("n", [1, 511, 512, 513, 2600])
def test_every_row_has_its_coordinates(workspace: str, write_source: Write, n: int) -> None:
    source, rows = write_source(n)
    counts = run(source, f"{workspace}/map")
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], project(rows), rtol=1e-5, atol=1e-3)
    assert counts["n_rows"] == n
    assert counts["n_shards"] == -(-n // 512)


def test_plain_zarr_reads_the_map_and_what_it_is(workspace: str, write_source: Write) -> None:
    source, _ = write_source(600)
    run(source, f"{workspace}/map", attributes={"model": "models/1", "source": source})
    options = urls.storage_options(workspace) or None
    array = zarr.open_array(f"{workspace}/map", mode="r", storage_options=options)
    assert (array.shape, array.dtype, array.shards) == ((600, 2), np.float32, (512, 2))
    assert array.metadata.dimension_names == ("row", "component")
    assert dict(array.attrs) == {"model": "models/1", "source": source}
    assert np.isnan(array.fill_value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, np.bool_])
def test_any_numbers_are_rows(workspace: str, write_source: Write, dtype: type) -> None:
    source, rows = write_source(300, row_shape=(3, 4), dtype=dtype)
    run(source, f"{workspace}/map")
    expected = project(rows.astype(np.float32))
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], expected, rtol=1e-4, atol=1e-2)


def test_the_network_sees_batches_of_one_size_in_its_own_row_shape(workspace: str, write_source: Write) -> None:
    source, _ = write_source(777, row_shape=(12,))
    shapes = set()

    def encoder(rows: Rows) -> Rows:
        shapes.add(rows.shape)
        return project(rows)

    encode(source, encoder, f"{workspace}/map", row_shape=(4, 3), out_shape=(2,), batch_size=64)
    assert shapes == {(60, 4, 3)}  # as many batches as of 64 rows, and hardly a row of padding


@pytest.mark.parametrize("n_rows_before_death", [0, 700, 1500, 2500])
def test_a_killed_run_goes_on_behind_its_last_shard(
    workspace: str, write_source: Write, n_rows_before_death: int
) -> None:
    source, _ = write_source(2600)
    with pytest.raises(RuntimeError, match="killed"):
        run(source, f"{workspace}/map", n_rows_before_death)
    n_done = len(manifests.read_receipts(f"{workspace}/map"))
    counts = run(source, f"{workspace}/map")
    run(source, f"{workspace}/unkilled")
    assert counts["n_shards_before"] == n_done
    assert (counts["n_shards"], n_done > 0) == (6, n_rows_before_death > 0)
    np.testing.assert_array_equal(
        arrays.open_array(f"{workspace}/map")[:], arrays.open_array(f"{workspace}/unkilled")[:]
    )
    assert run(source, f"{workspace}/map")["seen"] == 0


def test_a_lost_or_foreign_shard_is_written_again(workspace: str, write_source: Write) -> None:
    source, rows = write_source(2600)
    run(source, f"{workspace}/map")
    urls.remove_object(f"{workspace}/map/c/1/0")
    urls.write_bytes(f"{workspace}/map/c/3/0", b"not a shard")
    assert run(source, f"{workspace}/map")["n_shards_before"] == 4
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], project(rows), rtol=1e-5, atol=1e-3)


def test_a_map_that_was_begun_of_fewer_rows_is_made_anew(workspace: str, write_source: Write) -> None:
    source, rows = write_source(2600)
    assert run(source, f"{workspace}/map", n_rows=1300)["n_rows"] == 1300
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], project(rows[:1300]), rtol=1e-5, atol=1e-3)
    counts = run(source, f"{workspace}/map")
    assert (counts["n_rows"], counts["n_shards_before"]) == (2600, 0)
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], project(rows), rtol=1e-5, atol=1e-3)


def spoil(source: str, rows: Rows) -> None:
    rows[[700, 701, 2000], [0, 5, 11]] = [np.nan, np.inf, -np.inf]
    arrays.open_writable(source)[:] = rows


def test_bad_rows_stop_the_run_and_nothing_is_left(workspace: str, write_source: Write) -> None:
    source, rows = write_source(2600)
    spoil(source, rows)
    for action in (check_finite, lambda url: run(url, f"{workspace}/map")):
        with pytest.raises(InputError, match="NaN or inf in 3 of its 2600 rows, first in row 700"):
            action(source)
    assert urls.list_objects(f"{workspace}/map") == {}


def test_bad_rows_get_nan_coordinates(workspace: str, write_source: Write) -> None:
    source, rows = write_source(2600)
    spoil(source, rows)
    assert run(source, f"{workspace}/map", non_finite="nan")["n_non_finite"] == 3
    found = arrays.open_array(f"{workspace}/map")[:]
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [700, 701, 2000]
    good = np.isfinite(rows).all(axis=1)
    np.testing.assert_allclose(found[good], project(rows[good]), rtol=1e-5, atol=1e-3)


def test_float64_beyond_float32_is_said(tmp_path: Path) -> None:
    rows = np.ones((10, 2))
    rows[4] = 1e300
    arrays.create_array(str(tmp_path), shape=rows.shape, dtype=rows.dtype)[:] = rows
    with pytest.raises(InputError, match="1 of its 10 rows, first in row 4"):
        check_finite(str(tmp_path))


def test_a_broken_chunk_of_the_source_is_named_with_its_rows(workspace: str, write_source: Write) -> None:
    source, _ = write_source(2600)
    urls.write_bytes(f"{source}/c/1/0", b"torn")
    with pytest.raises(InputError, match=r"source/c/1/0 \(rows 1000 to 2000\) cannot be read"):
        run(source, f"{workspace}/map")


def test_a_lost_chunk_of_the_source_is_an_error(workspace: str, write_source: Write) -> None:
    source, _ = write_source(2600)
    urls.remove_object(f"{source}/c/2/0")
    with pytest.raises(InputError, match=r"c/2/0 \(rows 2000 to "):
        run(source, f"{workspace}/map")


def test_decoding_runs_backwards(workspace: str, write_source: Write) -> None:
    source, rows = write_source(1300)
    rows[5, 0] = np.nan
    arrays.open_writable(source)[:] = rows
    run(source, f"{workspace}/map", non_finite="nan")

    def decoder(coordinates: Rows) -> Rows:
        return np.asarray(coordinates @ WEIGHTS.T, np.float32).reshape(-1, 3, 4)

    decode(f"{workspace}/map", decoder, f"{workspace}/rows", row_shape=(3, 4), n_components=2, batch_size=100)
    found = arrays.open_array(f"{workspace}/rows")
    assert found.metadata.dimension_names == ("row", "axis_1", "axis_2")
    np.testing.assert_allclose(found[:], decoder(project(rows)), rtol=1e-4, atol=1e-2)
    assert np.isnan(found[5]).all()


def test_a_killed_way_back_goes_on_too(workspace: str, write_source: Write) -> None:
    source, _ = write_source(1300, row_shape=(2,))
    seen: list[int] = []

    def decoder(coordinates: Rows) -> Rows:
        seen.append(len(coordinates))
        if len(seen) == 8:
            raise RuntimeError("killed")
        return np.asarray(coordinates @ WEIGHTS.T, np.float32)

    def run_back() -> dict[str, object]:
        return decode(source, decoder, f"{workspace}/rows", row_shape=(12,), n_components=2, batch_size=100)

    with pytest.raises(RuntimeError, match="killed"):
        run_back()
    assert run_back()["n_shards_before"] == 1
    np.testing.assert_allclose(
        arrays.open_array(f"{workspace}/rows")[:], decoder(np.asarray(arrays.open_array(source)[:])), rtol=1e-4
    )


def test_appended_rows_leave_finished_shards_alone(workspace: str, write_source: Write) -> None:
    source, rows = write_source(2600)
    run(source, f"{workspace}/old")
    more = np.concatenate([rows, rows[:500] + 1])
    longer = f"{workspace}/longer"
    arrays.create_array(longer, shape=more.shape, dtype=more.dtype)[:] = more
    assert adopt_shards(f"{workspace}/old", f"{workspace}/new", 3100, 2600, non_finite=False) == 2560
    noted = urls.list_objects(f"{workspace}/new")
    assert adopt_shards(f"{workspace}/old", f"{workspace}/new", 3100, 2600, non_finite=False) == 2560
    assert urls.list_objects(f"{workspace}/new") == noted
    counts = run(longer, f"{workspace}/new")
    assert (counts["n_shards"], counts["n_shards_before"]) == (7, 5)
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/new")[:], project(more), rtol=1e-5, atol=1e-3)
    assert urls.read_bytes(f"{workspace}/new/c/0/0") == urls.read_bytes(f"{workspace}/old/c/0/0")


def test_a_map_that_outgrew_its_small_shards_is_made_anew(workspace: str, write_source: Write) -> None:
    source, _ = write_source(5)
    run(source, f"{workspace}/old")
    assert adopt_shards(f"{workspace}/old", f"{workspace}/new", 1000, 5, non_finite=False) == 0
    assert urls.list_objects(f"{workspace}/new") == {}


def test_a_map_that_a_killed_run_began_in_other_shards_takes_nothing_over(workspace: str, write_source: Write) -> None:
    source, rows = write_source(576)
    run(source, f"{workspace}/first", n_rows=64)
    adopt_shards(f"{workspace}/first", f"{workspace}/old", 576, 64, non_finite=False)
    assert run(source, f"{workspace}/old")["n_shards"] == 9  # of 64 rows
    blocks.create_target(f"{workspace}/new", (576, 2), 512, None, {})
    assert adopt_shards(f"{workspace}/old", f"{workspace}/new", 576, 576, non_finite=False) == 0
    counts = run(source, f"{workspace}/new")
    assert (counts["n_shards"], counts["n_shards_before"]) == (2, 0)
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/new")[:], project(rows), rtol=1e-5, atol=1e-3)


def test_what_was_dropped_while_it_was_taken_over_is_placed_again(
    workspace: str, write_source: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, rows = write_source(2600)
    run(source, f"{workspace}/old")
    read = urls.read_bytes

    def read_as_another_prunes(url: str) -> bytes | None:
        if url.startswith(f"{workspace}/old/c/2/"):
            urls.remove_tree(f"{workspace}/old")
        return read(url)

    monkeypatch.setattr(urls, "read_bytes", read_as_another_prunes)
    assert adopt_shards(f"{workspace}/old", f"{workspace}/new", 2600, 2600, non_finite=False) == 1024
    assert run(source, f"{workspace}/new")["n_shards_before"] == 2
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/new")[:], project(rows), rtol=1e-5, atol=1e-3)


def test_blocks_follow_the_chunks_of_the_source() -> None:
    assert blocks.cut(512, 1024, 250) == [(512, 750), (750, 1000), (1000, 1024)]
    assert blocks.cut(0, 500, 500) == [(0, 500)]


def test_progress_counts_rows_to_the_end(workspace: str, write_source: Write) -> None:
    source, _ = write_source(1300)
    seen: list[tuple[str, int, int]] = []
    run(source, f"{workspace}/map", on_progress=lambda *report: seen.append(report))
    assert seen == [("rows", 512, 1300), ("rows", 1024, 1300), ("rows", 1300, 1300)]
