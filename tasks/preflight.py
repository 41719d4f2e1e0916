"""Everything that can be refused is refused here, before a machine starts to work.

The one file that looks into every task's room, and only at its `checks`.
"""

from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays, probes, targets, urls
from pumascale.tasks.storage.errors import InputError


def preflight(
    source: str,
    workspace: str,
    target: str | None,
    labels: str | None,
    graph: GraphParameters,
    training: TrainingParameters,
) -> None:
    """Check a request as a whole.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    from pumascale.tasks.graph import checks as graph_checks
    from pumascale.tasks.training import checks as training_checks

    source = urls.absolute(source)
    graph_checks.check(source, graph)
    training_checks.check(source, training)
    if labels:
        _check_labels(source, urls.absolute(labels))
    if target:
        targets.check_target(urls.absolute(target))
    probes.check_workspace(urls.absolute(workspace))


def _check_labels(source: str, labels: str) -> None:
    n_rows, n_labels = arrays.open_source(source).shape[0], arrays.open_labels(labels).shape[0]
    if n_rows != n_labels:
        raise InputError(f"{labels} has {n_labels} labels for {n_rows} rows. Expected one label per row.")
