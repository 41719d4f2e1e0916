"""The same training on JAX: the room's own tests, models across backends, several devices. Each needs a process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.training import artefact
from tests.training.conftest import Stored

ROOT = Path(__file__).parents[2]

# What touches the backend, short of what costs minutes.
SAME_TESTS = [
    "test_objective.py",
    "test_terms.py",
    "test_prototypes.py",
    "test_features.py::test_a_decoder_learns_to_reconstruct",
    "test_features.py::test_global_correlation_is_a_term",
    "test_features.py::test_landmarks_hold_rows_where_they_are_told",
    "test_features.py::test_places_can_be_learned_without_a_network",
    "test_features.py::test_mixed_precision_gives_a_map_in_float32",
    "test_features.py::test_a_loss_that_is_not_finite_keeps_the_weights_before",
    "test_fit.py::test_the_same_seed_gives_the_same_map",
    "test_fit.py::test_best_weights_are_restored",
    "test_stream.py::test_a_broken_training_goes_on_within_its_windows",
]

ON_JAX = """
import json, sys
import keras, numpy as np
from pumascale.tasks.training import artefact
from pumascale.tasks.training.fit import fit
from tests.training.conftest import short
source, graph, place, model, rows, expected = sys.argv[1:]
np.save(expected, artefact.load_encoder(model).predict(np.load(rows), verbose=0))
fit(source, graph, place, short(warm_start=model, batch_size=255))
"""

# That many divide neither the rows nor a batch.
ON_SEVEN_DEVICES = """
import sys
import keras, numpy as np
from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.training.callbacks import ValidateReconstruction
from pumascale.tasks.training.devices import on_all_devices
from pumascale.tasks.training.fit import fit
from pumascale.tasks.training.networks import mlp_decoder, mlp_encoder
parameters = TrainingParameters(n_epochs=20, parametric_reconstruction=True)
assert fit(*sys.argv[1:], parameters)["n_devices"] == 7
with on_all_devices():
    networks = mlp_encoder((64,), 2, [8]), mlp_decoder((64,), 2, [8])
    ValidateReconstruction(*networks, np.ones((600, 64)), keras.losses.mean_squared_error).on_epoch_end(0, {})
    assert keras.distribution.distribution() is not None
"""


def run_on_jax(arguments: list[str], n_devices: int = 1) -> None:
    devices = f"--xla_force_host_platform_device_count={n_devices}"
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": devices}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("growth", [None, "false"])
def test_a_worker_takes_memory_of_a_gpu_as_it_needs_it(growth: str | None) -> None:
    names = ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {names[0]: growth} if growth else {}
    asking = f"import os, pumascale.tasks.embedding.networks; print(*map(os.environ.get, {names}))"
    done = subprocess.run([sys.executable, "-c", asking], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [growth or "true", "false"]


@pytest.mark.long
def test_the_same_tests_pass_on_jax() -> None:
    files = [str(Path(__file__).parent / name) for name in SAME_TESTS]
    run_on_jax([sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-x", *files])


@pytest.mark.long
def test_a_model_goes_to_jax_trains_on_there_and_comes_back(
    stored: Stored, trained: tuple[str, dict[str, Any]], digits: NDArray[np.float32], tmp_path: Path
) -> None:
    np.save(tmp_path / "rows.npy", digits)
    place, expected = tmp_path / "model", tmp_path / "expected.npy"
    arguments = [stored.source, stored.graph, str(place), trained[0], str(tmp_path / "rows.npy"), str(expected)]
    run_on_jax([sys.executable, "-c", ON_JAX, *arguments])
    here = artefact.load_encoder(trained[0]).predict(digits, verbose=0)
    np.testing.assert_allclose(np.load(expected), here, atol=1e-3)
    content = artefact.load_model_json(str(place))
    assert content["backend"] == "jax"
    assert content["best_val_loss"] < 1.05 * trained[1]["best_val_loss"]
    after = artefact.load_encoder(str(place)).predict(digits, verbose=0)
    assert 0.01 < np.abs(after - here).mean() < 0.5 * np.abs(here - here.mean(axis=0)).mean()


@pytest.mark.long
def test_a_decoder_is_trained_on_devices_that_cannot_share_it_out(stored: Stored, tmp_path: Path) -> None:
    place = str(tmp_path / "model")
    run_on_jax([sys.executable, "-c", ON_SEVEN_DEVICES, stored.source, stored.graph, place], n_devices=7)
    history = artefact.load_history(place)
    assert min(history["val_reconstruction"]) < history["val_reconstruction"][0]
