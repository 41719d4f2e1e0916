"""A Keras callback that a training imports: it looks at the run's page while the training goes on."""

from typing import Any

import keras
from prefect import runtime

from tests.flows.conftest import artifacts

SHOWN: list[dict[str, Any]] = []


class Witness(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps what is on the page at every report."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look once more."""
        SHOWN.append({found.key or found.description: found for found in artifacts(str(runtime.flow_run.id))})
