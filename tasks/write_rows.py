"""Door: rows back from a map, by the decoder.

coordinates.zarr + model --write_rows--> <workspace>/rows/<id>/rows
"""

import time
from functools import partial
from typing import Any

from pumascale.tasks.parameters import EmbeddingParameters
from pumascale.tasks.run_page import Progress, publish_markdown
from pumascale.tasks.stage import Stage, costs, run_stage
from pumascale.tasks.storage import arrays, fingerprints, manifests, model_store, urls


def write_rows(
    coordinates: str,
    model: str,
    workspace: str | None = None,
    parameters: EmbeddingParameters | None = None,
    salt: str | None = None,
) -> Stage:
    """Write the rows that the decoder of `model` makes of every coordinate, or find those written before.

    Parameters
    ----------
    coordinates : str
        URL of a Zarr array (n, n_components), such as `<embedding>/embedding`.
    model : str
        URL of a finished model that was trained with `parametric_reconstruction`.

    Returns
    -------
    Stage
        Its `url` is the place; `rows` in it is float32 (n, *row_shape).

    Raises
    ------
    InputError
        Before any work, when the coordinates do not fit the model or it has no decoder.
    """
    parameters, coordinates, model = (
        parameters or EmbeddingParameters(),
        urls.absolute(coordinates),
        urls.absolute(model),
    )
    model_store.check_coordinates(coordinates, model)
    root = urls.absolute(workspace or model_store.workspace_of(model))
    data, options = fingerprints.fingerprint_source(coordinates), parameters.of_the_result()
    name = fingerprints.request_id("rows", model=model, source=data, parameters=options, salt=salt)
    place = urls.join(root, "rows", name)
    return run_stage("write_rows", place, [coordinates, model], partial(_write, coordinates, model, place, parameters))


def _write(coordinates: str, model: str, place: str, parameters: EmbeddingParameters) -> dict[str, Any]:
    from pumascale.tasks.embedding.encode import decode
    from pumascale.tasks.embedding.networks import load_decoder
    from pumascale.tasks.report.tables import stage_table

    started = time.perf_counter()
    facts = model_store.read_model(model)
    origin = {"source": coordinates, "model": model}
    arrays.create_group(place, origin)
    summary = decode(
        coordinates,
        load_decoder(model),
        urls.join(place, "rows"),
        row_shape=tuple(facts["row_shape"]),
        n_components=facts["n_components"],
        batch_size=parameters.batch_size,
        attributes=origin,
        on_progress=Progress("write_rows"),
    )
    took = costs(started, place, coordinates, model)
    manifest = manifests.commit(place, summary | origin | took | {"n_components": facts["n_components"]})
    publish_markdown("write-rows", stage_table("write_rows", manifest))
    return manifest
