"""A finished map in the formats of other tools, by a flow."""

import io
from pathlib import Path

import anndata
import numpy as np
import pytest
from pyarrow import parquet

from pumascale.flows.export import export
from pumascale.tasks.storage import arrays, manifests, targets, urls
from pumascale.tasks.storage.errors import InputError

VALUES = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)


@pytest.fixture
def target(tmp_path: Path) -> str:
    """A target with one version of a map."""
    place = str(tmp_path / "embeddings" / "one")
    arrays.create_array(urls.join(place, "embedding"), shape=VALUES.shape, dtype=VALUES.dtype)[:] = VALUES
    manifests.commit(place, {"n_rows": 120})
    targets.publish(str(tmp_path / "target"), place, {})
    return str(tmp_path / "target")


def test_the_newest_version_goes_to_parquet_with_labels(target: str, tmp_path: Path) -> None:
    arrays.create_array(str(tmp_path / "labels"), shape=(120,), dtype=np.int64)[:] = np.arange(120) % 5
    done = export(target, str(tmp_path / "map.parquet"), labels=str(tmp_path / "labels"))
    assert (done["n_rows"], done["to"]) == (120, "parquet")
    table = parquet.read_table(io.BytesIO((tmp_path / "map.parquet").read_bytes()))
    assert export(target, str(tmp_path / "map.parquet"))["n_rows"] == 120  # over an older export
    (tmp_path / "notes.parquet").write_text("years of work")
    with pytest.raises(InputError, match=r"another file. Expected nothing there"):
        export(target, str(tmp_path / "notes.parquet"))
    assert table.column_names == ["row", "x", "y", "label"]
    np.testing.assert_array_equal(table["y"], VALUES[:, 1])


def test_it_goes_into_an_anndata_store(target: str, tmp_path: Path) -> None:
    store = tmp_path / "cells.zarr"
    anndata.AnnData(np.ones((120, 3), np.float32)).write_zarr(store)
    assert export(target, str(store), to="anndata")["n_rows"] == 120
    np.testing.assert_array_equal(anndata.read_zarr(store).obsm["X_pumap"], VALUES)
    with pytest.raises(InputError, match="its own labels"):
        export(target, str(store), to="anndata", labels=str(tmp_path / "labels"))


def test_what_is_no_finished_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished map"):
        export(str(tmp_path / "nothing"), str(tmp_path / "map.parquet"))
    assert not (tmp_path / "map.parquet").exists()
