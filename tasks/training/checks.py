"""The training room's checks of the input, before any work. Keras (14 s to import) only where a network is brought."""

import importlib.util
import json
import os
from pathlib import Path

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import probes, sources, urls
from pumascale.tasks.storage.errors import InputError, nearest_name
from pumascale.tasks.training.problem import trains_prototypes, uses_prototypes
from pumascale.tasks.training.specs import brought, import_object, is_import_path
from pumascale.tasks.training.splits import n_held_out

LEAST_ROWS = 4
PLAIN_ENCODERS = ("prototypes", "mlp")
PLAIN_SPECS = (None, *PLAIN_ENCODERS, "mean_squared_error")  # known without Keras
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax"}


def check(source: str, parameters: TrainingParameters, n_rows: int | None = None) -> None:
    """Refuse what cannot be trained: `source`'s rows, and what `parameters` ask for.

    Parameters
    ----------
    n_rows : int, optional
        Rows that the graph has seen, the first ones; by default all.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    found = tuple(sources.open_source(source).shape)
    shape = (found[0] if n_rows is None else n_rows, *found[1:])
    if shape[0] < LEAST_ROWS:
        raise InputError(f"{source} has {shape[0]} rows. Training needs at least {LEAST_ROWS}.")
    if not parameters.parametric_embedding and shape != found:
        raise InputError(
            f"{source} has {found[0]} rows and its graph {shape[0]}, and training.parametric_embedding=false learns "
            "the places of the source's own rows only. Build the graph of all of them first."
        )
    check_backend()
    check_choices(parameters)
    check_prototypes(parameters, shape[0])
    check_arrays(parameters, shape)
    check_logs(parameters)
    check_brought(parameters, shape)


def check_backend() -> None:
    """Refuse a Keras backend that is unknown or not installed."""
    name = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if name not in BACKENDS:
        raise InputError(f"KERAS_BACKEND={name!r} is not known. Expected one of {sorted(BACKENDS)}.")
    if importlib.util.find_spec(BACKENDS[name]) is None:
        raise InputError(f"KERAS_BACKEND={name!r} is not installed. Install pumascale[{name}], or choose another.")


def _configured_backend() -> str:
    file = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    return str(json.loads(file.read_text()).get("backend", "tensorflow")) if file.exists() else "tensorflow"


def check_choices(parameters: TrainingParameters) -> None:
    """Refuse choices that exclude each other."""
    _check_curve(parameters)
    _check_effect(parameters)
    if not parameters.parametric_embedding and parameters.parametric_reconstruction:
        raise InputError("parametric_reconstruction needs an encoder. Leave parametric_embedding on.")
    check_monitor(parameters)
    if uses_prototypes(parameters):
        _check_laid_out(parameters)
    elif parameters.n_training_epochs == 0 and not (parameters.warm_start and parameters.parametric_reconstruction):
        raise InputError(
            "training.n_training_epochs=0 leaves nothing to train but the decoder of a finished model: give its URL as "
            "training.warm_start, and parametric_reconstruction=true. Else leave n_training_epochs out."
        )


def _check_curve(parameters: TrainingParameters) -> None:
    """Refuse half a curve, and one that no a and b come near: the map would mean nothing."""
    if (parameters.a is None) != (parameters.b is None):
        raise InputError("Only one of training.a and training.b is given. Give both, or neither.")
    if parameters.a is None and parameters.min_dist > parameters.spread:
        raise InputError(
            f"training.min_dist={parameters.min_dist} is larger than training.spread={parameters.spread}. "
            "Expected at most the spread: lower min_dist, raise spread, or give training.a and training.b."
        )


def _check_effect(parameters: TrainingParameters) -> None:
    """Refuse settings that others leave without effect."""
    if not parameters.parametric_embedding and parameters.encoder != "prototypes":
        raise InputError(
            f"training.encoder={parameters.encoder!r} came with training.parametric_embedding=false, which learns "
            "places and no network. Expected one of them: leave the encoder out, or parametric_embedding on."
        )
    of_a_decoder = {
        "reconstruction_validation": parameters.reconstruction_validation is not None,
        "autoencoder_loss": parameters.autoencoder_loss,
        "decoder": parameters.decoder != "mlp",
    }
    for name, is_set in of_a_decoder.items():
        if is_set and not parameters.parametric_reconstruction:
            raise InputError(
                f"training.{name} is about a decoder, and none is trained. "
                "Give parametric_reconstruction=true as well, or leave it out."
            )


def check_prototypes(parameters: TrainingParameters, n_rows: int) -> None:
    """Refuse more prototypes than trained rows, and a prototype network where another one is asked for."""
    n_trained = n_rows - n_held_out(n_rows, parameters.validation_split)
    if uses_prototypes(parameters) and (parameters.n_prototypes or 0) > n_trained:
        raise InputError(
            f"training.n_prototypes={parameters.n_prototypes} is more than the {n_trained} trained rows. "
            "Expected at most as many: each prototype is one of them."
        )
    if parameters.warm_start is None or parameters.encoder != "mlp" or not parameters.parametric_embedding:
        return
    if urls.read_bytes(urls.join(parameters.warm_start, "encoder.keras")) and trains_prototypes(parameters):
        raise InputError(
            f"training.encoder='mlp' came with training.warm_start={parameters.warm_start}, a prototype network, which "
            "is trained on as it is. Leave the encoder out, or start from another model."
        )


def _check_laid_out(parameters: TrainingParameters) -> None:
    """Refuse what a network that is laid out has no use for."""
    by_gradients = bool(parameters.n_training_epochs)
    needing_gradients = {
        "autoencoder_loss": parameters.autoencoder_loss,
        "global_correlation_loss_weight": parameters.global_correlation_loss_weight > 0,
        "landmark_loss_fn": parameters.landmark_loss_fn is not None,
        "monitor": parameters.monitor != "val_loss",
        "callbacks": parameters.callbacks,
        "optimizer": parameters.optimizer and not parameters.parametric_reconstruction,
    }
    for name, is_set in needing_gradients.items():
        if is_set and not by_gradients:
            raise InputError(
                f"training.{name} has a part in training by gradients, and training.encoder='prototypes' is laid out "
                "instead. Choose encoder='mlp' or your own, or n_training_epochs=1 to go on by gradients."
            )
    if parameters.dtype_policy != "float32":
        raise InputError(
            "training.encoder='prototypes' computes in float32. Leave training.dtype_policy, or choose encoder='mlp'."
        )


def check_monitor(parameters: TrainingParameters) -> None:
    """Refuse a value to watch that no report will hold; a callback of one's own may add any."""
    if any(":" in str(spec) for spec in parameters.callbacks):
        return
    terms = {
        "loss": True,
        "attraction": True,
        "repulsion": True,
        "reconstruction": parameters.parametric_reconstruction,
        "correlation": parameters.global_correlation_loss_weight > 0,
        "landmark": parameters.landmark_positions is not None,
    }
    known = [f"{prefix}{name}" for prefix in ("", "val_") for name, is_there in terms.items() if is_there]
    known += ["reconstruction_validation"] if parameters.reconstruction_validation else []
    if parameters.monitor not in known:
        raise InputError(
            f"training.monitor={parameters.monitor!r} is no value of this training."
            f"{nearest_name(parameters.monitor, known)} Expected one of {', '.join(known)}."
        )


def check_arrays(parameters: TrainingParameters, shape: tuple[int, ...]) -> None:
    """Refuse landmarks and validation rows that do not fit the source's `shape`."""
    if parameters.landmark_positions is not None:
        _check_shape("landmark_positions", parameters.landmark_positions, (shape[0], parameters.n_components))
    if parameters.reconstruction_validation is not None:
        found = sources.open_source(parameters.reconstruction_validation)
        _check_shape("reconstruction_validation", parameters.reconstruction_validation, (found.shape[0], *shape[1:]))


def check_logs(parameters: TrainingParameters) -> None:
    """Refuse logs that cannot be written: a training of hours would end at its first report."""
    if parameters.csv_log is not None:
        if urls.is_local(parameters.csv_log) and urls.local_path(parameters.csv_log).is_dir():
            raise InputError(
                f"training.csv_log={parameters.csv_log} is a folder. Expected the name of a file, "
                f"such as {urls.join(parameters.csv_log, 'losses.csv')}."
            )
        probes.check_workspace(parameters.csv_log.rpartition("/")[0])
    if parameters.tensorboard_log is not None:
        probes.check_workspace(parameters.tensorboard_log)


def _check_shape(name: str, url: str, expected: tuple[int, ...]) -> None:
    found = tuple(sources.open_source(url).shape)
    if found != expected:
        raise InputError(f"training.{name}={url} has shape {found}, but {expected} is expected. Write it anew.")


def check_brought(parameters: TrainingParameters, shape: tuple[int, ...]) -> None:
    """Refuse networks, optimizers, losses and callbacks of the user that cannot be used."""
    if isinstance(parameters.encoder, str) and parameters.encoder.isidentifier():
        _check_name(parameters.encoder)
    for path in filter(is_import_path, brought(parameters)):
        import_object(path)
    if any(spec not in PLAIN_SPECS for spec in brought(parameters)) or parameters.warm_start:
        _build(parameters, shape)


def _check_name(name: str) -> None:
    if name not in PLAIN_ENCODERS:
        raise InputError(
            f"training.encoder={name!r} is not known.{nearest_name(name, PLAIN_ENCODERS)} "
            f"Expected one of {PLAIN_ENCODERS}, 'package.module:function', a .keras URL, or a Keras config."
        )


def _build(parameters: TrainingParameters, shape: tuple[int, ...]) -> None:
    from pumascale.tasks.training import configs
    from pumascale.tasks.training.networks import build_decoder, build_networks

    if not uses_prototypes(parameters):
        build_networks(parameters, shape[1:], shape[0])
    elif parameters.parametric_reconstruction:
        build_decoder(parameters, shape[1:])
    configs.build_optimizer(parameters.optimizer, 1e-3)
    for callback in parameters.callbacks:
        configs.build_callback(callback)
    if parameters.landmark_loss_fn is not None:
        configs.build_loss("landmark_loss_fn", parameters.landmark_loss_fn)
    if parameters.parametric_reconstruction:
        configs.build_loss("parametric_reconstruction_loss_fcn", parameters.parametric_reconstruction_loss_fcn)
