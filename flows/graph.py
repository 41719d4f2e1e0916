"""The neighbour graph alone, for a machine of its own: `split` runs it where the CPUs are."""

from typing import Any

from prefect import flow

from pumascale.flows.fit_transform import DEFAULT_COMPUTE, DEFAULT_GRAPH
from pumascale.tasks.anew import salted
from pumascale.tasks.build_graph import build_graph
from pumascale.tasks.parameters import ComputeParameters, GraphParameters
from pumascale.tasks.preflight import preflight_graph
from pumascale.tasks.stage import summarize


@flow(name="graph")
def graph(
    source: str,
    workspace: str,
    graph: GraphParameters = DEFAULT_GRAPH,
    compute: ComputeParameters = DEFAULT_COMPUTE,
    force: bool = False,
) -> dict[str, Any]:
    """Build the graph; `fit` and `fit-transform` of the same request find it.

    Args:
        source: URL of a Zarr array, rows along axis 0.
        workspace: URL prefix for what the pipeline makes.
        graph: The fuzzy neighbour graph.
        compute: Where the work runs.
        force: Make it anew, beside what is there.
    """
    preflight_graph(source, workspace, graph, compute)
    with salted(force, workspace) as salt:
        return summarize(build_graph(source, workspace, graph, compute, salt))
