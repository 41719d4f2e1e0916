"""A Keras callback that a run imports: a small training takes as long as a test needs, and goes fast afterwards."""

import time
from pathlib import Path
from typing import Any

import keras


class Brake(keras.callbacks.Callback):  # type: ignore[misc]
    """Slows every report down for as long as the file at `path` exists; a training told to end still does, then."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Rest for a moment."""
        if self.path.exists():
            time.sleep(2)
