"""The training room's checks of the input, before any work."""

import math

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError

LEAST_ROWS = 4


def check(source: str, parameters: TrainingParameters) -> None:
    """Refuse what cannot be trained: `source`'s rows, and what `parameters` ask for.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    array = arrays.open_source(source)
    if array.shape[0] < LEAST_ROWS:
        raise InputError(f"{source} has {array.shape[0]} rows. Training needs at least {LEAST_ROWS}.")
    if (parameters.a is None) != (parameters.b is None):
        raise InputError("Only one of training.a and training.b is given. Give both, or neither.")
    if parameters.n_components > 4 * math.prod(array.shape[1:]):
        raise InputError(
            f"training.n_components={parameters.n_components} is far above the {math.prod(array.shape[1:])} features "
            f"of {source}. A map has fewer dimensions than its rows."
        )
