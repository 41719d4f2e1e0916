"""The training room's text for what users bring: an import path, a Keras config, or a URL. Known without Keras."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage.errors import InputError

Spec = str | dict[str, Any]


def brought(parameters: TrainingParameters) -> list[Any]:
    """What the user may bring of his own: networks, optimizer, losses, callbacks."""
    return [
        parameters.encoder,
        parameters.decoder,
        parameters.optimizer,
        parameters.landmark_loss_fn,
        parameters.parametric_reconstruction_loss_fcn,
        *parameters.callbacks,
    ]


def code_brought(parameters: TrainingParameters) -> list[bytes]:
    """The file of each module that is named by an import path, a callback's `class_name` included."""
    named = [spec for spec in brought(parameters) if spec is not None]
    configs = [as_config(spec) for spec in named]
    named += [config.get("class_name") for config in configs if config is not None]
    found = [importlib.util.find_spec(path.partition(":")[0]) for path in named if is_import_path(path)]
    return [Path(spec.origin).read_bytes() for spec in found if spec is not None and spec.has_location and spec.origin]


def is_import_path(spec: Spec) -> bool:
    """Whether `spec` reads `package.module:name`."""
    return isinstance(spec, str) and spec.count(":") == 1 and all(part.isidentifier() for part in _words(spec))


def _words(path: str) -> list[str]:
    module, _, name = path.partition(":")
    return [*module.split("."), name]


def import_object(path: str) -> Any:
    """What `package.module:name` names."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"{path!r}: the module {module_name!r} cannot be imported ({error}). Expected one that is installed, "
            "in the folder of the command, or on PYTHONPATH: correct the path."
        ) from error
    if not hasattr(module, name):
        raise InputError(f"{path!r}: the module {module_name!r} has no {name!r}. Expected 'package.module:function'.")
    return getattr(module, name)


def as_config(spec: Spec) -> dict[str, Any] | None:
    """`spec` as a Keras config, or None when it is text of another kind."""
    if isinstance(spec, dict):
        return spec
    if not spec.lstrip().startswith("{"):
        return None
    try:
        return dict(json.loads(spec))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{spec!r} is no JSON ({error}). Expected a Keras config: {{'class_name', 'config'}}."
        ) from error
