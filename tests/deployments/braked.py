"""A run that a test can catch in the middle of its training."""

from pathlib import Path
from typing import Any

from pumascale.tasks.training.checkpoints import load_checkpoint
from tests.deployments.runs import request, wait_until
from tests.deployments.server import Server


class Braked:
    """A request whose training takes a minute and a half while the brake is on, seconds otherwise."""

    def __init__(self, place: Path, **training: Any) -> None:
        self.brake = place / "brake"
        self.brake.touch()
        callback = {"class_name": "tests.deployments.brake:Brake", "config": {"path": str(self.brake)}}
        slow = {"loss_report_frequency": 45, "early_stopping": False, "checkpoint_minutes": 0, "callbacks": [callback]}
        self.parameters = request(str(place), batch_size=50, **slow, **training)
        self.models = place / "work" / "models"
        self.before = set(self.models.glob("*"))

    def in_training(self, server: Server, seconds: float = 180) -> Path:
        """The place of the model, once a report and a half of its training are in the checkpoint."""
        wait_until(self._checkpoint, seconds, "the training did not come so far", server)
        return self._model()

    def _model(self) -> Path:
        return next(iter(set(self.models.glob("*")) - self.before))

    def _checkpoint(self) -> bool:
        if not set(self.models.glob("*")) - self.before:
            return False
        checkpoint = load_checkpoint(str(self._model()))
        return checkpoint is not None and checkpoint.report >= 1
