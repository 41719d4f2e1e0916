"""Everything that can be refused is refused here, before a machine starts to work.

The one file that looks into every task's room, and only at its `checks`.
"""

from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays, probes, targets, urls


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
        arrays.check_labels(source, labels)
    if target:
        targets.check_target(urls.absolute(target))
    probes.check_workspace(urls.absolute(workspace))
