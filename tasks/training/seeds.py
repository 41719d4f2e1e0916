"""The training room's seeds: what a network starts from depends on `random_state`, and on nothing else in the process.

Keras takes the seed of an initializer or a dropout layer from Python's global generator. Other threads draw from it too
(Prefect's websocket does at every ping), so between seeding it and building a network the sequence may have moved on.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras.src.random import seed_generator  # Keras offers no public way to hand it a generator


@contextmanager
def seeded(random_state: int) -> Iterator[None]:
    """Inside, Keras draws its seeds from a generator of its own, as a quiet process would from the global one."""
    keras.utils.set_random_seed(random_state)
    shared = seed_generator.python_random
    seed_generator.python_random = random.Random(random_state)
    try:
        yield
    finally:
        seed_generator.python_random = shared
