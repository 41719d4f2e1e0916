"""The main job on several machines: the graph on CPUs, the training on a GPU, the map on either.

Each stage is a run of a deployment on its own work pool. Nothing is handed from one to the next but the request: what
a stage makes has its place by what was asked for, so the next one finds it there, and so does this flow.
"""

from functools import partial
from typing import Any, cast

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from pumascale.flows.fit_transform import DEFAULT_COMPUTE, DEFAULT_EMBEDDING, DEFAULT_GRAPH, DEFAULT_TRAINING
from pumascale.tasks.build_graph import graph_place
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters, GraphParameters, TrainingParameters
from pumascale.tasks.preflight import preflight
from pumascale.tasks.stage import Stage, stage_elsewhere, summarize
from pumascale.tasks.storage import targets, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.train_encoder import model_place
from pumascale.tasks.write_embedding import embedding_place

POLL_SECONDS = 5  # between two looks at a run that is waited for


@flow(name="split")
def split(
    source: str,
    workspace: str,
    target: str | None = None,
    labels: str | None = None,
    graph: GraphParameters = DEFAULT_GRAPH,
    training: TrainingParameters = DEFAULT_TRAINING,
    embedding: EmbeddingParameters = DEFAULT_EMBEDDING,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    graph_deployment: str = "graph/pumascale",
    fit_deployment: str = "fit/pumascale",
    transform_deployment: str = "transform/pumascale",
) -> dict[str, Any]:
    """Run graph, training and map one after the other, each as a run of its own deployment.

    Args:
        source: URL of a Zarr array, rows along axis 0, that all the machines reach.
        workspace: URL prefix for what the pipeline makes, that all the machines reach.
        target: A place where readers always find the newest finished map.
        labels: URL of a Zarr array of labels that colour the map and measure it.
        graph: The fuzzy neighbour graph.
        training: The encoder and its training.
        embedding: Placing the rows.
        compute: Where the graph's work runs.
        graph_deployment: Flow/deployment that builds the graph.
        fit_deployment: Flow/deployment that trains, such as one on a pool with GPUs.
        transform_deployment: Flow/deployment that writes the map.
    """
    preflight(source, workspace, target, labels, graph, training, embedding)
    check_deployments(graph_deployment, fit_deployment, transform_deployment)
    rows: dict[str, Any] = {"source": source, "workspace": workspace}
    asked = rows | {"graph": graph.model_dump(), "compute": compute.model_dump()}
    built = run_stage_of("build_graph", graph_place(source, workspace, graph), graph_deployment, asked)
    asked |= {"training": training.model_dump()}
    trained = run_stage_of("train_encoder", model_place(built.url, workspace, training), fit_deployment, asked)
    place = embedding_place(source, trained.url, workspace, embedding, labels)
    asked = rows | {"model": trained.url, "target": target, "labels": labels, "embedding": embedding.model_dump()}
    written = run_stage_of("write_embedding", place, transform_deployment, asked)
    version = targets.newest(urls.absolute(target)) if target else None
    return summarize(built, trained, written) | {"version": version and version["version"]}


def check_deployments(*names: str) -> None:
    """Refuse, before any of them runs, deployments that the server does not have."""
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                client.read_deployment_by_name(name)
            except (ObjectNotFound, ValueError):
                raise InputError(
                    f"No deployment {name!r} on this Prefect server. Expected flow/deployment of one that "
                    "`prefect deployment ls` lists; deployments/prefect.yaml has them all."
                ) from None


def run_stage_of(name: str, place: str, deployment: str, parameters: dict[str, Any]) -> Stage:
    """The stage `name` at `place`, made by a run of the deployment."""
    return stage_elsewhere(name, place, partial(run_to_its_end, deployment, parameters))


def run_to_its_end(deployment: str, parameters: dict[str, Any]) -> None:
    """Run a deployment and wait for its end.

    A parent that is tried again looks at the runs of its earlier attempts first, the oldest one first: one that ended
    well is taken, and one that has not ended, or whose dead machine nobody has noticed yet, is waited for. Where none
    of them ends well, it starts one of its own.

    Raises
    ------
    RuntimeError
        When the run did not end well: which one, and what it said.
    """
    ask = partial(run_deployment, deployment, parameters=parameters, poll_interval=POLL_SECONDS)
    for key in keys_of_attempts(deployment):
        ended = cast(FlowRun, ask(idempotency_key=key))
        if ended.state is not None and ended.state.is_completed():
            return
    said = ended.state and (ended.state.message or ended.state.name)
    raise RuntimeError(f"{deployment}: the run {ended.name} ({ended.id}) did not end well: {said}")


def keys_of_attempts(deployment: str) -> list[str]:
    """The keys of the runs that earlier attempts of this parent started, in their order, and that of this attempt."""
    keys = [f"{runtime.flow_run.id}-{deployment}-{attempt}" for attempt in range(1, runtime.flow_run.run_count + 1)]
    with get_client(sync_client=True) as client:
        asked = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=keys[:-1]))
        started = {run.idempotency_key: run for run in client.read_flow_runs(flow_run_filter=asked)}
    for run in started.values():
        get_run_logger().info(
            "%s: an earlier attempt started %s (%s), now %s", deployment, run.name, run.id, run.state_name
        )
    return [key for key in keys if key in started or key == keys[-1]]
