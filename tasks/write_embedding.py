"""Door: the map, written block by block.

    source.zarr + model --write_embedding--> <workspace>/embeddings/<id>/embedding
"""

import time
from functools import partial
from typing import Any

from pumascale.tasks.parameters import EmbeddingParameters
from pumascale.tasks.stage import Progress, Stage, publish_markdown, publish_picture, run_stage
from pumascale.tasks.storage import arrays, fingerprints, manifests, model_store, targets, urls


def write_embedding(
    source: str,
    model: str,
    workspace: str | None = None,
    parameters: EmbeddingParameters | None = None,
    labels: str | None = None,
    target: str | None = None,
    salt: str | None = None,
) -> Stage:
    """Place every row of `source` with the encoder of `model`, or find the embedding written before.

    Parameters
    ----------
    source : str
        URL of a Zarr array whose rows have the shape that the encoder was trained on.
    model : str
        URL of a finished model.
    workspace : str, optional
        URL prefix under which `embeddings/<id>` is made; by default the model's own.
    labels : str, optional
        URL of a Zarr array of n labels: they colour the map and are what label accuracy is measured by.
    target : str, optional
        A place where readers always find the newest version; this embedding becomes it.
    salt : str, optional
        Anything that makes this request differ from an equal one.

    Returns
    -------
    Stage
        Its `url` is the embedding's place: `embedding`, `map.png`, `report.html`.

    Raises
    ------
    InputError
        Before any work, when the rows do not fit the encoder or the target is a stranger's.
    """
    parameters, source, model = parameters or EmbeddingParameters(), urls.absolute(source), urls.absolute(model)
    facts = model_store.read_model(model)
    model_store.check_rows(source, facts)
    if target:
        targets.check_target(target)
    place = _place(source, model, workspace, parameters, labels, salt)
    stage = run_stage("write_embedding", place, [source, model], partial(_write, source, model, place, parameters, labels))
    if target:
        stage.manifest["version"] = targets.publish(urls.absolute(target), place, {"source": source, "model": model})["version"]
    return stage


def _place(
    source: str, model: str, workspace: str | None, parameters: EmbeddingParameters, labels: str | None, salt: str | None
) -> str:
    root = urls.absolute(workspace) if workspace else model.rsplit("/", 2)[0]
    data = fingerprints.fingerprint_source(source)
    seen = [fingerprints.fingerprint_tree(url) for url in (labels, parameters.texts) if url]
    name = fingerprints.request_id(
        "embedding", model=model, source=data, seen=seen, parameters=parameters.model_dump(), salt=salt
    )
    return urls.join(root, "embeddings", name)


def _write(source: str, model: str, place: str, parameters: EmbeddingParameters, labels: str | None) -> dict[str, Any]:
    from pumascale.tasks.embedding.encode import encode
    from pumascale.tasks.embedding.networks import load_encoder

    started = time.perf_counter()
    facts = model_store.read_model(model)
    summary = encode(
        source,
        load_encoder(model),
        urls.join(place, "embedding"),
        row_shape=tuple(facts["row_shape"]),
        n_components=facts["n_components"],
        batch_size=parameters.batch_size,
        non_finite=parameters.non_finite,
        attributes={"source": source, "model": model},
        on_progress=Progress("write_embedding"),
    )
    summary |= {"source": source, "model": model, "n_components": facts["n_components"]}
    summary["quality"] = _measure(source, model, place, labels, facts)
    summary |= {"seconds": time.perf_counter() - started, "parameters": parameters.model_dump()}
    _report(source, model, place, parameters, labels, summary)
    return manifests.commit(place, summary)
