"""The training room's model artefact: `encoder.keras`, `decoder.keras`, `model.json`, `history.json`, `held_out.npy`.

Nothing in it is a pickle: it opens under another Python and on another backend than those that wrote it. The door
commits it, so what is read here is either whole or refused.
"""

import contextlib
import importlib
import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import model_store, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.model_store import SCHEMA_VERSION as SCHEMA_VERSION

MODULES = ["pumascale.tasks.training.prototypes"]  # they register the layers that a `.keras` file may name


def save_network(url: str, network: keras.Model) -> None:
    """Write a Keras model as the `.keras` object `url`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        network.save(file)
        urls.write_bytes(url, file.read_bytes())


def load_network(url: str, modules: Iterable[str] = MODULES) -> keras.Model:
    """Read the `.keras` object `url`; `modules` register its layers, and where one is missing, Keras says so."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    data = urls.read_bytes(url)
    if data is None:
        raise InputError(f"No Keras model at {url}. Expected a .keras file: check the URL, or train it first.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        file.write_bytes(data)
        try:
            return keras.saving.load_model(file, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise InputError(f"{url} cannot be read as a Keras model: {error}") from error


def save_json(url: str, content: dict[str, Any]) -> None:
    """Write `content` as the JSON object `url`."""
    urls.write_bytes(url, json.dumps(content, indent=1).encode())


def save_ids(url: str, ids: NDArray[np.int64]) -> None:
    """Write row ids as the `.npy` object `url`."""
    buffer = io.BytesIO()
    np.save(buffer, ids)
    urls.write_bytes(url, buffer.getvalue())


def load_ids(url: str) -> NDArray[np.int64]:
    """Read the row ids at `url`."""
    return np.asarray(np.load(io.BytesIO(_required(url))))


def load_model_json(place: str) -> dict[str, Any]:
    """What `model.json` at the artefact `place` says.

    Raises
    ------
    InputError
        When it is missing, or was written by a newer version.
    """
    content = dict(json.loads(_required(urls.join(place, "model.json"))))
    if content["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            f"{place} was written by a newer pumascale (model schema {content['schema_version']}, this one reads up to "
            f"{SCHEMA_VERSION}): update pumascale."
        )
    return content


def load_encoder(place: str) -> keras.Model:
    """The encoder of the artefact at `place`."""
    return load_network(urls.join(place, "encoder.keras"), load_model_json(place)["modules"])


def load_decoder(place: str) -> keras.Model:
    """The decoder of the artefact at `place`; InputError when it was trained without one."""
    modules = load_model_json(place)["modules"]
    model_store.check_decoder(place)
    return load_network(urls.join(place, "decoder.keras"), modules)


def _required(url: str) -> bytes:
    data = urls.read_bytes(url)
    if data is None:
        raise InputError(f"{url} is missing: the model there is incomplete, or it is not a model. Train it again.")
    return data


def load_history(place: str) -> dict[str, list[float]]:
    """The losses of every report of the artefact at `place`."""
    return dict(json.loads(_required(urls.join(place, "history.json"))))
