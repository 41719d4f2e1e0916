"""The training room's networks: umap-learn's perceptron and its mirror image, a table of places, the user's.

Their layers follow `dtype_policy`, except the last: coordinates leave in float32, because bfloat16 cannot tell near
neighbours apart.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import urls
from pumascale.tasks.training import artefact, configs


@dataclass(frozen=True)
class Networks:
    """What is trained: an encoder and perhaps a decoder."""

    encoder: keras.Model
    decoder: keras.Model | None


def build_networks(
    parameters: TrainingParameters, row_shape: tuple[int, ...], n_rows: int, encoder: keras.Model | None = None
) -> Networks:
    """The networks that `parameters` ask for, checked against the rows; the encoder may be there already.

    Raises
    ------
    InputError
        When a network cannot be built, or its shapes do not fit.
    """
    with computing_in(parameters.dtype_policy):
        if not parameters.parametric_embedding:
            return Networks(place_table(n_rows, parameters.n_components), None)
        encoder = encoder or build_encoder(parameters, row_shape)
        configs.check_network("encoder", encoder, row_shape, (parameters.n_components,))
        return Networks(encoder, build_decoder(parameters, row_shape) if parameters.parametric_reconstruction else None)


def build_encoder(parameters: TrainingParameters, row_shape: tuple[int, ...]) -> keras.Model:
    """The encoder by its name, from a trained model, or the user's."""
    if parameters.warm_start is not None:
        return artefact.load_encoder(parameters.warm_start)
    if parameters.encoder == "mlp":
        return mlp_encoder(row_shape, parameters.n_components, parameters.hidden_units)
    return configs.build_network("encoder", parameters.encoder, (row_shape, parameters.n_components))


def build_decoder(parameters: TrainingParameters, row_shape: tuple[int, ...]) -> keras.Model:
    """The decoder, checked against the rows."""
    decoder = _decoder(parameters, row_shape)
    configs.check_network("decoder", decoder, (parameters.n_components,), row_shape)
    return decoder


def _decoder(parameters: TrainingParameters, row_shape: tuple[int, ...]) -> keras.Model:
    """By its name, from a trained model that has one, or the user's."""
    if parameters.warm_start is not None and urls.read_bytes(urls.join(parameters.warm_start, "decoder.keras")):
        return artefact.load_decoder(parameters.warm_start)
    if parameters.decoder == "mlp":
        return mlp_decoder(row_shape, parameters.n_components, parameters.hidden_units)
    return configs.build_network("decoder", parameters.decoder, (row_shape, parameters.n_components))


def mlp_encoder(row_shape: tuple[int, ...], n_components: int, hidden_units: Sequence[int]) -> keras.Model:
    """umap-learn's encoder: flattened rows, dense relu layers, linear coordinates."""
    inputs = keras.Input(row_shape, name="rows")
    hidden = keras.layers.Flatten()(inputs)
    for units in hidden_units:
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    outputs = keras.layers.Dense(n_components, name="z", dtype="float32")(hidden)
    return keras.Model(inputs, outputs, name="encoder")


def mlp_decoder(row_shape: tuple[int, ...], n_components: int, hidden_units: Sequence[int]) -> keras.Model:
    """umap-learn's decoder: coordinates, dense relu layers, a linear row."""
    inputs = keras.Input((n_components,), name="coordinates")
    hidden = inputs
    for units in hidden_units:
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    flat = keras.layers.Dense(int(np.prod(row_shape)), name="recon", dtype="float32")(hidden)
    return keras.Model(inputs, keras.layers.Reshape(row_shape)(flat), name="decoder")


def place_table(n_rows: int, n_components: int) -> keras.Model:
    """Not a network but one learned place per row: takes row numbers, int32 (n, 1)."""
    numbers = keras.Input((1,), dtype="int32", name="row_numbers")
    start = keras.initializers.RandomUniform(-10, 10)  # umap-learn's random start
    places = keras.layers.Embedding(n_rows, n_components, embeddings_initializer=start, dtype="float32")(numbers)
    return keras.Model(numbers, keras.layers.Reshape((n_components,))(places), name="encoder")


@contextmanager
def computing_in(policy: str) -> Iterator[None]:
    """Layers that are made inside compute in `policy`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
