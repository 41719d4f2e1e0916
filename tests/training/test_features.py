"""The features of ParametricUMAP, each through `fit`."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from pumascale.tasks.storage import arrays, graph_store, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import artefact
from pumascale.tasks.training.fit import fit
from pumascale.tasks.training.networks import mlp_encoder
from tests.training.conftest import Stored, short, store_edges


def trained_with(stored: Stored, place: Path, **changes: Any) -> dict[str, Any]:
    return fit(stored.source, stored.graph, str(place), short(**changes))


def stored_array(path: Path, values: NDArray[Any]) -> str:
    arrays.create_array(str(path), shape=values.shape, dtype=values.dtype)[:] = values
    return str(path)


def test_a_decoder_learns_to_reconstruct(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    extra = stored_array(tmp_path / "extra.zarr", digits[:50])
    trained_with(stored, tmp_path, parametric_reconstruction=True, reconstruction_validation=extra)
    history = artefact.load_history(str(tmp_path))
    for name in ("reconstruction", "val_reconstruction", "reconstruction_validation"):
        assert history[name][-1] < 0.8 * history[name][0], name
    places = artefact.load_encoder(str(tmp_path)).predict(digits, verbose=0)
    error = np.mean((artefact.load_decoder(str(tmp_path)).predict(places, verbose=0) - digits) ** 2)
    assert error < np.mean((digits - digits.mean(0)) ** 2)


def test_autoencoder_loss_reaches_the_encoder(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    # An encoder that knows what the decoder needs serves it better.
    errors = {}
    for reaches in (False, True):
        place = tmp_path / str(reaches)
        options = {"parametric_reconstruction": True, "parametric_reconstruction_loss_weight": 3.0}
        trained_with(stored, place, **options, autoencoder_loss=reaches)
        errors[reaches] = artefact.load_history(str(place))["val_reconstruction"]
    assert min(errors[True]) < min(errors[False])


def test_a_decoder_that_was_not_trained_is_said(trained: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="has no decoder"):
        artefact.load_decoder(trained[0])


def test_global_correlation_is_a_term(stored: Stored, tmp_path: Path) -> None:
    trained_with(stored, tmp_path, global_correlation_loss_weight=0.5)
    history = artefact.load_history(str(tmp_path))
    assert history["correlation"][-1] < history["correlation"][0] < 0
    total = np.sum([history[name] for name in ("attraction", "repulsion", "correlation")], axis=0)
    np.testing.assert_allclose(total, history["loss"], rtol=1e-4)


@pytest.mark.parametrize("loss_fn", [None, "tests.training.brought:squared"])
def test_landmarks_hold_rows_where_they_are_told(stored: Stored, tmp_path: Path, loss_fn: str | None) -> None:
    wanted = np.full((600, 2), np.nan, np.float32)
    wanted[:200] = [30.0, -20.0]
    url = stored_array(tmp_path / "places.zarr", wanted)
    trained_with(stored, tmp_path, landmark_positions=url, landmark_loss_fn=loss_fn, learning_rate=0.02)
    rows = arrays.open_array(stored.source)[:200]
    placed = artefact.load_encoder(str(tmp_path)).predict(rows, verbose=0)
    assert np.median(np.linalg.norm(placed - [30, -20], axis=1)) < 10
    history = artefact.load_history(str(tmp_path))
    assert history["val_landmark"][-1] < history["val_landmark"][0]


def test_places_can_be_learned_without_a_network(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    manifest = trained_with(stored, tmp_path, parametric_embedding=False, n_epochs=300)
    numbers = np.arange(600, dtype=np.int32)[:, np.newaxis]
    places = artefact.load_encoder(str(tmp_path)).predict(numbers, verbose=0)
    assert manifest["n_held_out"] == 0
    assert trustworthiness(digits, places, n_neighbors=15) > 0.95


def test_mixed_precision_gives_a_map_in_float32(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    trained_with(stored, tmp_path, dtype_policy="mixed_bfloat16")
    encoder = artefact.load_encoder(str(tmp_path))
    assert encoder.layers[-2].compute_dtype == "bfloat16"
    places = encoder.predict(digits, verbose=0)
    assert places.dtype == np.float32
    assert trustworthiness(digits, places, n_neighbors=15) > 0.85


def test_training_goes_on_from_a_model(stored: Stored, trained: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    manifest = trained_with(stored, tmp_path, warm_start=trained[0])
    first = artefact.load_history(trained[0])["loss"]
    assert manifest["history"]["loss"][0] < first[0]


def test_a_convolutional_encoder_on_images(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    images = digits.reshape(-1, 8, 8)
    place = store_edges(tmp_path, images, *graph_store.read_edges(stored.graph))
    trained_with(place, tmp_path / "model", encoder="tests.training.brought:convolutional")
    places = artefact.load_encoder(str(tmp_path / "model")).predict(images, verbose=0)
    assert trustworthiness(digits, places, n_neighbors=15) > 0.8


def test_preprocessing_is_part_of_the_encoder(stored: Stored, digits: NDArray[np.float32], tmp_path: Path) -> None:
    rows = 1000 * digits + 5000
    scaling = keras.layers.Normalization()
    scaling.adapt(rows)
    network = keras.Sequential([keras.Input((64,)), scaling, mlp_encoder((64,), 2, [32])])
    network.save(tmp_path / "mine.keras")
    place = store_edges(tmp_path, rows, *graph_store.read_edges(stored.graph))
    trained_with(place, tmp_path / "model", encoder=str(tmp_path / "mine.keras"))
    encoder = artefact.load_encoder(str(tmp_path / "model"))
    np.testing.assert_array_equal(encoder.layers[0].get_weights()[0], scaling.get_weights()[0])
    assert trustworthiness(rows, encoder.predict(rows, verbose=0), n_neighbors=15) > 0.9


def test_the_users_optimizer_callbacks_and_logs(
    stored: Stored, trained: tuple[str, dict[str, Any]], tmp_path: Path, workspace: str
) -> None:
    # Standing still after the first report: neither the optimizer nor the schedule was passed over.
    n_steps = trained[1]["steps"] // trained[1]["stopped_epoch"]
    schedule = {"class_name": "PiecewiseConstantDecay", "config": {"boundaries": [n_steps - 1], "values": [1e-3, 0.0]}}
    manifest = trained_with(
        stored,
        tmp_path / "model",
        optimizer={"class_name": "SGD", "config": {"learning_rate": schedule}},
        warm_start=trained[0],
        callbacks=[{"class_name": "TerminateOnNaN"}],
        csv_log=f"{workspace}/log.csv",
        tensorboard_log=f"{workspace}/board",
    )
    lines = list(csv.DictReader((urls.read_bytes(f"{workspace}/log.csv") or b"").decode().splitlines()))
    assert len(lines) == manifest["stopped_epoch"]
    assert float(lines[0]["val_loss"]) == manifest["history"]["val_loss"][0]
    assert len(lines) > 1
    assert len({line["val_loss"] for line in lines}) == 1
    weights = (artefact.load_encoder(place).get_weights() for place in (trained[0], str(tmp_path / "model")))
    # But for the last bias, which shifts the whole map: no loss sees that, so only rounding would move it.
    assert all((one != other).any() for one, other in list(zip(*weights, strict=True))[:-1])
    assert [name for name in urls.list_objects(f"{workspace}/board") if name.startswith("events.out.tfevents.")]


def test_early_stopping_on_any_value(stored: Stored, tmp_path: Path) -> None:
    manifest = trained_with(stored, tmp_path, monitor="val_repulsion", patience=1)
    watched = artefact.load_history(str(tmp_path))["val_repulsion"]
    worse = [report for report in range(1, len(watched)) if watched[report] >= min(watched[:report])]
    assert manifest["stopped_epoch"] == len(watched) == (worse[0] + 1 if worse else 4)
    assert manifest["best_epoch"] == int(np.argmin(watched))


def test_a_loss_that_is_not_finite_keeps_the_weights_before(stored: Stored, tmp_path: Path) -> None:
    manifest = trained_with(stored, tmp_path, callbacks=["tests.training.brought:Nanning"])
    per_report = manifest["steps"] // manifest["stopped_epoch"]
    assert manifest["stopped_epoch"] == 2
    assert 2 * per_report < manifest["non_finite_step"] <= 3 * per_report
    assert all(np.isfinite(weight).all() for weight in artefact.load_encoder(str(tmp_path)).get_weights())


def test_a_loss_that_is_never_finite_leaves_nothing(stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not finite by step"):
        trained_with(stored, tmp_path / "model", learning_rate=1e30)
    assert not (tmp_path / "model").exists()
