"""A killed training goes on and gives the weights of an unbroken one: by gradients, and within a layout."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumascale.tasks.training import artefact
from pumascale.tasks.training.checkpoints import FOLDER, LAYOUT, TRAINING, load_checkpoint
from pumascale.tasks.training.fit import fit
from tests.training.conftest import Stored, short

# Enough steps that a kill lands within a report, saved at every execution of 200 steps, or at every epoch.
LONG: dict[str, dict[str, Any]] = {
    TRAINING: {"n_epochs": 50, "loss_report_frequency": 3, "checkpoint_minutes": 0, "patience": 9, "batch_size": 32},
    LAYOUT: {"encoder": "prototypes", "n_epochs": 900, "loss_report_frequency": 3, "checkpoint_minutes": 0},
}

BROUGHT = "tests.training.brought"

SCRIPT = """
import sys
from pumascale.tasks.training.fit import fit
from tests.training.conftest import short
from tests.training.test_checkpoints import LONG
fit(*sys.argv[2:], short(**LONG[sys.argv[1]]))
"""


def weights_of(place: Path) -> list[np.ndarray]:
    return artefact.load_encoder(str(place)).get_weights()


@pytest.fixture(scope="module", params=[TRAINING, LAYOUT])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def unbroken(kind: str, stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unbroken")
    fit(stored.source, stored.graph, str(place), short(**LONG[kind]))
    return place


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_killed_training_ends_where_it_would_have(
    kind: str, stored: Stored, unbroken: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", SCRIPT, kind, stored.source, stored.graph, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not _is_within_second_report(tmp_path, kind) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, number)
    assert process.returncode == -number
    stopped = load_checkpoint(str(tmp_path), kind)
    assert stopped is not None
    assert not (tmp_path / "encoder.keras").exists()

    fit(stored.source, stored.graph, str(tmp_path), short(**LONG[kind]))
    for resumed, expected in zip(weights_of(tmp_path), weights_of(unbroken), strict=True):
        np.testing.assert_array_equal(resumed, expected)
    expected_history = artefact.load_history(str(unbroken))
    for name, values in artefact.load_history(str(tmp_path)).items():
        assert values == pytest.approx(expected_history[name], rel=1e-5), name
    assert not (tmp_path / FOLDER).exists()


def test_a_training_that_broke_in_its_validation_does_no_step_twice(
    stored: Stored, trained: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    broken = short(checkpoint_minutes=0, callbacks=["tests.training.brought:BreakInValidation"])
    with pytest.raises(RuntimeError, match="broken"):
        fit(stored.source, stored.graph, str(tmp_path), broken)
    fit(stored.source, stored.graph, str(tmp_path), short())
    for resumed, expected in zip(weights_of(tmp_path), weights_of(Path(trained[0])), strict=True):
        np.testing.assert_array_equal(resumed, expected)


def test_weights_that_are_not_finite_are_not_kept_and_a_resumed_training_has_its_checkpoints(
    stored: Stored, tmp_path: Path
) -> None:
    nanning = {"class_name": f"{BROUGHT}:Nanning", "config": {"report": 1}}
    for callbacks in ([f"{BROUGHT}:BreakInSecondReport"], [nanning, f"{BROUGHT}:BreakInValidation"]):
        with pytest.raises(RuntimeError, match="broken"):
            fit(stored.source, stored.graph, str(tmp_path), short(**LONG[TRAINING], callbacks=callbacks))
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint is not None
    assert checkpoint.step > 0
    assert all(np.isfinite(values).all() for values in checkpoint.state)
    manifest = fit(
        stored.source, stored.graph, str(tmp_path), short(**LONG[TRAINING], early_stopping=False, callbacks=[nanning])
    )
    assert manifest["stopped_epoch"] == 1
    assert manifest["non_finite_step"] > manifest["steps"] + checkpoint.step > manifest["steps"]
    for weight, kept in zip(weights_of(tmp_path), checkpoint.state, strict=False):
        np.testing.assert_array_equal(weight, kept)


def _is_within_second_report(place: Path, kind: str) -> bool:
    checkpoint = load_checkpoint(str(place), kind)
    return checkpoint is not None and len(checkpoint.history.get("loss", [])) >= 1


def test_what_was_killed_between_its_end_and_the_commit_is_not_trained_again(
    kind: str, stored: Stored, unbroken: Path
) -> None:
    written, steps = (unbroken / "encoder.keras").stat().st_mtime_ns, list[str]()
    again = fit(stored.source, stored.graph, str(unbroken), short(**LONG[kind]), on_progress=lambda *s: steps.append(s))
    assert (steps, again["n_rows"]) == ([], 600)
    assert (unbroken / "encoder.keras").stat().st_mtime_ns == written
