"""Place the rows of a Zarr array with a model that was trained before."""

from typing import Any

from prefect import flow

from pumascale.flows.fit_transform import DEFAULT_COMPUTE, DEFAULT_EMBEDDING
from pumascale.tasks.anew import salted
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters
from pumascale.tasks.preflight import preflight_transform
from pumascale.tasks.stage import summarize
from pumascale.tasks.write_embedding import write_embedding


@flow(name="transform")
def transform(
    source: str,
    model: str,
    target: str | None = None,
    workspace: str | None = None,
    labels: str | None = None,
    embedding: EmbeddingParameters = DEFAULT_EMBEDDING,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    force: bool = False,
) -> dict[str, Any]:
    """Write the coordinates of every row of `source`.

    Args:
        source: URL of a Zarr array whose rows have the model's shape.
        model: URL of a trained model.
        target: A place where readers always find the newest finished map.
        workspace: URL prefix for the embedding; by default the model's own workspace.
        labels: URL of a Zarr array of labels that colour the map.
        embedding: Placing the rows.
        compute: Dask workers that place the rows, where it asks for any; else this process does.
        force: Make it anew, beside what is there.
    """
    preflight_transform(source, model, target, workspace, labels, embedding, compute)
    with salted(force, workspace, model) as salt:
        written = write_embedding(source, model, workspace, embedding, labels, target, salt, compute=compute)
    return {name: written.manifest[name] for name in ("graph", "model")} | summarize(written)
