"""The schema of a model at `<workspace>/models/<id>`, and how to read it without Keras.

`encoder.keras`, `decoder.keras` (where one was trained), `model.json` (shape of the rows, metric, a, b, parameters,
versions), `history.json`, `held_out.npy` (int64 ids of the rows kept out of training), `prototypes.npy` (those of the
rows that are prototypes, where there are any), `manifest.json` last.
"""

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import fingerprints, manifests, sources, urls
from pumascale.tasks.storage.errors import InputError

SCHEMA_VERSION = 1
PROTOTYPES = "prototypes.npy"


def read_model(place: str) -> dict[str, Any]:
    """The contents of `model.json` of a finished model.

    Raises
    ------
    InputError
        When `place` holds no finished model, or one of a newer schema than this version can read.
    """
    data, manifest = urls.read_bytes(urls.join(place, "model.json")), manifests.read_manifest(place)
    if manifest is None or data is None:
        raise InputError(
            f"{place} holds no finished model. Expected the URL that train_encoder or `pumascale fit` gave."
        )
    facts = dict(json.loads(data))
    if facts["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            f"{place} has schema version {facts['schema_version']}; this version of pumascale reads up to "
            f"{SCHEMA_VERSION}. Install a newer pumascale."
        )
    return facts | {"source_fingerprint": manifest.get("source_fingerprint")}


def has_network(facts: dict[str, Any]) -> bool:
    """Whether the model places rows; else it holds one place for each row that it was trained on."""
    return bool(facts.get("parametric", True))


def workspace_of(place: str) -> str:
    """The workspace in which the model at `place` was made."""
    return urls.absolute(place).rsplit("/", 2)[0]


def read_held_out(place: str) -> NDArray[np.int64]:
    """Ids of the rows that the model at `place` has not seen, ascending, int64 (n_held_out,)."""
    return _read_ids(urls.join(place, "held_out.npy"))


def read_prototypes(place: str) -> NDArray[np.int64]:
    """Ids of the rows that are the prototypes of the model at `place`, ascending; none for other networks."""
    return _read_ids(urls.join(place, PROTOTYPES))


def _read_ids(url: str) -> NDArray[np.int64]:
    data = urls.read_bytes(url)
    return np.empty(0, np.int64) if data is None else np.load(io.BytesIO(data))


def check_rows(source: str, facts: dict[str, Any]) -> None:
    """Refuse a source whose rows have another shape than the model was trained on, or that has no network for it."""
    array = sources.open_source(source)
    if int(np.prod(array.shape[1:])) != int(np.prod(facts["row_shape"])):
        raise InputError(
            f"{source} has rows of shape {array.shape[1:]}; the model takes rows of shape {tuple(facts['row_shape'])}. "
            "Give the source that it was trained on, or rows of the same shape."
        )
    if not has_network(facts) and fingerprints.fingerprint_source(source) != facts["source_fingerprint"]:
        raise InputError(
            f"{source} has rows that the model was not trained on, and it holds places instead of a network, for its "
            "own rows only. Train with training.parametric_embedding=true to place others."
        )


def check_coordinates(coordinates: str, place: str) -> None:
    """Refuse places on a map that are not of this model's maps, and a model without a way back from them."""
    n_components, shape = read_model(place)["n_components"], sources.open_source(coordinates).shape
    if shape[1:] != (n_components,):
        raise InputError(
            f"{coordinates} has shape {shape}; the model's maps have {n_components} components. "
            "Expected coordinates (n, n_components) of this model."
        )
    check_decoder(place)


def check_decoder(place: str) -> None:
    """Refuse a model that was trained without a decoder."""
    if urls.read_bytes(urls.join(place, "decoder.keras")) is None:
        raise InputError(f"{place} has no decoder. Train with training.parametric_reconstruction=true to get one.")
