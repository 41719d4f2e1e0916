"""A finished map for other tools: Parquet for map viewers and dataframes, AnnData for single-cell tools."""

from typing import Any

from prefect import flow

from pumascale.tasks.export_map import Format, export_map
from pumascale.tasks.preflight import preflight_export


@flow(name="export")
def export(map_url: str, place: str, to: Format = "parquet", labels: str | None = None) -> dict[str, Any]:
    """Write a finished map in another tool's format.

    Args:
        map_url: URL of an embedding, or of a target, which stands for its newest version.
        place: URL of the Parquet file to write, or of the AnnData Zarr store to write into.
        to: parquet (rows, coordinates, labels) or anndata (obsm/X_pumap).
        labels: URL of a Zarr array of one label per row, for a Parquet column.
    """
    preflight_export(map_url, place, to, labels)
    return export_map(map_url, place, to, labels)
