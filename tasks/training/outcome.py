"""The training room's outcome: what a training leaves, as a manifest and as the objects of the artefact."""

import importlib.metadata
from dataclasses import asdict, dataclass
from typing import Any

import keras

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import lease, urls
from pumascale.tasks.training import artefact
from pumascale.tasks.training.devices import n_devices
from pumascale.tasks.training.networks import Networks
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.specs import is_import_path
from pumascale.tasks.training.stream import is_resident

History = dict[str, list[float]]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves besides the networks' weights."""

    history: History  # per report
    best_epoch: int  # the report whose weights are kept
    steps: int  # of the optimizer, or epochs of the layout
    non_finite_step: int | None  # where the loss stopped being finite
    seconds: float


def one_after_another(first: History, second: History) -> History:
    """The reports of two stages as one history, with None where a stage has no such value."""
    missing: list[list[Any]] = [[None] * max(map(len, stage.values()), default=0) for stage in (first, second)]
    return {name: [*first.get(name, missing[0]), *second.get(name, missing[1])] for name in first | second}


def describe(problem: Problem, outcome: Outcome, parameters: TrainingParameters) -> dict[str, Any]:
    """The manifest of a training."""
    history = outcome.history
    return asdict(outcome) | {
        "n_rows": problem.n_rows,
        "n_held_out": len(problem.held_out),
        "n_components": parameters.n_components,
        "streamed": problem.n_reports > 0 and not is_resident(problem),
        "n_training_edges": problem.n_training_edges,
        "n_edges": outcome.steps * parameters.batch_size if problem.n_reports else 0,
        "best_val_loss": history["val_loss"][outcome.best_epoch] if "val_loss" in history else None,
        "stopped_epoch": len(history.get("loss") or history["reconstruction"]),
        "n_reports": problem.n_reports,
        "history": {name: values[-5:] for name, values in history.items()},
        "backend": keras.backend.backend(),
        "n_devices": n_devices(),
        "keras": importlib.metadata.version("keras"),
        "parameters": parameters.model_dump(mode="json"),
    }


def save(
    place: str,
    networks: Networks,
    problem: Problem,
    manifest: dict[str, Any],
    history: dict[str, list[float]],
    graph: str,
) -> None:
    """Write the objects of the artefact, unless another run has taken its place over: what that one made stays."""
    lease.check_held(place)
    artefact.save_network(urls.join(place, "encoder.keras"), networks.encoder)
    if networks.decoder is not None:
        artefact.save_network(urls.join(place, "decoder.keras"), networks.decoder)
    artefact.save_ids(urls.join(place, "held_out.npy"), problem.held_out)
    artefact.save_json(urls.join(place, "history.json"), history)
    content = manifest | {
        "schema_version": artefact.SCHEMA_VERSION,
        "row_shape": problem.source.shape[1:],
        "parametric": problem.is_parametric,
        "modules": modules_of(manifest["parameters"]),
    }
    artefact.save_json(urls.join(place, "model.json"), content | {"metric": problem.metric, "graph": graph})


def modules_of(parameters: dict[str, Any]) -> list[str]:
    """The modules that register the networks' layers: the room's, the user's, and those of the model gone on from."""
    brought = {
        parameters[role].partition(":")[0] for role in ("encoder", "decoder") if is_import_path(parameters[role])
    }
    before = artefact.load_model_json(parameters["warm_start"])["modules"] if parameters["warm_start"] else []
    return sorted({*artefact.MODULES, *brought, *before})
