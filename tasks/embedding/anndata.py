"""The map as `obsm/X_pumap` of an AnnData Zarr store, where single-cell tools look for it.

The array is made in a folder of this machine and then copied, its metadata last: a reader finds all of it or none.
"""

import tempfile
from pathlib import Path
from typing import Any

import zarr

from pumascale.tasks.storage import arrays, chunk_objects, sources, urls
from pumascale.tasks.storage.errors import InputError

KEY = "X_pumap"
METADATA = {2: (".zarray", ".zattrs"), 3: ("zarr.json",)}
BLOCK_ROWS = 2**20


def to_anndata(embedding: str, store: str) -> int:
    """Put the map beside the observations of `store`, in place of an older one of this pipeline.

    Parameters
    ----------
    embedding : str
        URL of the array (n, n_components).
    store : str
        URL of an AnnData Zarr store (v2 or v3) of n observations.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        When there is no such store, it has another number of observations, or its `X_pumap` is a stranger's.
    """
    coordinates, place = sources.open_source(embedding), urls.join(store, "obsm", KEY)
    group = check_store(embedding, store)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), coordinates, group.metadata.zarr_format)
        if "obsm" not in group:
            arrays.open_group(store, mode="r+").create_group(
                "obsm", attributes={"encoding-type": "dict", "encoding-version": "0.1.0"}
            )
        _remove(store, place, METADATA[group.metadata.zarr_format])
        _copy(Path(folder), place, METADATA[group.metadata.zarr_format])
    arrays.consolidate_again(store)
    return int(coordinates.shape[0])


def check_store(embedding: str, store: str, labels: str | None = None) -> zarr.Group:
    """The store, where it takes this map; InputError where it does not, or where labels are to go there too."""
    if labels:
        raise InputError("An AnnData store has its own labels, in obs. Leave labels out, or export to parquet.")
    group = _open(store)
    _check(group, store, sources.open_source(embedding).shape[0])
    return group


def _open(store: str) -> zarr.Group:
    try:
        group = arrays.open_group(store)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError, zarr.errors.NodeTypeValidationError):
        raise InputError(f"No AnnData store at {store}. Expected the URL that `AnnData.write_zarr` wrote to.") from None
    if group.attrs.get("encoding-type") != "anndata" or "obs" not in group:
        raise InputError(f"{store} is a Zarr group, but not an AnnData store. Expected one with `obs`.")
    return group


def _check(group: zarr.Group, store: str, n_rows: int) -> None:
    n_obs = _n_obs(group)
    if n_obs != n_rows:
        raise InputError(f"{store} has {n_obs} observations and the map {n_rows} rows. Expected one row for each.")
    if f"obsm/{KEY}" in group and "pumascale" not in group[f"obsm/{KEY}"].attrs:
        raise InputError(f"{store} has an obsm/{KEY} that pumascale did not make. Rename it, or choose another store.")


def _n_obs(group: zarr.Group) -> int:
    """The length of the observations' index: an array, or one of strings that may be missing, with its mask."""
    index: Any = group[f"obs/{group['obs'].attrs['_index']}"]
    values: Any = index["values"] if isinstance(index, zarr.Group) else index
    return int(values.shape[0])


def _write(folder: Path, coordinates: zarr.Array[Any], zarr_format: Any) -> None:
    n_rows, n_components = coordinates.shape
    most = min(n_rows, BLOCK_ROWS, chunk_objects.block_rows(coordinates))
    attributes: Any = {"encoding-type": "array", "encoding-version": "0.2.0", "pumascale": dict(coordinates.attrs)}
    array = zarr.create_array(
        str(folder), shape=coordinates.shape, dtype=coordinates.dtype, chunks=(most, n_components),
        zarr_format=zarr_format, attributes=attributes, config={"write_empty_chunks": True},
    )  # fmt: skip
    for start, stop in arrays.row_blocks(n_rows, most):
        array[start:stop] = arrays.read_rows(coordinates, start, stop)


def _remove(store: str, place: str, metadata: tuple[str, ...]) -> None:
    """Take an older array away: what readers find it by first, then its chunks, so that nobody meets holes."""
    for name in metadata:
        urls.remove_object(urls.join(place, name))
    arrays.consolidate_again(store)
    urls.remove_tree(place)


def _copy(folder: Path, place: str, metadata: tuple[str, ...]) -> None:
    """Copy the chunks, and the metadata last."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for name in sorted(names, key=lambda name: name in metadata):
        urls.upload_file(folder / name, urls.join(place, name))
