"""The training room's reading of what users bring: networks, optimizers, losses, callbacks, as text for a form.

A Keras config (a dict, or its JSON text), an import path `package.module:function`, or the URL of a `.keras` file.
Each is tried before any work, and the message says which part cannot be used.
"""

import copy
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pumascale.tasks.storage.errors import InputError, nearest_name
from pumascale.tasks.training import artefact
from pumascale.tasks.training.specs import Spec, as_config, import_object, is_import_path


def build_network(role: str, spec: Spec, arguments: tuple[Any, ...]) -> keras.Model:
    """The encoder or decoder (`role`) that `spec` brings.

    Raises
    ------
    InputError
        When it cannot be imported, called, read or found.
    """
    config = as_config(spec)
    if config is not None:
        return _deserialized(role, keras.saving.deserialize_keras_object, config)
    if is_import_path(spec):
        return _called(role, str(spec), arguments)
    if str(spec).endswith(".keras"):
        return artefact.load_network(str(spec))
    raise InputError(
        f"training.{role}={spec!r} is not known. Expected a built-in name, 'package.module:function', "
        "the URL of a .keras file, or a Keras config."
    )


def _called(role: str, path: str, arguments: tuple[Any, ...]) -> keras.Model:
    make = import_object(path)
    try:
        network = make(*arguments)
    except Exception as error:  # whatever the user's function raises
        raise InputError(
            f"training.{role}={path!r} failed when called with the row shape and n_components, {arguments} "
            f"({type(error).__name__}: {error}). Correct it."
        ) from error
    if not isinstance(network, keras.Model):
        raise InputError(f"training.{role}={path!r} returned a {type(network).__name__}. Expected a keras.Model.")
    return network


def _named(role: str, module: Any, name: Spec) -> Any:
    """What `module`, keras.optimizers or keras.losses, knows by that name."""
    try:
        return module.get(name)
    except ValueError as error:
        known = [word for known in dir(module) if known[0] != "_" for word in {known, known.lower()}]
        raise InputError(
            f"training.{role}={name!r}: Keras knows no such name.{nearest_name(str(name), known)} "
            f"Expected one of {module.__name__.removesuffix('.api')}, a Keras config, or 'package.module:function'."
        ) from error


def _deserialized(role: str, read: Callable[..., Any], config: Spec) -> Any:
    try:
        return read(copy.deepcopy(config))  # Keras takes a config apart
    except Exception as error:  # Keras raises what the layers' constructors do
        raise InputError(
            f"training.{role}: Keras cannot read this config ({error}). Write it with `to_json()`."
        ) from error


def check_network(role: str, network: keras.Model, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
    """Refuse a network that does not take `input_shape` to finite values of `output_shape`.

    Raises
    ------
    InputError
        With both shapes.
    """
    if isinstance(network, keras.Sequential) and not network.built:
        network.build((None, *input_shape))
    if not hasattr(network, "input_shape"):
        raise InputError(
            f"training.{role} is a {type(network).__name__}, a model of one's own class, whose input Keras does not "
            "know. Make a functional one of it: keras.Model(inputs, network(inputs)), with inputs=keras.Input(shape)."
        )
    takes = tuple(network.input_shape[1:])
    if not _fits(takes, input_shape):
        raise InputError(
            f"training.{role} takes inputs of shape {takes}, but {input_shape} is what it gets. Change its Input, "
            "or put a Reshape layer first."
        )
    sample = np.random.default_rng(0).random((4, *input_shape)).astype(np.float32)
    result = keras.ops.convert_to_numpy(network(sample))
    if result.shape[1:] != output_shape:
        raise InputError(
            f"training.{role} gives outputs of shape {result.shape[1:]}, but {output_shape} is expected: "
            "change its last layer."
        )
    if not np.isfinite(result.astype(np.float32)).all():
        raise InputError(f"training.{role} gives values that are not finite on rows within [0, 1]. Check its layers.")


def _fits(takes: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Whether an Input of shape `takes` takes `shape`: None is any size."""
    return len(takes) == len(shape) and all(size in (None, given) for size, given in zip(takes, shape, strict=True))


def build_optimizer(spec: Spec | None, learning_rate: float) -> keras.optimizers.Optimizer:
    """The optimizer that `spec` names; None gives umap-learn's, Adam with clipvalue 4."""
    if spec is None:
        return keras.optimizers.Adam(learning_rate, clipvalue=4.0)
    if is_import_path(spec):
        return _made("optimizer", str(spec), keras.optimizers.Optimizer)
    config = as_config(spec)
    if config is None:
        return _named("optimizer", keras.optimizers, spec)
    return _deserialized("optimizer", keras.optimizers.get, _with_schedule(config))


def _with_schedule(config: dict[str, Any]) -> dict[str, Any]:
    """Keras looks a short optimizer name up by itself, but not a short schedule name."""
    arguments = dict(config.get("config", {}))
    rate = arguments.get("learning_rate")
    if isinstance(rate, dict):
        arguments["learning_rate"] = {"module": "keras.optimizers.schedules", "registered_name": None} | rate
    return config | {"config": arguments}


def build_loss(role: str, spec: Spec) -> Callable[[Any, Any], Any]:
    """The loss function of (wanted, given) that `spec` names."""
    if is_import_path(spec):
        return import_object(str(spec))  # type: ignore[no-any-return]
    config = as_config(spec)
    if config is None:
        return _named(role, keras.losses, spec)  # type: ignore[no-any-return]
    return _deserialized(role, keras.losses.get, config)  # type: ignore[no-any-return]


def build_callback(spec: Spec) -> keras.callbacks.Callback:
    """A callback from its config (`class_name` of keras.callbacks, `config` its arguments) or its import path."""
    config = as_config(spec) or {"class_name": spec}
    name, arguments = str(config.get("class_name")), config.get("config", {})
    if not is_import_path(name) and not hasattr(keras.callbacks, name):
        raise InputError(f"training.callbacks: keras.callbacks has no {name!r}. Expected one of its classes.")
    path = name if is_import_path(name) else f"keras.callbacks:{name}"
    return _made("callbacks", path, keras.callbacks.Callback, **arguments)


def _made(role: str, path: str, kind: type, /, **arguments: Any) -> Any:
    """What `path` makes of `arguments`, checked to be a `kind`."""
    make = import_object(path)
    try:
        made = make(**arguments)
    except Exception as error:  # whatever it raises
        raise InputError(f"training.{role}: {path} cannot be made from {arguments}: {error}") from error
    if not isinstance(made, kind):
        raise InputError(f"training.{role}: {path} gives a {type(made).__name__}. Expected a keras {kind.__name__}.")
    return made
