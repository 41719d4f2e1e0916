"""The training room's networks: umap-learn's multilayer perceptron and its mirror image, as functional Keras models.

Their layers follow the global dtype policy, except the last: coordinates leave in float32, because bfloat16 cannot
tell near neighbours apart.
"""

from collections.abc import Sequence

import keras
import numpy as np


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
