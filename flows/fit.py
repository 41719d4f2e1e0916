"""Train a model on a Zarr array: its URL is what `transform` takes, tonight and every night after."""

from typing import Any

from prefect import flow

from pumascale.flows.fit_transform import DEFAULT_COMPUTE, DEFAULT_GRAPH, DEFAULT_TRAINING
from pumascale.tasks.anew import salted
from pumascale.tasks.build_graph import build_graph
from pumascale.tasks.parameters import ComputeParameters, GraphParameters, TrainingParameters
from pumascale.tasks.preflight import preflight
from pumascale.tasks.stage import summarize
from pumascale.tasks.train_encoder import train_encoder


@flow(name="fit")
def fit(
    source: str,
    workspace: str,
    graph: GraphParameters = DEFAULT_GRAPH,
    training: TrainingParameters = DEFAULT_TRAINING,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    force: bool = False,
) -> dict[str, Any]:
    """Build the graph and train the encoder.

    Args:
        source: URL of a Zarr array, rows along axis 0.
        workspace: URL prefix for what the pipeline makes.
        graph: The fuzzy neighbour graph.
        training: The encoder and its training.
        compute: Where the work runs.
        force: Make everything anew, beside what is there.
    """
    preflight(source, workspace, None, None, graph, training, compute=compute)
    with salted(force, workspace) as salt:
        built = build_graph(source, workspace, graph, compute, salt)
        return summarize(built, train_encoder(source, built.url, workspace, training, salt))
