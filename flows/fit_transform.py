"""The main job: from a Zarr array to a published map.

source.zarr --build_graph--> graph --train_encoder--> model --write_embedding--> embedding
"""

from typing import Any

from prefect import flow

from pumascale.tasks.anew import salted
from pumascale.tasks.build_graph import build_graph
from pumascale.tasks.parameters import ComputeParameters, EmbeddingParameters, GraphParameters, TrainingParameters
from pumascale.tasks.preflight import preflight
from pumascale.tasks.stage import summarize
from pumascale.tasks.train_encoder import train_encoder
from pumascale.tasks.write_embedding import write_embedding

DEFAULT_GRAPH = GraphParameters()
DEFAULT_TRAINING = TrainingParameters()
DEFAULT_EMBEDDING = EmbeddingParameters()
DEFAULT_COMPUTE = ComputeParameters()


@flow(name="fit-transform")
def fit_transform(
    source: str,
    workspace: str,
    target: str | None = None,
    labels: str | None = None,
    graph: GraphParameters = DEFAULT_GRAPH,
    training: TrainingParameters = DEFAULT_TRAINING,
    embedding: EmbeddingParameters = DEFAULT_EMBEDDING,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    force: bool = False,
) -> dict[str, Any]:
    """Build the graph, train the encoder, write the map. What an earlier run finished is not done again.

    Args:
        source: URL of a Zarr array, rows along axis 0.
        workspace: URL prefix for what the pipeline makes: graphs, models, embeddings.
        target: A place where readers always find the newest finished map.
        labels: URL of a Zarr array of labels that colour the map and measure it.
        graph: The fuzzy neighbour graph.
        training: The encoder and its training.
        embedding: Placing the rows.
        compute: Where the work runs.
        force: Make everything anew, beside what is there.
    """
    preflight(source, workspace, target, labels, graph, training, embedding, compute)
    with salted(force, workspace) as salt:
        built = build_graph(source, workspace, graph, compute, salt)
        trained = train_encoder(source, built.url, workspace, training, salt)
        workers = compute.for_placing(built.manifest["n_rows"])
        written = write_embedding(source, trained.url, workspace, embedding, labels, target, salt, compute=workers)
        return summarize(built, trained, written)
