"""The training room's devices: with several accelerators (JAX), each takes its share of every batch.

Weights, rows and edges are on every device; the edges are drawn everywhere alike, and each device gathers and encodes
its part of them. The gradient is then the mean over all, as on one device. The decoder of a finished encoder is small
work with batches of any size: there each device does all of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from pumascale.tasks.training.objective import Tensor


def n_devices() -> int:
    """Devices that a batch is shared by: 1 on TensorFlow."""
    return len(keras.distribution.list_devices()) if keras.backend.backend() == "jax" else 1


@contextmanager
def on_all_devices() -> Iterator[None]:
    """Variables that are made inside are on every device, and batches are shared out."""
    if n_devices() == 1:
        yield
        return
    with _distributed(keras.distribution.DataParallel(auto_shard_dataset=False)):
        yield


@contextmanager
def not_shared_out() -> Iterator[None]:
    """Batches inside may be of any size, also one that the devices cannot divide: each device takes all of them."""
    with _distributed(None):
        yield


@contextmanager
def _distributed(distribution: Any) -> Iterator[None]:
    """Keras distributes what is done inside so; None: not at all."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def shared_out(ids: Tensor) -> Tensor:
    """`ids` (batch,) with each device's share on that device; as they are on a single one."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return ids
    return keras.distribution.distribute_tensor(ids, distribution.get_data_layout(ids.shape))
