"""The map inside an AnnData store, read back by the real anndata."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pumascale.tasks.embedding.anndata import to_anndata
from pumascale.tasks.storage import arrays, urls
from pumascale.tasks.storage.errors import InputError

N_OBS = 300


def write_map(url: str, n_rows: int = N_OBS, seed: int = 0) -> str:
    values = np.random.default_rng(seed).normal(size=(n_rows, 2)).astype(np.float32)
    place = urls.join(url, f"map{seed}")
    arrays.create_array(place, shape=values.shape, dtype=values.dtype, attributes={"model": "m"})[:] = values
    return place


@pytest.fixture(params=[2, 3])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An AnnData store with an embedding of somebody else."""
    cells = anndata.AnnData(np.ones((N_OBS, 4), np.float32), obsm={"X_pca": np.zeros((N_OBS, 3))})
    before, anndata.settings.zarr_write_format = anndata.settings.zarr_write_format, request.param
    try:
        cells.write_zarr(tmp_path / "cells.zarr")
    finally:
        anndata.settings.zarr_write_format = before
    return str(tmp_path / "cells.zarr")


def read(store: str) -> NDArray[np.float32]:
    return np.asarray(anndata.read_zarr(store).obsm["X_pumap"])


def test_anndata_reads_the_map_and_the_newer_one_after_it(store: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        place = write_map(str(tmp_path), seed=seed)
        assert to_anndata(place, store) == N_OBS
        np.testing.assert_array_equal(read(store), arrays.open_array(place)[:])
    assert sorted(anndata.read_zarr(store).obsm) == ["X_pca", "X_pumap"]


def test_it_is_there_whole_or_not_at_all(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload: Callable[..., None] = urls.upload_file

    def torn(file: Path, url: str) -> None:
        if file.name in ("zarr.json", ".zarray"):
            raise OSError("torn")
        upload(file, url)

    monkeypatch.setattr(urls, "upload_file", torn)
    with pytest.raises(OSError, match="torn"):
        to_anndata(write_map(str(tmp_path)), store)
    assert list(anndata.read_zarr(store).obsm) == ["X_pca"]
    monkeypatch.undo()
    assert to_anndata(f"{tmp_path}/map0", store) == N_OBS
    assert len(read(store)) == N_OBS


def test_a_torn_replacement_shows_neither_the_old_map_nor_holes(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_anndata(write_map(str(tmp_path)), store)

    def torn(file: Path, url: str) -> None:
        raise OSError("torn")

    monkeypatch.setattr(urls, "upload_file", torn)
    with pytest.raises(OSError, match="torn"):
        to_anndata(write_map(str(tmp_path), seed=1), store)
    assert list(anndata.read_zarr(store).obsm) == ["X_pca"]


def test_a_store_on_s3_takes_the_map(store: str, tmp_path: Path, s3: str) -> None:
    remote = f"{s3}/cells.zarr"
    for file in filter(Path.is_file, Path(store).rglob("*")):
        urls.upload_file(file, urls.join(remote, str(file.relative_to(store))))
    place = write_map(str(tmp_path))
    assert to_anndata(place, remote) == N_OBS
    options = urls.storage_options(remote)
    found = zarr.open_group(remote, mode="r", storage_options=options)["obsm/X_pumap"]
    np.testing.assert_array_equal(found[:], arrays.open_array(place)[:])


def test_what_does_not_fit_is_refused(store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="300 observations and the map 7 rows"):
        to_anndata(write_map(str(tmp_path), 7), store)
    place = write_map(str(tmp_path), seed=1)
    with pytest.raises(InputError, match="No AnnData store at"):
        to_anndata(place, f"{tmp_path}/nowhere")
    with pytest.raises(InputError, match="not an AnnData store"):
        to_anndata(place, f"{store}/obsm")
    zarr.open_group(store, mode="r+", use_consolidated=False)["obsm"].create_array("X_pumap", shape=(1,), dtype="f4")
    with pytest.raises(InputError, match="did not make"):
        to_anndata(place, store)
