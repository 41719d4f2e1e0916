"""What build_graph refuses before any work."""

from pumascale.tasks.graph import memory, metrics
from pumascale.tasks.graph.plan import make_plan
from pumascale.tasks.graph.target import CATEGORICAL, open_target
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import finite, precision, sources, urls
from pumascale.tasks.storage.errors import InputError


def check(source: str, parameters: GraphParameters) -> None:
    """Refuse a source or parameters that no graph can be built from.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    n_rows, *row_shape = sources.open_source(source).shape
    metrics.check_metric(parameters.metric)
    metrics.check_arguments(parameters.metric, parameters.metric_kwds, tuple(row_shape))
    _check_rows(source, n_rows, parameters.n_neighbors)
    precision.check_precision(source)
    _check_partitions(n_rows, parameters)
    if parameters.precomputed_knn:
        _check_precomputed(parameters.precomputed_knn, n_rows, parameters.n_neighbors)
    if parameters.unique and parameters.precomputed_knn:
        raise InputError(
            "graph.unique=true came with graph.precomputed_knn, whose neighbours include the equal rows. "
            "Expected one of them: drop graph.unique, or let the neighbours be computed."
        )
    if parameters.labels:
        _check_target(source, parameters.labels, n_rows, parameters)


def check_rows(source: str, parameters: GraphParameters) -> None:
    """Read all rows, and refuse what the build would stop at: NaN and inf, and what the metric has no meaning for.

    Raises
    ------
    InputError
        With how many rows have NaN or inf, or a value that came and what the metric takes.
    """
    if parameters.non_finite == "error":
        finite.check_finite(source)
    if parameters.metric not in metrics.BINARY | metrics.NON_NEGATIVE or parameters.precomputed_knn:
        return
    for _, block in finite.read_blocks(sources.open_source(source)):
        metrics.check_values(parameters.metric, block[finite.finite_rows(block)], source)


def check_memory(source: str, parameters: GraphParameters, worker_memory: int | None) -> None:
    """Refuse workers with too little memory for the smallest partition, or for those that were asked for.

    Raises
    ------
    InputError
        With the least memory per worker that works.
    """
    if worker_memory is None:
        return
    plan = make_plan(source, "", parameters, worker_memory)
    asked = parameters.partition_rows or (parameters.n_partitions and plan.n_rows * plan.overlap // plan.n_partitions)
    n_rows = min(asked or 4 * parameters.n_neighbors, plan.n_rows)
    needed = memory.projected_peak(
        n_rows, plan.block_rows, plan.n_features, parameters.n_neighbors, plan.overlap, parameters.metric
    )
    if worker_memory < needed / memory.SAFE_SHARE:
        raise InputError(
            f"A worker has {worker_memory / 2**20:.1f} MiB of memory, too little for a partition of {n_rows} rows of "
            f"{source}. Expected at least {needed / memory.SAFE_SHARE / 2**30:.1f} GiB: raise compute.memory_limit, "
            "take fewer workers (compute.n_workers), or smaller partitions (graph.partition_rows)."
        )


def _check_rows(source: str, n_rows: int, n_neighbors: int) -> None:
    if n_rows < n_neighbors + 1:
        raise InputError(
            f"{source} has {n_rows} rows, too few for graph.n_neighbors={n_neighbors}. "
            f"Expected at least {n_neighbors + 1} rows, or a smaller graph.n_neighbors."
        )


def _check_partitions(n_rows: int, parameters: GraphParameters) -> None:
    least = 4 * parameters.n_neighbors
    if parameters.partition_rows is not None and parameters.partition_rows < least:
        raise InputError(
            f"graph.partition_rows={parameters.partition_rows} is too small for graph.n_neighbors="
            f"{parameters.n_neighbors}: most neighbours would lie elsewhere. Expected at least {least}."
        )
    if parameters.n_partitions is not None and parameters.n_partitions * least > max(n_rows, least) * 2:
        raise InputError(
            f"graph.n_partitions={parameters.n_partitions} leaves few of the {n_rows} rows to each. "
            f"Expected at most {max(1, 2 * n_rows // least)}."
        )


def _check_precomputed(url: str, n_rows: int, n_neighbors: int) -> None:
    shapes = {name: sources.open_source(urls.join(url, name)).shape for name in ("indices", "distances")}
    for name, shape in shapes.items():
        if len(shape) != 2 or shape[0] != n_rows or shape[1] < n_neighbors - 1 or shape != shapes["indices"]:
            raise InputError(
                f"graph.precomputed_knn: {url}/{name} has shape {shape}. Expected ({n_rows}, {n_neighbors}) with each "
                f"row itself in column 0, or ({n_rows}, {n_neighbors - 1}) and more without it, the same for both."
            )


def _check_target(source: str, labels: str, n_rows: int, parameters: GraphParameters) -> None:
    if parameters.target_metric == CATEGORICAL:
        sources.check_labels(source, labels)
        return
    metrics.check_metric(parameters.target_metric, "graph.target_metric", also=(CATEGORICAL,))
    if parameters.target_n_neighbors in (0, 1):
        raise InputError(f"graph.target_n_neighbors={parameters.target_n_neighbors}: expected -1, or 2 and more.")
    array = open_target(parameters)
    if array.shape[0] != n_rows or array.dtype.kind not in "fiu":
        raise InputError(
            f"graph.labels: {labels} has shape {array.shape} and dtype {array.dtype}. graph.target_metric="
            f"{parameters.target_metric!r} compares numbers: expected {n_rows} rows of them, one per row of {source}, "
            "or graph.target_metric=categorical."
        )
