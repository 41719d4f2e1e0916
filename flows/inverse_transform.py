"""Rows back from places on a map, by the decoder of a model."""

from typing import Any

from prefect import flow

from pumascale.flows.fit_transform import DEFAULT_EMBEDDING
from pumascale.tasks.anew import salted
from pumascale.tasks.parameters import EmbeddingParameters
from pumascale.tasks.preflight import preflight_inverse
from pumascale.tasks.stage import summarize
from pumascale.tasks.write_rows import write_rows


@flow(name="inverse-transform")
def inverse_transform(
    coordinates: str,
    model: str,
    workspace: str | None = None,
    embedding: EmbeddingParameters = DEFAULT_EMBEDDING,
    force: bool = False,
) -> dict[str, Any]:
    """Write a row for every coordinate.

    Args:
        coordinates: URL of a Zarr array (n, n_components), such as an embedding's.
        model: URL of a model trained with parametric_reconstruction.
        workspace: URL prefix for the rows; by default the model's own workspace.
        embedding: Rows per forward pass.
        force: Make it anew, beside what is there.
    """
    preflight_inverse(coordinates, model, workspace)
    with salted(force, workspace, model) as salt:
        return summarize(write_rows(coordinates, model, workspace, embedding, salt))
