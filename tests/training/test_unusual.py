"""Unusual but legal data in training: scales and numbers of rows that most data do not have."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pumascale.tasks.storage import graph_store
from pumascale.tasks.training.fit import fit
from pumascale.tasks.training.problem import read_landmarks
from pumascale.tasks.training.prototypes import prototype_encoder
from pumascale.tasks.training.trained import flat_rows
from tests.training.conftest import short, store, store_edges


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
@pytest.mark.parametrize("scale", [1e-17, 1e-26])
def test_an_angular_metric_forgets_any_length(digits: NDArray[np.float32], metric: str, scale: float) -> None:
    flat, tiny = flat_rows(digits, metric), (digits * scale).astype(np.float32)
    np.testing.assert_allclose(flat_rows(tiny, metric), flat, atol=1e-5)
    encoder = prototype_encoder((64,), 2, 100, metric, 1.0)
    layer = encoder.get_layer("prototypes")
    layer.set_keys(flat[:100])
    layer.set_values(np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
    np.testing.assert_allclose(encoder.predict(tiny, verbose=0), layer(flat), atol=1e-2)


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**-50, 2.0**55])
def test_a_row_attends_alike_whatever_the_scale(scale: float) -> None:
    """Also beside keys that only fill a group up, which nothing may be near to."""
    rows = np.random.default_rng(0).normal(size=(1130, 20)).astype(np.float32)
    layer = prototype_encoder((20,), 2, 1030, "euclidean", 1.0).get_layer("prototypes")
    layer.set_keys(rows[:1030])
    chosen, weight = layer.attend(rows[1030:])
    scaled = rows * np.float32(scale)
    layer.set_keys(scaled[:1030])
    np.testing.assert_array_equal(layer.attend(scaled[1030:])[0], chosen)
    np.testing.assert_allclose(layer.attend(scaled[1030:])[1], weight, atol=1e-6)


@pytest.mark.parametrize(("n_bad", "validation_split"), [(0, 0.0), (40, 0.1)])
def test_a_decoder_of_a_layout_needs_neither_held_out_rows_nor_all_rows_finite(
    tmp_path: Path, digits: NDArray[np.float32], n_bad: int, validation_split: float
) -> None:
    edges = graph_store.read_edges(store(tmp_path / "finite", digits[: 300 - n_bad]).graph)
    rows = np.concatenate([digits[: 300 - n_bad], np.full((n_bad, 64), np.nan, np.float32)])
    place = store_edges(tmp_path, rows, *edges)  # as graph.non_finite=skip leaves bad rows
    asked = short(
        encoder="prototypes", n_epochs=5, validation_split=validation_split, parametric_reconstruction=True, patience=1
    )
    manifest = fit(place.source, place.graph, str(tmp_path / "model"), asked)
    assert np.isfinite(manifest["history"]["reconstruction"]).all()
    assert ("val_reconstruction" in manifest["history"]) == (validation_split > 0)


def test_a_row_that_is_held_in_part_is_free(tmp_path: Path) -> None:
    """As in training by gradients; a layout held it on one axis, or sent it to infinity."""
    wanted = np.array([[1, 2], [np.nan, 3], [4, np.inf]], np.float32)
    zarr.create_array(str(tmp_path / "places"), data=wanted)
    held = read_landmarks(short(landmark_positions=str(tmp_path / "places")))
    np.testing.assert_array_equal(held, [[1, 2], [np.nan] * 2, [np.nan] * 2])


@pytest.mark.parametrize("encoder", ["prototypes", "mlp"])
def test_rows_that_came_behind_the_graph_are_none_of_the_training(
    tmp_path: Path, digits: NDArray[np.float32], encoder: str
) -> None:
    """An update would take them for trained ones, and a resumed training would hold other rows out."""
    place = store(tmp_path, digits[:300])
    asked, before, after = short(encoder=encoder, n_epochs=5), tmp_path / "before", tmp_path / "after"
    fit(place.source, place.graph, str(before), asked)
    zarr.open_array(place.source).append(digits[300:400])
    manifest = fit(place.source, place.graph, str(after), asked)
    assert manifest["n_rows"] == 300
    assert (after / "held_out.npy").read_bytes() == (before / "held_out.npy").read_bytes()
