"""Every night: the rows appended since the last map get their places, and the rest of the map stays as it is.

source.zarr --find_appended--> new rows --measure_drift--> drift --write_embedding--> the target's next version
"""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from pumascale.flows.fit_transform import DEFAULT_COMPUTE, DEFAULT_EMBEDDING
from pumascale.tasks.anew import salted
from pumascale.tasks.appended import Appended
from pumascale.tasks.build_graph import build_graph
from pumascale.tasks.measure_drift import measure_drift
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters
from pumascale.tasks.preflight import preflight_update
from pumascale.tasks.recipe import PULL, read_recipe, write_landmarks
from pumascale.tasks.stage import Stage, summarize
from pumascale.tasks.storage import urls
from pumascale.tasks.train_encoder import train_encoder
from pumascale.tasks.write_embedding import write_embedding

Share = Annotated[float, Field(ge=0, le=1)]


@flow(name="update")
def update(
    source: str,
    model: str,
    target: str,
    workspace: str | None = None,
    labels: str | None = None,
    retrain_above: Share | None = None,
    embedding: EmbeddingParameters = DEFAULT_EMBEDDING,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    force: bool = False,
) -> dict[str, Any]:
    """Publish a map with the rows that were appended to `source` since the newest one.

    Args:
        source: URL of a Zarr array to which rows are appended.
        model: URL of a trained model. What an earlier update retrained from it is used in its place.
        target: The place of the map's versions; the first update there places every row.
        workspace: URL prefix for what is made; by default the model's own workspace.
        labels: URL of a Zarr array of labels, one per row, that colour the map.
        retrain_above: Share of new rows far from every trained one above which the model is trained anew on all rows.
        embedding: Placing the rows.
        compute: Where a retraining works; a cluster that it names places many rows, too.
        force: Place every row anew, which a source that changed in place needs.
    """
    since = preflight_update(source, model, target, workspace, labels, retrain_above, force, embedding, compute)
    with salted(force, workspace, model) as salt:
        if since.n_rows > since.n_rows_before:
            since.drift = measure_drift(source, since.model, since.n_rows_before, retrain_above)
        retrained = _retrain(source, since, workspace, compute, salt) if since.drift.get("over") else ()
        used = retrained[-1].url if retrained else since.model
        workers = compute.for_placing(since.n_rows - (0 if retrained else since.n_unchanged))
        written = write_embedding(source, used, workspace, embedding, labels, target, salt, since, workers)
        return _summarize(since, (*retrained, written), used, target)


def _retrain(
    source: str, since: Appended, workspace: str | None, compute: ComputeParameters, salt: str | None
) -> tuple[Stage, ...]:
    """A model of all rows, made as the old one was, those of the old map held where it has them."""
    graph, training, own = read_recipe(since.model)
    workspace = workspace or own
    built = build_graph(source, workspace, graph, compute, salt)
    if since.previous is not None:
        places = write_landmarks(workspace, since.previous, built.manifest["n_rows"]) if since.same_rows else None
        training = training.model_copy(update={"landmark_positions": places, "landmark_loss_weight": PULL})
    return built, train_encoder(source, built.url, workspace, training, salt)


def _summarize(since: Appended, stages: tuple[Stage, ...], model: str, target: str) -> dict[str, Any]:
    written = stages[-1]
    n_rows = written.manifest["n_rows"]
    return summarize(*stages) | {
        "graph": written.manifest["graph"],
        "model": model,
        "target": urls.absolute(target),
        "rows_added": max(0, n_rows - since.n_rows_before),
        "rows_adopted": n_rows if written.cached else written.manifest.get("rows_adopted", 0),
        "drift": since.drift.get("drift"),
        "drift_over": since.drift.get("over"),
        "retrained": len(stages) > 1,
        "movement": None if written.url == since.previous else written.manifest.get("movement") or None,
    }
