"""Training from a stored graph to an artefact, and what the artefact says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from pumascale.tasks.storage import lease, manifests, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import artefact
from pumascale.tasks.training.fit import fit
from tests.training.conftest import Stored, short, store_edges


def test_the_map_keeps_neighbours(trained: tuple[str, dict[str, Any]], digits: NDArray[np.float32]) -> None:
    encoder = artefact.load_encoder(trained[0])
    assert trustworthiness(digits, encoder.predict(digits, verbose=0), n_neighbors=15) > 0.9


def test_the_manifest_counts_what_was_done(trained: tuple[str, dict[str, Any]]) -> None:
    place, manifest = trained
    assert (manifest["n_rows"], manifest["n_held_out"]) == (600, 60)
    assert manifest["n_edges"] == manifest["steps"] * 256
    assert manifest["steps"] == manifest["stopped_epoch"] * (manifest["steps"] // manifest["stopped_epoch"])
    assert artefact.load_model_json(place)["row_shape"] == [64]
    assert len(artefact.load_ids(f"{place}/held_out.npy")) == 60


def test_history_has_every_term_and_the_terms_add_up(trained: tuple[str, dict[str, Any]]) -> None:
    history = trained[1]["history"]
    for prefix in ("", "val_"):
        total = np.add(history[f"{prefix}attraction"], history[f"{prefix}repulsion"])
        np.testing.assert_allclose(total, history[f"{prefix}loss"], rtol=1e-5)


def test_another_process_gets_identical_coordinates(
    trained: tuple[str, dict[str, Any]], stored: Stored, digits: NDArray[np.float32], tmp_path: Path
) -> None:
    own = short(encoder="tests.training.brought:of_a_layer_of_ones_own", n_epochs=1)
    fit(stored.source, stored.graph, str(tmp_path), own)
    np.save(tmp_path / "rows.npy", digits)
    script = (
        "import sys, numpy as np\nfrom pumascale.tasks.training import artefact\nfolder, *places = sys.argv[1:]\n"
        "rows = np.load(folder + '/rows.npy')\n"
        "maps = [artefact.load_encoder(place).predict(rows, verbose=0) for place in places]\n"
        "np.save(folder + '/maps.npy', maps)"
    )
    places = [trained[0], str(tmp_path)]
    subprocess.run([sys.executable, "-c", script, str(tmp_path), *places], check=True, capture_output=True)
    here = [artefact.load_encoder(place).predict(digits, verbose=0) for place in places]
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy"), here)


def test_a_model_that_another_run_committed_meanwhile_is_not_written_over(stored: Stored, tmp_path: Path) -> None:
    place = str(tmp_path)

    def stand_still(*progress: Any) -> None:
        urls.write_bytes(f"{place}/encoder.keras", b"the other's")
        manifests.commit(place, {"by": "the other"})

    with pytest.raises(lease.LeaseLostError, match="taken over by another run"):
        fit(stored.source, stored.graph, place, short(n_epochs=1), on_progress=stand_still)
    assert urls.read_bytes(f"{place}/encoder.keras") == b"the other's"


def test_the_same_seed_gives_the_same_map(
    trained: tuple[str, dict[str, Any]], stored: Stored, digits: NDArray[np.float32], tmp_path: Path
) -> None:
    fit(stored.source, stored.graph, str(tmp_path), short())
    again = artefact.load_encoder(str(tmp_path)).predict(digits, verbose=0)
    np.testing.assert_array_equal(again, artefact.load_encoder(trained[0]).predict(digits, verbose=0))


def test_best_weights_are_restored(stored: Stored, tmp_path: Path) -> None:
    # A rate that ruins the map later: the weights kept must be those of the best report.
    changes = {"learning_rate": 0.05, "n_training_epochs": 3}
    manifest = fit(stored.source, stored.graph, str(tmp_path / "best"), short(**changes, patience=1))
    history = artefact.load_history(str(tmp_path / "best"))["val_loss"]
    assert manifest["best_val_loss"] == min(history) == history[manifest["best_epoch"]]
    assert manifest["stopped_epoch"] == len(history) == manifest["best_epoch"] + 2
    stop = {"class_name": "tests.training.brought:StopAfter", "config": {"reports": manifest["best_epoch"] + 1}}
    last = fit(
        stored.source, stored.graph, str(tmp_path / "last"), short(**changes, early_stopping=False, callbacks=[stop])
    )
    assert last["best_epoch"] == manifest["best_epoch"]
    weights = (artefact.load_encoder(str(tmp_path / name)).get_weights() for name in ("best", "last"))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_progress_ends_at_the_last_step(stored: Stored, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    reports: list[dict[str, float]] = []

    def note(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        seen.append((done, total))
        if values:
            reports.append(values)

    manifest = fit(
        stored.source, stored.graph, str(tmp_path), short(validation_split=0, n_training_epochs=2), on_progress=note
    )
    assert seen == sorted(seen)
    assert seen[-1] == (manifest["steps"], manifest["steps"])
    assert len(reports) == 2 * 4
    assert "val_loss" not in reports[0]


def test_image_rows_and_small_integers(tmp_path: Path, digits: NDArray[np.float32], stored: Stored) -> None:
    from pumascale.tasks.storage import graph_store

    images = digits.reshape(-1, 8, 8).astype(np.uint8)
    place = store_edges(tmp_path, images, *graph_store.read_edges(stored.graph))
    fit(place.source, place.graph, str(tmp_path / "model"), short(n_components=3))
    encoder = artefact.load_encoder(str(tmp_path / "model"))
    assert encoder.input_shape == (None, 8, 8)
    assert encoder.predict(images[:10], verbose=0).shape == (10, 3)


def test_duplicates_and_constant_rows_train(tmp_path: Path) -> None:
    rows = np.zeros((60, 5), np.float32)
    rows[30:] = 1
    head = np.arange(59)
    place = store_edges(tmp_path, rows, head, head + 1, np.ones(59))
    fit(place.source, place.graph, str(tmp_path / "model"), short(validation_split=0, n_epochs=200, batch_size=64))
    weights = artefact.load_encoder(str(tmp_path / "model")).get_weights()
    assert all(np.isfinite(weight).all() for weight in weights)


def test_no_edge_left_is_said(tmp_path: Path) -> None:
    place = store_edges(tmp_path, np.eye(6, dtype=np.float32), np.array([], int), np.array([], int), np.array([]))
    with pytest.raises(InputError, match="No edge of"):
        fit(place.source, place.graph, str(tmp_path / "model"), short())
    assert not (tmp_path / "model").exists()


def test_the_default_network_is_parametric_umaps() -> None:
    from pumascale.tasks.training.networks import mlp_encoder

    shapes = [tuple(weight.shape) for weight in mlp_encoder((7,), 2, [100, 100, 100]).weights]
    assert shapes == [(7, 100), (100,), (100, 100), (100,), (100, 100), (100,), (100, 2), (2,)]
    assert keras.backend.standardize_dtype(mlp_encoder((7,), 2, []).outputs[0].dtype) == "float32"
