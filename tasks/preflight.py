"""Everything that can be refused is refused here, before a machine starts to work.

The one file that looks into every task's room, and only at its `checks`.
"""

from pumascale.tasks.appended import Appended, find_appended
from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.recipe import read_recipe
from pumascale.tasks.storage import arrays, model_store, probes, targets, urls


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


def preflight_update(
    source: str,
    model: str,
    target: str,
    workspace: str | None,
    labels: str | None,
    retrain_above: float | None,
    force: bool,
) -> Appended:
    """Check an update as a whole, and find what it has to do.

    Raises
    ------
    InputError
        With what came, what was expected and what to change; nothing is written then.
    """
    since = find_appended(source, model, target, force)
    if labels:
        arrays.check_labels(urls.absolute(source), labels)
    if retrain_above is not None:
        read_recipe(since.model)  # refused now rather than on the night when it is needed
    probes.check_workspace(urls.absolute(workspace or model_store.workspace_of(model)))
    return since
