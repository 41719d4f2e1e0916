"""What build_graph refuses before any work."""

from pumascale.tasks.graph import metrics
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError


def check(source: str, parameters: GraphParameters) -> None:
    """Refuse a source or parameters that no graph can be built from.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    n_rows = arrays.open_source(source).shape[0]
    metrics.check_metric(parameters.metric)
    if n_rows < parameters.n_neighbors + 1:
        raise InputError(
            f"{source} has {n_rows} rows, too few for graph.n_neighbors={parameters.n_neighbors}. "
            f"Expected at least {parameters.n_neighbors + 1} rows, or a smaller graph.n_neighbors."
        )
