"""Door: a finished map for other tools.

embedding --export_map--> map.parquet, or obsm/X_pumap of an AnnData store
"""

from typing import Any, Literal

from prefect import task

from pumascale.tasks.run_page import link, publish_markdown
from pumascale.tasks.storage import targets, urls
from pumascale.tasks.storage.failures import with_a_store

Format = Literal["parquet", "anndata"]


@task
def export_map(map_url: str, place: str, to: Format = "parquet", labels: str | None = None) -> dict[str, Any]:
    """Write a finished map in another tool's format; a reader of `place` meets all of it or nothing.

    Parameters
    ----------
    map_url : str
        URL of an embedding, or of a target, which stands for its newest version.
    place : str
        URL of the Parquet file to write, or of the AnnData store to write into.
    labels : str, optional
        URL of one label per row, for a Parquet column.

    Returns
    -------
    dict
        `embedding`, `place`, `to` and `n_rows`.

    Raises
    ------
    InputError
        When there is no finished map, or `place` cannot take it.
    """
    from pumascale.tasks.embedding.anndata import to_anndata
    from pumascale.tasks.embedding.parquet import to_parquet

    embedding, place = targets.find_map(map_url), urls.absolute(place)
    array = urls.join(embedding, "embedding")

    def write() -> dict[str, Any]:
        return {"n_rows": to_anndata(array, place) if to == "anndata" else to_parquet(array, place, labels)}

    done = {"embedding": embedding, "place": place, "to": to} | with_a_store(place, write)
    publish_markdown("export-map", f"{done['n_rows']:,} rows of {link(embedding)} as {to}: {link(place)}")
    return done
