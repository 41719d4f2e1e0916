"""Door: the map, written block by block.

source.zarr + model --write_embedding--> <workspace>/embeddings/<id>/embedding
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pumascale.tasks.appended import Appended
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters
from pumascale.tasks.report_embedding import publish_embedding, report_embedding
from pumascale.tasks.run_page import Progress
from pumascale.tasks.stage import Stage, costs, run_stage
from pumascale.tasks.storage import (
    arrays,
    changes,
    fingerprints,
    manifests,
    model_store,
    sources,
    targets,
    urls,
)
from pumascale.tasks.storage.errors import NonFiniteError
from pumascale.tasks.storage.failures import with_a_store

logger = logging.getLogger("pumascale")


def write_embedding(
    source: str,
    model: str,
    workspace: str | None = None,
    parameters: EmbeddingParameters | None = None,
    labels: str | None = None,
    target: str | None = None,
    salt: str | None = None,
    since: Appended | None = None,
    compute: ComputeParameters | None = None,
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
    since : Appended, optional
        What is new since the newest version of `target`: finished shards of it are taken over, not encoded again.
    compute : ComputeParameters, optional
        Dask workers that place the rows, a shard at a time each; where it asks for none, this process does.

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
    for url in (labels, parameters.texts):
        if url:
            sources.check_labels(source, url)
    if target:
        targets.check_target(target)
    request = _request(source, model, parameters, labels)
    place = _place(request, model, workspace, salt, since)
    work = partial(_write, source, model, place, parameters, labels, request, since, compute)
    stage = run_stage("write_embedding", place, [source, model], work)
    stage.manifest["graph"] = (manifests.read_manifest(model) or {}).get("graph")
    if target:
        facts = {"source": source, "model": model} | _lineage(model, since)
        stage.manifest["version"] = _publish(urls.absolute(target), place, facts, parameters.keep_versions, since)
    return stage


def embedding_place(
    source: str, model: str, workspace: str, parameters: EmbeddingParameters, labels: str | None
) -> str:
    """Where the embedding of this request is, or will be."""
    return _place(_request(urls.absolute(source), model, parameters, labels), model, workspace, None, None)


def _publish(target: str, place: str, facts: dict[str, Any], keep_versions: int | None, since: Appended | None) -> int:
    begun_from = None if since is None else since.previous or ""
    version = with_a_store(target, partial(targets.publish, target, place, facts, begun_from))
    if keep_versions is not None:
        targets.prune(target, keep_versions)
    return int(version["version"])


def _lineage(model: str, since: Appended | None) -> dict[str, str]:
    """What the next update has to know: which model was asked for when this one was retrained."""
    return {"retrained_from": since.asked_model} if since and since.asked_model != model else {}


def _request(source: str, model: str, parameters: EmbeddingParameters, labels: str | None) -> str:
    """The name of this request, made of all that its result depends on."""
    data = fingerprints.fingerprint_source(source)
    seen = [fingerprints.fingerprint_tree(url) for url in (labels, parameters.texts) if url]
    options = parameters.of_the_result()
    return fingerprints.request_id("embedding", model=model, source=data, seen=seen, parameters=options, salt=None)


def _place(request: str, model: str, workspace: str | None, salt: str | None, since: Appended | None) -> str:
    if since and since.previous and salt is None and _read(since.previous, "request") == request:
        return since.previous  # wherever it is: made anew by force, or in another workspace
    root = urls.absolute(workspace or model_store.workspace_of(model))
    name = request if salt is None else fingerprints.request_id("embedding", request=request, salt=salt)
    return urls.join(root, "embeddings", name)


def _read(embedding: str, name: str) -> Any:
    return (manifests.read_manifest(embedding) or {}).get(name)


def _write(
    source: str,
    model: str,
    place: str,
    parameters: EmbeddingParameters,
    labels: str | None,
    request: str,
    since: Appended | None,
    compute: ComputeParameters | None,
) -> dict[str, Any]:
    started, progress = time.perf_counter(), Progress("write_embedding")
    facts = model_store.read_model(model)
    arrays.create_group(place, {"source": source, "model": model})
    record = changes.record_source(source)  # before the rows are read: what changes then is seen
    changes.write_record(place, record)
    embedding, n_rows = urls.join(place, "embedding"), record["n_rows"]  # what is appended from now on is the next's
    update = _adopt(model, embedding, n_rows, since, parameters) if since else {}
    try:
        summary = _encode(source, model, embedding, n_rows, facts, parameters, compute, progress)
    except NonFiniteError:
        urls.remove_tree(place)  # the same rows would stop every later run
        raise
    origin = {"source": source, "model": model, "n_components": facts["n_components"]}
    quality = _measure(source, model, embedding, labels, progress)
    asked = {"parameters": parameters.model_dump()} | costs(started, place, source, model)
    update |= {"movement": _moved(model, embedding, since), "drift": since.drift} if since else {}
    manifest = summary | origin | update | {"request": request, "quality": quality} | asked
    picture = report_embedding(place, model, labels, parameters.texts, manifest)
    manifest = manifests.commit(place, manifest)
    publish_embedding(manifest, picture)
    return manifest


def _encode(
    source: str,
    model: str,
    embedding: str,
    n_rows: int,
    facts: dict[str, Any],
    parameters: EmbeddingParameters,
    compute: ComputeParameters | None,
    progress: Progress,
) -> dict[str, Any]:
    from pumascale.tasks.embedding.encode import encode
    from pumascale.tasks.embedding.networks import encoder_on_workers, load_encoder

    with _workers(compute) as run:
        return encode(
            source,
            load_encoder(model) if run is None else encoder_on_workers(model),
            embedding,
            row_shape=tuple(facts["row_shape"]),
            by_number=not model_store.has_network(facts),
            out_shape=(facts["n_components"],),
            batch_size=parameters.batch_size,
            non_finite=parameters.non_finite,
            attributes={"source": source, "model": model},
            on_progress=progress,
            n_rows=n_rows,
            run=run,
        )


@contextmanager
def _workers(compute: ComputeParameters | None) -> Iterator[Any]:
    """What runs tasks on a cluster; None where this process does the work."""
    if compute is None or compute == ComputeParameters():
        yield None
        return
    from pumascale.tasks.compute.bounded_map import bounded_map
    from pumascale.tasks.compute.cluster import open_client

    with open_client(compute) as client:
        yield partial(bounded_map, client)


def _adopt(model: str, embedding: str, n_rows: int, since: Appended, parameters: EmbeddingParameters) -> dict[str, Any]:
    """Take over what the same model has finished before, of rows that are as they were."""
    from pumascale.tasks.embedding.adopt import adopt_shards

    added = {"rows_added": max(0, n_rows - since.n_rows_before), "rows_adopted": 0}
    if since.previous is None or _read(since.previous, "model") != model:
        return added
    before, keeps_bad = urls.join(since.previous, "embedding"), parameters.non_finite == "nan"
    adopted = adopt_shards(before, embedding, n_rows, since.n_unchanged, non_finite=keeps_bad)
    return added | {"rows_adopted": adopted}


def _moved(model: str, embedding: str, since: Appended) -> dict[str, Any]:
    """How far the rows of the version before are from where they were, when another model placed them."""
    from pumascale.tasks.quality.movement import movement

    if since.previous is None or not since.same_rows or _read(since.previous, "model") == model:
        return {}
    return movement(urls.join(since.previous, "embedding"), embedding)


def _measure(
    source: str, model: str, embedding: str, labels: str | None, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Quality of the map where it shows the rows that the model was trained on; nothing for other rows."""
    from pumascale.tasks.quality.measure import measure

    trained = manifests.read_manifest(model) or {}
    if trained["source_fingerprint"] != fingerprints.fingerprint_source(source):
        return {}
    built = manifests.read_manifest(trained["graph"])
    if built is None:  # a model does without its graph, which is large: its metric alone is missing here
        logger.warning("write_embedding: quality is not measured, since %s is gone", trained["graph"])
        return {}
    metric = {name: built["parameters"][name] for name in ("metric", "metric_kwds")}
    held_out = model_store.read_held_out(model)
    return measure(source, embedding, held_out=held_out, labels=labels, on_progress=on_progress, **metric)
