"""The prototype network against a plain reference, and trained through `fit`."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.training import artefact, decoding
from pumascale.tasks.training.decoding import without_gradients
from pumascale.tasks.training.fit import fit
from pumascale.tasks.training.layout import LayoutOptions
from pumascale.tasks.training.medoids import choose_prototypes
from pumascale.tasks.training.networks import Networks
from pumascale.tasks.training.outcome import describe
from pumascale.tasks.training.problem import read_problem
from pumascale.tasks.training.prototypes import (
    PrototypeAttention,
    default_n_prototypes,
    prototype_encoder,
    top_k,
)
from pumascale.tasks.training.trained import flat_rows
from tests.training.conftest import Stored, store


def reference(
    rows: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32], k: int = 16
) -> NDArray[np.float32]:
    """The mode of the nearest prototypes' places, row by row."""
    placed = []
    for row in rows.astype(np.float64):
        squared = np.sum((keys - row) ** 2, axis=1)
        near = np.argsort(squared, kind="stable")[:k]
        distance = squared[near]
        weight = np.exp(-3.0 * (distance - distance[0]) / (distance[-1] - distance[0]))
        spots = values[near].astype(np.float64)
        apart = np.sum((spots[:, None] - spots[None]) ** 2, axis=-1)
        first = spots[np.argmax((weight / (1 + apart / 0.09)).sum(axis=1))]
        pull = weight / (1 + np.sum((spots - first) ** 2, axis=1) / 0.09)
        placed.append((pull[:, None] * spots).sum(axis=0) / pull.sum())
    return np.array(placed)


@pytest.mark.parametrize("n_prototypes", [16, 50, 1500])
def test_it_is_the_mode_of_the_nearest_places(n_prototypes: int) -> None:
    generator = np.random.default_rng(0)
    keys = generator.normal(size=(n_prototypes, 8)).astype(np.float32)
    values = generator.normal(size=(n_prototypes, 2)).astype(np.float32)
    rows = generator.normal(size=(40, 8)).astype(np.float32)
    layer = PrototypeAttention(n_prototypes, 2)
    layer.build((None, 8))
    layer.set_keys(keys)
    layer.set_values(values)
    found = ops.convert_to_numpy(layer(rows))
    np.testing.assert_allclose(found, reference(rows, keys, values), rtol=1e-3, atol=1e-3)


def test_a_model_from_before_it_had_a_center_still_places_as_it_did() -> None:
    generator = np.random.default_rng(0)
    keys, values, rows = (generator.normal(size=(n, 8)).astype(np.float32) for n in (50, 50, 40))
    layer = PrototypeAttention(50, 8)
    layer.build((None, 8))
    layer.load_own_variables({"0": values, "1": keys, "2": np.sum(keys**2, axis=1) / 2})
    found = ops.convert_to_numpy(layer(rows))
    np.testing.assert_allclose(found, reference(rows, keys, values), rtol=1e-3, atol=1e-3)


def test_top_k_in_groups_is_exact() -> None:
    score = np.random.default_rng(0).normal(size=(30, 4096)).astype(np.float32)
    best, chosen = (ops.convert_to_numpy(part) for part in top_k(score, 16, 32))
    np.testing.assert_array_equal(best, -np.sort(-score, axis=1)[:, :16])
    np.testing.assert_array_equal(np.take_along_axis(score, chosen, axis=1), best)


@pytest.mark.parametrize("rows", [np.ones((5, 8), np.float32), np.zeros((5, 8), np.float32)])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_prototypes_give_finite_places(rows: NDArray[np.float32], metric: str) -> None:
    encoder = prototype_encoder((8,), 2, 20, metric, 1.0)
    encoder.get_layer("prototypes").set_keys(np.ones((20, 8), np.float32))
    assert np.isfinite(encoder.predict(rows, verbose=0)).all()


def test_few_prototypes_are_all_attended() -> None:
    encoder = prototype_encoder((3,), 2, 2, "euclidean", 1.0)
    encoder.get_layer("prototypes").set_keys(np.array([[0, 0, 0], [9, 9, 9]], np.float32))
    encoder.get_layer("prototypes").set_values(np.array([[1, 1], [5, 5]], np.float32))
    np.testing.assert_allclose(encoder.predict(np.zeros((1, 3), np.float32), verbose=0), [[1, 1]], atol=1e-2)


def test_an_angular_metric_forgets_the_length() -> None:
    generator = np.random.default_rng(0)
    encoder = prototype_encoder((8,), 2, 50, "cosine", 1.0)
    keys = generator.normal(size=(50, 8)).astype(np.float32)
    encoder.get_layer("prototypes").set_keys(keys / np.linalg.norm(keys, axis=1, keepdims=True))
    encoder.get_layer("prototypes").set_values(keys[:, :2])
    np.testing.assert_allclose(encoder.predict(keys, verbose=0), encoder.predict(7 * keys, verbose=0), atol=1e-4)


def test_correlation_forgets_what_is_added_to_a_row(digits: NDArray[np.float32], tmp_path: Path) -> None:
    encoder = prototype_encoder((64,), 2, 100, "correlation", 1.0)
    flat = flat_rows(digits, "correlation")
    encoder.get_layer("prototypes").set_keys(flat[:100])
    encoder.get_layer("prototypes").set_values(np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
    shifted = digits + np.arange(600, dtype=np.float32)[:, np.newaxis]
    np.testing.assert_allclose(flat_rows(shifted, "correlation"), flat, atol=1e-5)
    artefact.save_network(f"{tmp_path}/encoder.keras", encoder)
    places = artefact.load_network(f"{tmp_path}/encoder.keras").predict(shifted, verbose=0)
    np.testing.assert_allclose(places, encoder.predict(digits, verbose=0), atol=1e-2)
    np.testing.assert_allclose(places, encoder.get_layer("prototypes")(flat), atol=1e-2)


def test_prototypes_are_rows_that_cover_the_data(digits: NDArray[np.float32]) -> None:
    ids = np.arange(600)
    chosen = choose_prototypes(digits, ids, 60, 0)

    def cover(ids: NDArray[np.int64]) -> float:
        squared = np.sum((digits[:, None] - digits[None, ids]) ** 2, axis=-1)
        return float(np.sqrt(squared.min(axis=1)).mean())

    random = np.random.default_rng(0).choice(600, len(chosen), replace=False)
    assert 50 <= len(chosen) <= 60
    assert cover(chosen) < cover(random)
    np.testing.assert_array_equal(chosen, choose_prototypes(digits, ids, 60, 0))
    assert len(choose_prototypes(digits, ids, 600, 0)) == 600


@pytest.mark.parametrize(("n_rows", "count"), [(10, 10), (1700, 1024), (20_000, 5000), (10**6, 8192)])
def test_their_number_grows_with_the_rows(n_rows: int, count: int) -> None:
    assert default_n_prototypes(n_rows) == count


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory, stored: Stored) -> tuple[str, dict[str, Any]]:
    place = str(tmp_path_factory.mktemp("prototypes"))
    logged = TrainingParameters(csv_log=f"{place}/log.csv", tensorboard_log=f"{place}/board")
    return place, fit(stored.source, stored.graph, place, logged)


def test_unseen_rows_are_placed_as_well_as_trained_ones(
    laid_out: tuple[str, dict[str, Any]], digits: NDArray[np.float32]
) -> None:
    places = artefact.load_encoder(laid_out[0]).predict(digits, verbose=0)
    held_out = artefact.load_ids(f"{laid_out[0]}/held_out.npy")
    assert len(held_out) == 60
    assert trustworthiness(digits, places, n_neighbors=15) > 0.96
    trained = np.setdiff1d(np.arange(600), held_out)

    def apart(ids: NDArray[np.int64]) -> float:
        """How far rows are from those that the map shows beside them."""
        shown = np.linalg.norm(places[ids, None] - places[None, trained], axis=-1)
        shown[ids[:, None] == trained] = np.inf
        nearest = trained[np.argsort(shown, axis=1)[:, :15]]
        return float(np.linalg.norm(digits[ids, None] - digits[nearest], axis=-1).mean())

    assert apart(held_out) < 1.1 * apart(trained)


def test_rows_far_from_the_origin_are_placed_as_near_it(
    laid_out: tuple[str, dict[str, Any]], digits: NDArray[np.float32], tmp_path: Path
) -> None:
    far = digits + 10_000
    far[0] = 1e9  # is no reason to look at the others from there
    place = store(tmp_path, far)
    manifest = fit(place.source, place.graph, str(tmp_path / "model"), TrainingParameters())
    places = artefact.load_encoder(str(tmp_path / "model")).predict(far, verbose=0)
    assert trustworthiness(digits[1:], places[1:], n_neighbors=15) > 0.96
    assert manifest["best_val_loss"] < 1.2 * laid_out[1]["best_val_loss"]


def test_its_losses_fall_on_trained_and_on_unseen_rows(laid_out: tuple[str, dict[str, Any]]) -> None:
    history = artefact.load_history(laid_out[0])
    assert (laid_out[1]["best_epoch"], laid_out[1]["best_val_loss"]) == (19, history["val_loss"][-1])
    for name in ("loss", "val_loss"):
        assert len(history[name]) == 20
        assert history[name][-1] < 0.8 * history[name][0]
    lines = list(csv.DictReader(Path(laid_out[0], "log.csv").read_text().splitlines()))
    assert [float(line["val_loss"]) for line in lines] == history["val_loss"]
    assert list(Path(laid_out[0], "board").glob("events.out.tfevents.*"))


def test_its_last_places_are_kept_even_if_those_before_were_better(stored: Stored) -> None:
    problem = read_problem(stored.source, stored.graph, TrainingParameters(), math.inf)
    networks = Networks(prototype_encoder((64,), 2, 20, "euclidean", 1.0), None)
    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 1.0, 2.0]}
    outcome = without_gradients(networks, problem, TrainingParameters(), lambda *told: None, history, 0.0)
    assert (outcome.best_epoch, describe(problem, outcome, TrainingParameters())["best_val_loss"]) == (2, 2.0)


def test_it_is_repeatable(laid_out: tuple[str, dict[str, Any]], stored: Stored, tmp_path: Path) -> None:
    fit(stored.source, stored.graph, str(tmp_path), TrainingParameters(encoder="prototypes"))
    again = artefact.load_encoder(str(tmp_path)).get_weights()
    for one, other in zip(again, artefact.load_encoder(laid_out[0]).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_its_layout_gets_the_options_asked_for(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LayoutOptions] = []

    def lay_out(start: Any, adjacency: Any, options: LayoutOptions, on_epoch: Any, first_epoch: int) -> Any:
        seen.append(options)
        on_epoch(options.n_epochs, start)
        return start

    monkeypatch.setattr("pumascale.tasks.training.layout.lay_out", lay_out)
    asked = {
        "a": 1.2,
        "b": 0.8,
        "negative_sample_rate": 7,
        "repulsion_strength": 2.0,
        "learning_rate": 0.5,
        "n_epochs": 9,
    }
    fit(stored.source, stored.graph, str(tmp_path), TrainingParameters(**asked))
    assert seen == [LayoutOptions(**asked, seed=42)]


def test_steps_of_a_model_trained_on_are_by_what_it_is(
    laid_out: tuple[str, dict[str, Any]], trained: tuple[str, dict[str, Any]], stored: Stored
) -> None:
    def steps(**changes: Any) -> int:
        parameters = TrainingParameters(n_training_epochs=1, **changes)
        return read_problem(stored.source, stored.graph, parameters, math.inf).steps_per_report

    assert steps(warm_start=trained[0]) == steps(encoder="mlp")
    assert steps(warm_start=laid_out[0], encoder="mlp") == steps()
    assert 10 * steps() < steps(encoder="mlp")


def test_it_can_be_trained_on_by_gradients(
    laid_out: tuple[str, dict[str, Any]], stored: Stored, tmp_path: Path
) -> None:
    parameters = TrainingParameters(warm_start=laid_out[0], n_epochs=20, loss_report_frequency=2, n_training_epochs=1)
    manifest = fit(stored.source, stored.graph, str(tmp_path), parameters)
    assert manifest["history"]["val_loss"][0] < 1.2 * artefact.load_history(laid_out[0])["val_loss"][-1]
    before, after = (artefact.load_encoder(place).get_layer("prototypes") for place in (laid_out[0], str(tmp_path)))
    np.testing.assert_array_equal(before.keys, after.keys)
    assert (ops.convert_to_numpy(before.values) != ops.convert_to_numpy(after.values)).mean() > 0.9


def test_gradients_go_on_behind_the_layout_and_so_does_its_history(stored: Stored, tmp_path: Path) -> None:
    parameters = TrainingParameters(
        n_training_epochs=1,
        n_epochs=20,
        loss_report_frequency=2,
        parametric_reconstruction=True,
        global_correlation_loss_weight=0.1,
        csv_log=f"{tmp_path}/log.csv",
    )
    manifest = fit(stored.source, stored.graph, str(tmp_path), parameters)
    history = artefact.load_history(str(tmp_path))
    assert len(history["val_loss"]) == manifest["stopped_epoch"] == 4
    assert manifest["best_epoch"] == 2 + int(np.argmin(history["val_loss"][2:]))
    assert manifest["best_val_loss"] == min(history["val_loss"][2:])
    for name in ("correlation", "reconstruction", "val_reconstruction"):
        assert [value is None for value in history[name]] == [True, True, False, False]
    lines = list(csv.DictReader(Path(tmp_path, "log.csv").read_text().splitlines()))
    assert [line["report"] for line in lines] == ["0", "1", "2", "3"]
    assert [float(line["val_loss"]) for line in lines] == history["val_loss"]
    assert [line["reconstruction"] == "" for line in lines] == [True, True, False, False]


def test_landmarks_stay_and_the_rest_follows(
    laid_out: tuple[str, dict[str, Any]], stored: Stored, digits: NDArray[np.float32], tmp_path: Path
) -> None:
    before = artefact.load_encoder(laid_out[0]).predict(digits, verbose=0)
    wanted = np.full((600, 2), np.nan, np.float32)
    wanted[::4] = before[::4]
    url = str(tmp_path / "places.zarr")
    arrays.create_array(url, shape=wanted.shape, dtype=wanted.dtype)[:] = wanted
    moved = {}
    for name, landmarks in (("held", url), ("free", None)):
        parameters = TrainingParameters(landmark_positions=landmarks, random_state=7)
        fit(stored.source, stored.graph, str(tmp_path / name), parameters)
        after = artefact.load_encoder(str(tmp_path / name)).predict(digits, verbose=0)
        moved[name] = np.median(np.linalg.norm(after - before, axis=1)) / np.ptp(before)
        assert trustworthiness(digits, after, n_neighbors=15) > 0.95
    assert moved["held"] < 0.05
    assert moved["free"] > 2 * moved["held"]


def test_a_decoder_undoes_it(
    stored: Stored, digits: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MOST_PASSES", 30)
    fit(
        stored.source,
        stored.graph,
        str(tmp_path),
        TrainingParameters(
            parametric_reconstruction=True,
            reconstruction_validation=stored.source,
            optimizer={"class_name": "Adam", "config": {"learning_rate": 0.01}},
        ),
    )
    places = artefact.load_encoder(str(tmp_path)).predict(digits, verbose=0)
    error = np.mean((artefact.load_decoder(str(tmp_path)).predict(places, verbose=0) - digits) ** 2)
    assert error < 0.7 * np.mean((digits - digits.mean(0)) ** 2)
    history = artefact.load_history(str(tmp_path))
    assert len(history["val_reconstruction"]) == len(history["reconstruction_validation"])
    assert min(history["reconstruction_validation"]) == pytest.approx(error, rel=0.1)


def test_a_finished_model_gets_a_decoder_and_its_map_stays(
    laid_out: tuple[str, dict[str, Any]], stored: Stored, digits: NDArray[np.float32], tmp_path: Path
) -> None:
    parameters = TrainingParameters(
        warm_start=laid_out[0], n_training_epochs=0, parametric_reconstruction=True, learning_rate=0.01
    )
    manifest = fit(stored.source, stored.graph, str(tmp_path), parameters)
    assert (manifest["steps"], manifest["best_val_loss"]) == (0, None)
    encoder = artefact.load_encoder(str(tmp_path))
    for one, other in zip(encoder.get_weights(), artefact.load_encoder(laid_out[0]).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    back = artefact.load_decoder(str(tmp_path)).predict(encoder.predict(digits, verbose=0), verbose=0)
    assert np.mean((back - digits) ** 2) < 0.7 * np.mean((digits - digits.mean(0)) ** 2)
