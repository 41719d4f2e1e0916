"""Everything that can be refused is refused here, before a machine starts to work.

The one file that looks into every task's room, and only at its checks. What is cheap to know is asked first: the
graph's checks import pynndescent, which takes seconds.
"""

from pumascale.tasks.appended import Appended, find_appended
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters, GraphParameters, TrainingParameters
from pumascale.tasks.recipe import read_recipe
from pumascale.tasks.storage import exports, finite, model_store, probes, sources, targets, urls
from pumascale.tasks.storage.errors import InputError

SMALL_BYTES = 2**28  # a source up to here is looked through at once; the stage reads a larger one, once


def preflight(
    source: str,
    workspace: str,
    target: str | None,
    labels: str | None,
    graph: GraphParameters,
    training: TrainingParameters,
    embedding: EmbeddingParameters | None = None,
    compute: ComputeParameters | None = None,
) -> None:
    """Check a request as a whole.

    Parameters
    ----------
    embedding, compute : optional
        None where the request has no map, or its graph is built from another machine.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    from pumascale.tasks.training import checks as training_checks

    source = urls.absolute(source)
    _check_map(source, target, labels, embedding)
    if embedding:
        _check_policies(graph, embedding)
    training_checks.check(source, training)
    _check_graph(source, graph, compute)
    probes.check_workspace(urls.absolute(workspace))


def preflight_graph(source: str, workspace: str, graph: GraphParameters, compute: ComputeParameters) -> None:
    """Check the request of a graph alone.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    source = urls.absolute(source)
    sources.open_source(source)
    _check_graph(source, graph, compute)
    probes.check_workspace(urls.absolute(workspace))


def preflight_update(
    source: str,
    model: str,
    target: str,
    workspace: str | None,
    labels: str | None,
    retrain_above: float | None,
    force: bool,
    embedding: EmbeddingParameters,
    compute: ComputeParameters,
) -> Appended:
    """Check an update as a whole, and find what it has to do.

    Raises
    ------
    InputError
        With what came, what was expected and what to change; nothing is written then.
    """
    probes.check_reachable(urls.absolute(model))
    since = find_appended(source, model, target, force)
    _check_map(urls.absolute(source), target, labels, embedding)
    _check_values(urls.absolute(source), embedding)
    if retrain_above is None:
        _check_compute(compute)
    else:
        _check_recipe(urls.absolute(source), since, compute)
    _check_workspace(workspace, model)
    return since


def preflight_transform(
    source: str,
    model: str,
    target: str | None,
    workspace: str | None,
    labels: str | None,
    embedding: EmbeddingParameters,
    compute: ComputeParameters,
) -> None:
    """Check a transform as a whole.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    source, model = urls.absolute(source), urls.absolute(model)
    probes.check_reachable(model)
    model_store.check_rows(source, model_store.read_model(model))
    _check_map(source, target, labels, embedding)
    _check_values(source, embedding)
    _check_compute(compute)
    _check_workspace(workspace, model)


def preflight_inverse(coordinates: str, model: str, workspace: str | None) -> None:
    """Check an inverse transform as a whole.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    model = urls.absolute(model)
    probes.check_reachable(model)
    model_store.check_coordinates(urls.absolute(coordinates), model)
    _check_workspace(workspace, model)


def preflight_export(map_url: str, place: str, to: str, labels: str | None) -> None:
    """Check what can be known of an export: that there is a map, labels for it, and a place that may be written.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    for url in (map_url, place):
        probes.check_reachable(urls.absolute(url))
    embedding, place = urls.join(targets.find_map(map_url), "embedding"), urls.absolute(place)
    if to == "anndata":
        from pumascale.tasks.embedding import anndata

        anndata.check_store(embedding, place, labels)
        return
    exports.check_place(place, to)
    if labels:
        sources.check_labels(embedding, labels)


def preflight_export_model(model: str, place: str, to: str, network: str) -> None:
    """Check what can be known of a network's export: that there is such a network, and a place that may be written.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    for url in (model, place):
        probes.check_reachable(urls.absolute(url))
    model_store.read_model(urls.absolute(model))
    if network == "decoder":
        model_store.check_decoder(urls.absolute(model))
    exports.check_place(urls.absolute(place), to)


def _check_recipe(source: str, since: Appended, compute: ComputeParameters) -> None:
    """Refuse now what would be refused on the night when the model has to be made anew."""
    from pumascale.tasks.training import checks as training_checks

    graph, training, _ = read_recipe(since.model)
    if since.previous is not None:  # its places are the landmarks then
        training = training.model_copy(update={"landmark_positions": None, "monitor": "val_loss"})
    training_checks.check(source, training)
    _check_graph(source, graph, compute)


def _check_workspace(workspace: str | None, model: str) -> None:
    probes.check_workspace(urls.absolute(workspace or model_store.workspace_of(model)))


def _check_map(source: str, target: str | None, labels: str | None, embedding: EmbeddingParameters | None) -> None:
    sources.open_source(source)
    for url in (labels, embedding and embedding.texts):
        if url:
            sources.check_labels(source, url)
    if target:
        targets.check_target(urls.absolute(target))
        probes.check_workspace(urls.absolute(target))


def _check_values(source: str, embedding: EmbeddingParameters) -> None:
    if embedding.non_finite == "error" and sources.open_source(source).nbytes <= SMALL_BYTES:
        finite.check_finite(source)


def _check_policies(graph: GraphParameters, embedding: EmbeddingParameters) -> None:
    if graph.non_finite == "skip" and embedding.non_finite == "error":
        raise InputError(
            "graph.non_finite=skip came with embedding.non_finite=error: the graph would go on without rows of NaN or "
            "inf, and the map would stop at them. Expected embedding.non_finite=nan as well, or neither."
        )


def _check_graph(source: str, graph: GraphParameters, compute: ComputeParameters | None) -> None:
    from pumascale.tasks.graph import checks

    checks.check(source, graph)
    if sources.open_source(source).nbytes <= SMALL_BYTES:
        checks.check_rows(source, graph)
    if compute:
        checks.check_memory(source, graph, _check_compute(compute))


def _check_compute(compute: ComputeParameters) -> int | None:
    """Bytes per worker, where the parameters say so."""
    from pumascale.tasks.compute import cluster

    cluster.check_cluster(compute)
    return cluster.asked_memory(compute)
