"""The map as a Parquet file."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet as reader

from pumascale.tasks.embedding import parquet
from pumascale.tasks.report.labels import read_classes
from pumascale.tasks.storage import arrays, chunk_objects, urls
from pumascale.tasks.storage.errors import InputError


@pytest.fixture
def embedding(workspace: str) -> str:
    """A map of 2,500 rows."""
    values = np.random.default_rng(0).normal(size=(2500, 2)).astype(np.float32)
    url = urls.join(workspace, "map")
    arrays.create_array(url, shape=values.shape, dtype=values.dtype)[:] = values
    return url


def write_labels(url: str, labels: np.ndarray) -> str:
    arrays.create_array(url, shape=labels.shape, dtype=labels.dtype)[:] = labels
    return url


def test_rows_coordinates_and_labels(workspace: str, embedding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BLOCK_ROWS", 1000)
    labels = write_labels(f"{workspace}/labels", np.arange(2500) % 7)
    assert parquet.to_parquet(embedding, f"{workspace}/map.parquet", labels) == 2500
    table = reader.read_table(io.BytesIO(urls.read_bytes(f"{workspace}/map.parquet") or b""))
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "row": "int64",
        "x": "float",
        "y": "float",
        "label": "int64",
    }
    np.testing.assert_array_equal(table["row"], np.arange(2500))
    np.testing.assert_array_equal(table["label"], np.arange(2500) % 7)
    np.testing.assert_array_equal(np.stack([table["x"], table["y"]], axis=1), arrays.open_array(embedding)[:])


def test_a_block_of_many_components_is_no_larger_than_one_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 2**10)
    monkeypatch.setattr(arrays, "SHARD_BYTES", 2**12)
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 2**13)
    arrays.create_array(f"{tmp_path}/wide", shape=(100, 64), dtype=np.float32)[:] = 1
    assert parquet.to_parquet(f"{tmp_path}/wide", f"{tmp_path}/map.parquet") == 100
    groups = reader.ParquetFile(f"{tmp_path}/map.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [32, 32, 32, 4]


def test_a_damaged_chunk_of_the_labels_is_named(workspace: str, embedding: str) -> None:
    labels = f"{workspace}/labels"
    arrays.create_array(labels, shape=(2500,), dtype=np.int64, shard_rows=1000)[:] = np.arange(2500)
    urls.write_bytes(f"{labels}/c/1", b"torn")
    reads: list[Callable[[], object]] = [
        lambda: parquet.to_parquet(embedding, f"{workspace}/map.parquet", labels),
        lambda: read_classes(labels, 2500),
    ]
    for read in reads:
        with pytest.raises(InputError, match=rf"^{labels}/c/1 \(rows 1000 to 2000\) cannot be read"):
            read()


def test_labels_of_another_length_are_refused(workspace: str, embedding: str) -> None:
    labels = write_labels(f"{workspace}/labels", np.arange(7))
    with pytest.raises(InputError, match="7 labels for 2500 rows"):
        parquet.to_parquet(embedding, f"{workspace}/map.parquet", labels)
    assert urls.read_bytes(f"{workspace}/map.parquet") is None
