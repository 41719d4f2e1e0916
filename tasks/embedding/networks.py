"""Trained networks as plain functions of NumPy arrays. Keras is imported when the first one is loaded, not before."""

import contextlib
import importlib
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.embedding.blocks import Network
from pumascale.tasks.storage import manifests, model_store, urls
from pumascale.tasks.storage.errors import InputError


def load_encoder(model: str) -> Network:
    """The encoder of the model at `model`: float32 (m, *row_shape) to float32 (m, n_components)."""
    return load_network(urls.join(model, "encoder.keras"))


def encoder_on_workers(model: str) -> Network:
    """The encoder of the model at `model`, loaded in the process that uses it: what travels is the URL."""
    return partial(_encode, model)


def _encode(model: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return _loaded_encoder(model)(rows)


@lru_cache(maxsize=1)  # a worker outlives a run, and the next one may come with another model
def _loaded_encoder(model: str) -> Network:
    return load_encoder(model)


def load_decoder(model: str) -> Network:
    """The decoder of the model at `model`; InputError when it was trained without one."""
    model_store.check_decoder(model)
    return load_network(urls.join(model, "decoder.keras"))


def load_network(url: str) -> Network:
    """The `.keras` object `url` as a function from float32 arrays to float32 arrays.

    Modules that `model.json` beside it lists under "modules" are imported before: they register custom layers.

    Raises
    ------
    InputError
        When there is no such object, or Keras cannot read it.
    """
    data = urls.read_bytes(url)
    if data is None:
        raise InputError(f"No Keras model at {url}. Expected a .keras file: check the URL, or train it first.")
    facts = manifests.read_json(urls.join(url.rpartition("/")[0], "model.json")) or {}
    for module in facts.get("modules", ()):
        with contextlib.suppress(ImportError):  # where it is needed, Keras says what is missing
            importlib.import_module(module)
    model = _load_keras(url, data)

    def network(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(rows), np.float32)

    return network


def _load_keras(url: str, data: bytes) -> Any:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        file.write_bytes(data)
        try:
            return keras.saving.load_model(file, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise InputError(f"{url} cannot be read as a Keras model: {error}") from error
