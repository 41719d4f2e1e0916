"""Door: drift, how unlike the appended rows are to those that the model was trained on.

source.zarr + model --measure_drift--> a share of the new rows, and how well the map fits them, on the run page
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from pumascale.tasks.run_log import on_the_run_page
from pumascale.tasks.run_page import publish_markdown
from pumascale.tasks.stage import asset_key
from pumascale.tasks.storage import graph_store, manifests, model_store, sources, urls
from pumascale.tasks.storage.errors import InputError

OVER = "pumascale.drift.over"  # the event that deployments/automations.py waits for

logger = logging.getLogger("pumascale")


@task(name="measure_drift", cache_policy=NO_CACHE)
@on_the_run_page()
def measure_drift(source: str, model: str, first_new_row: int, bound: float | None = None) -> dict[str, Any]:
    """Measure the rows of `source` from `first_new_row` on against the trained rows, named by the model's manifest.

    Parameters
    ----------
    bound : float, optional
        The drift above which the map is made anew; without it trained rows that are gone are only said.

    Returns
    -------
    dict
        The figures of `pumascale.tasks.quality.drift`, with `bound` and `over`, whether the drift is above it. Empty
        where no row is new to the model, or none can be compared.
    """
    try:
        found = _measure(urls.absolute(source), model, first_new_row)
    except InputError as error:
        if bound is not None:
            raise
        logger.warning("measure_drift: not measured: %s", error)
        return {}
    if found:
        found |= {} if bound is None else {"bound": bound, "over": found["drift"] > bound}
        _report(found)
    if found.get("over"):
        emit_event(OVER, {"prefect.resource.id": asset_key(source)}, payload={"source": source, "model": model} | found)
    return found


def _measure(source: str, model: str, first_new_row: int) -> dict[str, Any]:
    from pumascale.tasks.quality.drift import drift

    trained = manifests.read_manifest(model) or {}
    reference, n_trained = trained["source"], trained["n_rows"]
    first = max(first_new_row, n_trained) if reference == source else first_new_row
    if first >= sources.open_source(source).shape[0]:
        return {}
    asked = graph_store.read_graph_manifest(trained["graph"])["parameters"]
    metric = {name: asked[name] for name in ("metric", "metric_kwds")}
    fit = _fit(model, asked["n_neighbors"])
    return drift(source, reference, first_new_row=first, n_trained=n_trained, fit=fit, **metric)


def _fit(model: str, n_neighbors: int) -> Any:
    """What the losses need of a model; None where it holds places instead of a network."""
    from pumascale.tasks.embedding.networks import load_encoder
    from pumascale.tasks.quality.edge_loss import Fit

    facts = model_store.read_model(model)
    if not model_store.has_network(facts):
        return None
    encoder = load_encoder(model)

    def places(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return encoder(rows.reshape(-1, *facts["row_shape"]))

    return Fit(places, facts["a"], facts["b"], model_store.read_held_out(model), n_neighbors)


def _report(found: dict[str, Any]) -> None:
    from pumascale.tasks.report.tables import headline, stage_table

    verdict = {True: "over", False: "not over", None: ""}[found.get("over")]
    judged = f", {verdict} the bound of {found['bound']:.1%}" if verdict else ""
    logger.info("measure_drift: %.1f %% of new rows are far from all trained ones%s", 100 * found["drift"], judged)
    publish_markdown("drift", stage_table("measure_drift", found), headline(found, "edge_loss", "held_out_edge_loss"))
