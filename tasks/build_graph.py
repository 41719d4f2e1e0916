"""Door: the fuzzy neighbour graph of a Zarr array.

source.zarr --build_graph--> <workspace>/graphs/<id>
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pumascale.tasks.parameters import ComputeParameters, GraphParameters
from pumascale.tasks.run_page import Progress, publish_markdown
from pumascale.tasks.stage import Stage, costs, run_stage
from pumascale.tasks.storage import fingerprints, manifests, sources, urls
from pumascale.tasks.storage.errors import ValuesError


def build_graph(
    source: str,
    workspace: str,
    parameters: GraphParameters | None = None,
    compute: ComputeParameters | None = None,
    salt: str | None = None,
) -> Stage:
    """Build the graph of the rows of `source`, or find the one that the same request built before.

    Parameters
    ----------
    source : str
        URL of a Zarr array, rows along axis 0.
    workspace : str
        URL prefix under which `graphs/<id>` is made.
    salt : str, optional
        Anything that makes this request differ from an equal one: the graph is built anew, beside the old one.

    Returns
    -------
    Stage
        Its `url` is the graph's place, its `manifest` says rows, edges, and the measured recall.

    Raises
    ------
    InputError
        Before any work, when the source or a parameter cannot be used.
    """
    from pumascale.tasks.graph import checks

    parameters, source = parameters or GraphParameters(), urls.absolute(source)
    checks.check(source, parameters)
    place = graph_place(source, workspace, parameters, salt)
    work = partial(_build, source, place, parameters, compute or ComputeParameters())
    return run_stage("build_graph", place, [source], work)


def graph_place(source: str, workspace: str, parameters: GraphParameters, salt: str | None = None) -> str:
    """Where the graph of this request is, or will be."""
    brought = (parameters.precomputed_knn, parameters.labels)
    content = [url and fingerprints.fingerprint_tree(url) for url in brought]
    data = fingerprints.fingerprint_source(source)
    name = fingerprints.request_id("graph", source=data, content=content, parameters=parameters.model_dump(), salt=salt)
    return urls.join(urls.absolute(workspace), "graphs", name)


@contextmanager
def _leaving_none(place: str) -> Iterator[None]:
    """Inside, rows that would stop every later run leave nothing behind; they are met once work has begun."""
    try:
        yield
    except ValuesError:
        urls.remove_tree(place)
        raise


def _build(source: str, place: str, parameters: GraphParameters, compute: ComputeParameters) -> dict[str, Any]:
    from pumascale.tasks.compute.bounded_map import bounded_map
    from pumascale.tasks.compute.cluster import (
        CORES_PER_WORKER,
        largest_peak,
        open_client,
        worker_memory,
        workers_per_host,
    )
    from pumascale.tasks.compute.performance import write_performance_report
    from pumascale.tasks.graph import checks, pipeline
    from pumascale.tasks.graph.plan import is_shared_out
    from pumascale.tasks.report.tables import headline, stage_table

    started = time.perf_counter()
    page = urls.join(place, "dask-report.html") if compute.performance_report else None
    cores = 1 if is_shared_out(sources.open_source(source).shape[0], parameters) else CORES_PER_WORKER
    with _leaving_none(place), open_client(compute, cores) as client, write_performance_report(client, page):
        run, memory = partial(bounded_map, client), worker_memory(client)
        checks.check_memory(source, parameters, memory)
        summary = pipeline.build(
            source, place, parameters, run=run, worker_memory=memory, n_workers=workers_per_host(client),
            on_progress=Progress("build_graph"),
        )  # fmt: skip
        work = {"peak_memory_of_worker": largest_peak(client)} | ({"performance_report": page} if page else {})
    origin = {"source": source, "parameters": parameters.model_dump()}
    manifest = manifests.commit(place, summary | origin | costs(started, place, source) | work)
    first = headline(manifest, "n_rows", "n_edges", "knn_recall", "seconds")
    publish_markdown("build-graph", stage_table("build_graph", manifest), first)
    return manifest
