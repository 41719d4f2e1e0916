"""The main job on a real Prefect server with real Dask workers: what is made, reused, made again, and refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import xarray
import zarr

from pumascale.flows.export_model import export_model
from pumascale.flows.fit import fit
from pumascale.flows.fit_transform import fit_transform
from pumascale.flows.inverse_transform import inverse_transform
from pumascale.flows.transform import transform
from pumascale.flows.update import update
from pumascale.tasks import parameters, preflight
from pumascale.tasks.embedding import networks
from pumascale.tasks.parameters import EmbeddingParameters, GraphParameters, TrainingParameters
from pumascale.tasks.storage import finite, urls
from pumascale.tasks.storage.errors import InputError
from tests.flows.conftest import COMPUTE, GRAPH, TRAINING, artifacts, write_digits

REPORTED = COMPUTE.model_copy(update={"performance_report": True})


def run(source: str, workspace: str, **changes: Any) -> Any:
    return fit_transform(source, workspace, **{"graph": GRAPH, "training": TRAINING, "compute": COMPUTE} | changes)


@dataclass(frozen=True)
class Made:
    """What was asked for, and the run's manifest."""

    source: str
    labels: str
    workspace: str
    target: str
    result: dict[str, Any]
    run: str

    def again(self, **changes: Any) -> dict[str, Any]:
        """The same request once more."""
        return run(self.source, self.workspace, labels=self.labels, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The main job, once."""
    folder = tmp_path_factory.mktemp("made")
    source, labels = write_digits(str(folder / "data"))
    workspace, target = str(folder / "work"), str(folder / "map")
    state = run(source, workspace, labels=labels, target=target, compute=REPORTED, return_state=True)
    return Made(source, labels, workspace, target, state.result(), str(state.state_details.flow_run_id))


def test_the_main_job_from_rows_to_map(made: Made) -> None:
    first = made.result
    assert first["cached"] == []
    assert first["version"] == 1
    assert (first["n_rows"], first["n_components"]) == (500, 2)
    assert list(first["seconds"]) == ["build_graph", "train_encoder", "write_embedding"]
    check_outputs(first)
    check_quality(first["quality"])


def test_what_is_there_is_not_made_again(made: Made) -> None:
    first, stages = made.result, ["build_graph", "train_encoder", "write_embedding"]
    again = made.again(target=made.target)
    assert again["cached"] == stages
    for name in ("graph", "model", "embedding", "version", "quality"):
        assert again[name] == first[name]

    for stage, name in zip(stages, ("graph", "model", "embedding"), strict=True):
        urls.remove_tree(first[name])
        assert made.again()["cached"] == [other for other in stages if other != stage]

    other = made.again(training=TRAINING.model_copy(update={"min_dist": 0.5}))
    assert other["cached"] == ["build_graph"]
    assert other["graph"] == first["graph"]
    assert other["model"] != first["model"]


def check_outputs(result: dict[str, Any]) -> None:
    place = Path(result["embedding"])
    array = zarr.open_array(place / "embedding", mode="r")
    assert (array.shape, array.dtype) == ((500, 2), np.float32)
    assert np.isfinite(np.asarray(array[:])).all()
    assert array.attrs["model"] == result["model"]
    seen = xarray.open_zarr(place, consolidated=False)["embedding"]
    assert seen.dims == ("row", "component")
    assert (place / "map.png").read_bytes().startswith(b"\x89PNG")
    assert (Path(result["model"]) / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "http" not in (place / "report.html").read_text().split("<script")[0]
    assert not (Path(result["graph"]) / "scratch").exists()
    assert "</html>" in (Path(result["graph"]) / "dask-report.html").read_text()


def check_quality(quality: dict[str, Any]) -> None:
    assert (quality["knn_recall"], quality["knn_recall_sample"], quality["n_neighbors"]) == (1.0, 50, 15)
    for kind in ("trained", "held_out"):
        assert quality[kind]["sample"] == {"trained": 450, "held_out": 50}[kind]
        assert quality[kind]["trustworthiness"] > 0.7
        assert 0.05 < quality[kind]["neighbor_recall"] <= 1
        assert quality[kind]["label_accuracy"] > 0.3


def test_places_without_a_network_are_the_map_of_their_own_rows(tmp_path: Path, digits: tuple[str, str]) -> None:
    source, _ = digits
    places = TRAINING.model_copy(update={"encoder": "prototypes", "parametric_embedding": False, "n_epochs": 300})
    made = run(source, str(tmp_path / "work"), training=places)
    assert made["quality"]["trained"]["trustworthiness"] > 0.8
    assert np.isfinite(np.asarray(zarr.open_array(f"{made['embedding']}/embedding")[:])).all()
    new, _ = write_digits(str(tmp_path / "new"), 60)
    with pytest.raises(InputError, match="it holds places instead of a network, for its own rows only"):
        transform(new, made["model"])


def test_fit_then_transform_of_new_rows(
    tmp_path: Path, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = digits
    trained = fit(source, str(tmp_path / "work"), graph=GRAPH, training=TRAINING, compute=COMPUTE)
    new, _ = write_digits(str(tmp_path / "new"), 60)
    texts = np.array([f"text of {row}" for row in range(60)], dtype=np.dtypes.StringDType())
    zarr.create_array(tmp_path / "texts", data=texts, chunks=(7,))
    shown = EmbeddingParameters(texts=str(tmp_path / "texts"))
    written = transform(new, trained["model"], target=str(tmp_path / "map"), embedding=shown)
    assert written["n_rows"] == 60
    page = (Path(written["embedding"]) / "report.html").read_text()
    assert '"texts": ["text of 0", ' in page
    assert page.count("text of ") == 60
    assert (written["graph"], written["model"]) == (trained["graph"], trained["model"])
    assert written["embedding"].startswith(str(tmp_path / "work" / "embeddings"))
    # Served without pumascale, the encoder gives the same places.
    done = export_model(trained["model"], str(tmp_path / "encoder.onnx"))
    assert (done["network"], done["to"]) == ("encoder", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    served = session.run(None, {session.get_inputs()[0].name: zarr.open_array(new, mode="r")[:]})[0]
    points = zarr.open_array(f"{written['embedding']}/embedding", mode="r")[:]
    np.testing.assert_allclose(served, points, atol=1e-3)
    with pytest.raises(InputError, match="has no decoder"):
        export_model(trained["model"], str(tmp_path / "decoder.onnx"), network="decoder")
    # NaN in data that are too large to be looked through first.
    monkeypatch.setattr(preflight, "SMALL_BYTES", 0)
    zarr.open_array(new, mode="r+")[7, 3] = np.nan
    with pytest.raises(InputError, match=r"NaN or inf in 1 of its 60 rows, first in row 7"):
        transform(new, trained["model"], workspace=str(tmp_path / "other"))
    assert not urls.list_objects(str(tmp_path / "other"))


def test_a_model_places_its_own_rows_also_when_its_graph_is_gone(tmp_path: Path, digits: tuple[str, str]) -> None:
    source, _ = digits
    trained = fit(source, str(tmp_path / "work"), graph=GRAPH, training=TRAINING, compute=COMPUTE)
    urls.remove_tree(trained["graph"])
    placed = transform(source, trained["model"])
    assert (placed["n_rows"], placed["quality"]) == (500, {})


def test_labels_shape_the_graph_and_the_map(tmp_path: Path, digits: tuple[str, str]) -> None:
    # By chance, so nothing but the labels brings rows of a kind together.
    array = zarr.open_array(digits[1], mode="r+")
    array[:] = np.random.default_rng(0).integers(0, 2, array.shape)
    accuracy = {}
    for labels, weight in ((None, 0.5), (digits[1], 0.9)):
        graph = GRAPH.model_copy(update={"labels": labels, "target_weight": weight})
        result = run(digits[0], str(tmp_path / "work"), labels=digits[1], graph=graph, training=TrainingParameters())
        accuracy[weight] = result["quality"]["trained"]["label_accuracy"]
    assert accuracy[0.9] > accuracy[0.5] + 0.2, accuracy


def test_rows_come_back_from_the_map(tmp_path: Path, digits: tuple[str, str]) -> None:
    training = TRAINING.model_copy(update={"parametric_reconstruction": True})
    result = run(digits[0], str(tmp_path / "work"), training=training)
    back = inverse_transform(f"{result['embedding']}/embedding", result["model"])
    rows = np.asarray(zarr.open_array(f"{back['rows']}/rows", mode="r")[:])
    assert rows.shape == (500, 64)
    original = np.asarray(zarr.open_array(digits[0], mode="r")[:])
    assert np.mean((rows - original) ** 2) < np.mean(original**2)


def test_a_model_without_a_decoder_has_no_way_back(made: Made) -> None:
    with pytest.raises(InputError, match="has no decoder"):
        inverse_transform(f"{made.result['embedding']}/embedding", made.result["model"])


def test_the_same_job_on_object_storage(s3: str) -> None:
    source, labels = write_digits(f"{s3}/data")
    result = run(source, f"{s3}/work", labels=labels, target=f"{s3}/map")
    embedding = zarr.open_array(f"{result['embedding']}/embedding", mode="r")
    assert np.isfinite(np.asarray(embedding[:])).all()
    assert run(source, f"{s3}/work", labels=labels)["cached"] == ["build_graph", "train_encoder", "write_embedding"]


def test_the_run_page_has_pictures_tables_and_progress(made: Made) -> None:
    found = artifacts(made.run)
    kinds = {(artifact.type, artifact.key) for artifact in found}
    assert {("image", "map"), ("image", "loss"), ("markdown", "build-graph"), ("markdown", "quality")} <= kinds
    assert [artifact.type for artifact in found].count("progress") == 3
    for stage in ("build-graph", "train-encoder", "write-embedding"):
        table = next(str(artifact.data) for artifact in found if artifact.key == stage)
        for figure in ("seconds", "peak_memory", "input_bytes", "output_bytes"):
            assert f"| {figure} | " in table
    page = f"{made.result['graph']}/dask-report.html"
    assert any(f"| performance_report | {page} |" in str(artifact.data) for artifact in found)
    outputs = next(str(artifact.data) for artifact in found if artifact.key == "outputs")
    for file in (page, f"{made.result['model']}/held_out.npy", f"{made.result['embedding']}/report.html"):
        assert f"| `{file}` |" in outputs
    assert "decoder.keras" not in outputs


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"graph": GraphParameters(n_neighbors=500)}, "too few for graph.n_neighbors"),
        ({"graph": GraphParameters(metric="euclidian")}, "Did you mean 'euclidean'"),
        ({"training": TrainingParameters(encoder="nowhere:made")}, "nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, digits: tuple[str, str], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        run(digits[0], str(tmp_path / "work"), **changes)
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


def test_a_strangers_target_is_refused_and_kept(tmp_path: Path, digits: tuple[str, str]) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="was not made by pumascale"):
        run(digits[0], str(tmp_path / "work"), target=str(tmp_path / "map"))
    assert (tmp_path / "map" / "thesis.txt").read_text() == "years of work"


def test_in_data_too_large_to_be_looked_through_first_the_stage_counts_and_names_rows_with_nan(
    tmp_path: Path, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In others: tests/test_refusals.py."""
    monkeypatch.setattr(preflight, "SMALL_BYTES", 0)
    monkeypatch.setattr(finite, "check_finite", None)  # they are met where they are partitioned
    array = zarr.open_array(digits[0], mode="r+")
    array[7, 3] = np.nan
    with pytest.raises(InputError, match=r"NaN or inf in 1 of its 500 rows, first in row 7"):
        run(digits[0], str(tmp_path / "work"))
    assert not urls.list_objects(str(tmp_path / "work"))


def test_a_cluster_places_many_rows_too(
    tmp_path: Path, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "MANY_ROWS", 500)
    monkeypatch.setattr(networks, "load_encoder", None)  # in this process; workers have their own
    result = run(digits[0], str(tmp_path / "work"))
    assert np.isfinite(zarr.open_array(f"{result['embedding']}/embedding", mode="r")[:]).all()
    made = update(digits[0], result["model"], str(tmp_path / "map"), str(tmp_path / "other"), compute=COMPUTE)
    assert made["rows_added"] == 500


def test_rows_with_nan_can_be_kept_as_rows_without_a_place(tmp_path: Path, digits: tuple[str, str]) -> None:
    array = zarr.open_array(digits[0], mode="r+")
    array[7, 3] = np.nan
    skipping = GRAPH.model_copy(update={"non_finite": "skip"})
    result = run(digits[0], str(tmp_path / "work"), graph=skipping, embedding=EmbeddingParameters(non_finite="nan"))
    points = np.asarray(zarr.open_array(f"{result['embedding']}/embedding", mode="r")[:])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(points).any(axis=1)), [7])


def test_a_workspace_that_cannot_be_written_is_refused(tmp_path: Path, digits: tuple[str, str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(digits[0], str(tmp_path / "file" / "work"))
