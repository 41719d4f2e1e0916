"""The map as one Parquet file, for map viewers such as Embedding Atlas and for dataframes. Extra: `parquet`."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pumascale.tasks.storage import arrays, chunk_objects, sources, urls
from pumascale.tasks.storage.errors import InputError

BLOCK_ROWS = 2**20


def to_parquet(embedding: str, target: str, labels: str | None = None) -> int:
    """Write `row` int64, the coordinates float32 (`x`, `y`, `z`, or `x0`, `x1`, ...) and `label`, a block at a time.

    Parameters
    ----------
    embedding : str
        URL of the array (n, n_components).
    target : str
        URL of the Parquet file to write; readers see it whole or not at all.
    labels : str, optional
        URL of a 1-D array of n labels.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        When pyarrow is not installed, or the labels are not one per row.
    """
    coordinates = sources.open_source(embedding)
    column = sources.open_labels(labels) if labels else None
    if column is not None and column.shape != coordinates.shape[:1]:
        raise InputError(
            f"{labels} has {column.shape[0]} labels for {coordinates.shape[0]} rows. Expected one per row."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "map.parquet"
        _write(file, coordinates, column)
        urls.upload_file(file, target)
    return int(coordinates.shape[0])


def _write(file: Path, coordinates: zarr.Array[Any], labels: zarr.Array[Any] | None) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow. Install it with: pip install 'pumascale[parquet]'") from None
    most = min(BLOCK_ROWS, chunk_objects.block_rows(coordinates))
    blocks = (_columns(coordinates, labels, *rows) for rows in arrays.row_blocks(coordinates.shape[0], most))
    tables = (pa.table(block) for block in blocks)
    first = next(tables)
    with parquet.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _columns(
    coordinates: zarr.Array[Any], labels: zarr.Array[Any] | None, start: int, stop: int
) -> dict[str, np.ndarray[Any, Any]]:
    values = arrays.read_rows(coordinates, start, stop)
    columns = {"row": np.arange(start, stop)} | dict(zip(_names(values.shape[1]), values.T, strict=True))
    if labels is None:
        return columns
    return columns | {"label": _plain(arrays.read_rows(labels, start, stop, labels.dtype))}


def _names(n_components: int) -> list[str]:
    return list("xyz"[:n_components]) if n_components <= 3 else [f"x{axis}" for axis in range(n_components)]


def _plain(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fixed-width and variable-width strings as objects: Arrow knows neither of NumPy's two."""
    return labels.astype(object) if labels.dtype.kind in "UT" else labels
