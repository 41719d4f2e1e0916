"""Night after night: only appended rows are placed, what changed in place is refused, drift leads to a new model."""

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from prefect.client.orchestration import get_client
from sklearn.datasets import load_digits

from pumascale.flows.fit import fit
from pumascale.flows.transform import transform
from pumascale.flows.update import update
from pumascale.tasks.embedding import blocks, encode
from pumascale.tasks.parameters import EmbeddingParameters, TrainingParameters
from pumascale.tasks.recipe import read_recipe
from pumascale.tasks.storage import arrays, manifests, model_store, targets, urls
from pumascale.tasks.storage.errors import InputError
from tests.flows.conftest import COMPUTE, GRAPH

ROWS = load_digits().data.astype(np.float32)
TRAINED = 500
PROTOTYPES = TrainingParameters(n_prototypes=100, n_epochs=30, loss_report_frequency=2)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a model of the first 500 digits."""
    folder = tmp_path_factory.mktemp("fitted")
    create(str(folder / "rows"), ROWS[:TRAINED])
    made = fit(str(folder / "rows"), str(folder / "work"), graph=GRAPH, training=PROTOTYPES, compute=COMPUTE)
    return str(made["model"])


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 128 rows of the map, so that few rows have many."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(blocks, "MOST_SHARD_ROWS", 128)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows, padding left out, of every batch that is placed: what drift encodes is not of the map."""
    seen: list[int] = []
    place = encode.encode

    def watched(source: str, network: blocks.Network, target: str, **asked: Any) -> dict[str, Any]:
        def counted(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            seen.append(int((rows != 0).any(axis=1).sum()))
            return network(rows)

        return place(source, counted, target, **asked)

    monkeypatch.setattr(encode, "encode", watched)
    return seen


class Night:
    """A source that grows, its target, and the update of both."""

    def __init__(self, folder: Path, model: str) -> None:
        self.source, self.target = str(folder / "rows"), str(folder / "map")
        self.workspace, self.model = str(folder / "work"), model
        create(self.source, ROWS[:TRAINED])

    def append(self, rows: NDArray[np.float32]) -> None:
        zarr.open_array(self.source, mode="r+").append(rows)

    def update(self, **changes: Any) -> dict[str, Any]:
        options = {"workspace": self.workspace, "compute": COMPUTE} | changes
        return update(self.source, self.model, self.target, **options)


def create(url: str, rows: NDArray[np.float32]) -> None:
    """A source as its owner writes it, in chunks of 100 rows."""
    zarr.create_array(url, shape=rows.shape, dtype=rows.dtype, chunks=(100, 64))[:] = rows


@pytest.fixture
def night(tmp_path: Path, fitted: str) -> Night:
    return Night(tmp_path, fitted)


def points(result: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(zarr.open_array(f"{result['embedding']}/embedding", mode="r")[:])


def files(folder: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


def shift(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Digits as a camera that inverts would see them."""
    return np.asarray(40 - 2 * rows, np.float32)


def test_appended_rows_are_placed_and_the_others_not_again(night: Night, encoded: list[int]) -> None:
    first = night.update()
    assert (first["version"], first["rows_added"], first["rows_adopted"], first["drift"]) == (1, 500, 0, 0)
    before = files(first["embedding"])
    encoded.clear()
    night.append(ROWS[500:630])

    second = night.update()
    assert (second["version"], second["n_rows"], second["rows_added"]) == (2, 630, 130)
    assert second["rows_adopted"] == 384  # the whole shards of 128 rows
    assert sum(encoded) == 630 - 384
    assert second["cached"] == []
    assert 0 <= second["drift"] < 0.2
    assert (second["model"], second["target"], second["drift_over"]) == (night.model, night.target, None)
    assert second["graph"] == (manifests.read_manifest(night.model) or {})["graph"]

    assert before.items() <= files(first["embedding"]).items()
    for shard in range(3):
        name = f"embedding/c/{shard}/0"
        assert urls.read_bytes(f"{first['embedding']}/{name}") == urls.read_bytes(f"{second['embedding']}/{name}")
    whole = transform(night.source, night.model, workspace=f"{night.workspace}-whole")
    np.testing.assert_array_equal(points(second), points(whole))
    np.testing.assert_array_equal(points(second)[:500], points(first))

    encoded.clear()
    again = night.update()
    assert (again["cached"], again["rows_added"], again["version"]) == (["write_embedding"], 0, 2)
    assert again["embedding"] == second["embedding"]
    assert encoded == []
    assert sum(again["seconds"].values()) < 5


def test_a_killed_update_publishes_nothing_and_goes_on(
    night: Night, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    night.update()
    night.append(ROWS[500:760])
    note = blocks.note_shard

    def note_and_die(target: str, array: Any, rows: blocks.Range, n_bad: int) -> None:
        note(target, array, rows, n_bad)
        if rows[0] == 512:  # the second that this night encodes
            raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(blocks, "note_shard", note_and_die)
        with pytest.raises(RuntimeError, match="killed"):
            night.update()
    assert (targets.newest(night.target) or {})["version"] == 1
    encoded.clear()
    done = night.update()
    assert (done["version"], done["rows_added"], done["rows_adopted"]) == (2, 260, 384)
    assert sum(encoded) == 760 - 640


@contextmanager
def appending_before(step: str, night: Night, rows: NDArray[np.float32]) -> Iterator[None]:
    """Inside, the owner of the source appends `rows` when an update is about to do `step`."""
    do = pkgutil.resolve_name(step)

    def append_and_do(*asked: Any, **options: Any) -> Any:
        night.append(rows)
        return do(*asked, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step, append_and_do)
        yield


def test_rows_that_come_while_an_update_runs_are_in_its_map_or_in_the_next(night: Night) -> None:
    night.update()
    night.append(ROWS[500:600])
    with appending_before("pumascale.flows.update.measure_drift", night, ROWS[600:700]):
        second = night.update()
    assert (second["n_rows"], second["rows_added"], second["rows_adopted"], second["version"]) == (700, 200, 384, 2)
    night.append(ROWS[700:750])
    with appending_before("pumascale.tasks.embedding.encode.encode", night, ROWS[750:800]):
        third = night.update()
    assert (third["n_rows"], third["rows_added"], len(points(third))) == (750, 50, 750)
    fourth = night.update()
    assert (fourth["n_rows"], fourth["rows_added"], fourth["version"]) == (800, 50, 4)
    whole = transform(night.source, night.model, workspace=f"{night.workspace}-whole")
    np.testing.assert_array_equal(points(fourth), points(whole))


def test_rows_that_come_while_a_model_is_made_anew_are_placed_by_it(night: Night) -> None:
    night.update()
    night.append(shift(ROWS[500:600]))
    with appending_before("pumascale.flows.update.train_encoder", night, ROWS[600:700]):
        second = night.update(retrain_above=0.5)
    assert (second["retrained"], second["n_rows"], second["rows_added"]) == (True, 700, 200)
    assert second["movement"]["median_share"] < 0.1
    assert np.isfinite(points(second)).all()


def test_a_source_that_changed_in_place_is_refused_until_forced(night: Night) -> None:
    first = night.update()
    night.append(ROWS[500:560])
    array = zarr.open_array(night.source, mode="r+")
    array[250] = ROWS[1000]
    before = files(night.workspace) | files(night.target)
    with pytest.raises(InputError, match=r"changed in place: the chunks of rows 200 to 300 .* --force"):
        night.update()
    with pytest.raises(InputError, match="shows the rows of"):
        update(str(Path(night.model).parents[2] / "rows"), night.model, night.target)
    assert files(night.workspace) | files(night.target) == before

    forced = night.update(force=True)
    assert (forced["version"], forced["n_rows"], forced["rows_adopted"]) == (2, 560, 0)
    assert (points(forced)[250] != points(first)[250]).any()
    again = night.update()
    assert (again["cached"], again["version"]) == (["write_embedding"], 2)


def test_rows_unlike_the_trained_ones_drift_and_a_new_model_takes_over(night: Night) -> None:
    first = night.update()
    night.append(ROWS[500:600])
    alike = night.update(retrain_above=0.5)
    assert (alike["drift_over"], alike["retrained"], alike["movement"]) == (False, False, None)
    night.append(shift(ROWS[600:700]))

    second = night.update(retrain_above=0.5)
    assert second["drift"] > 0.9 > alike["drift"] + 0.5
    assert (second["drift_over"], second["retrained"], second["version"]) == (True, True, 3)
    assert second["model"] != night.model
    assert (second["n_rows"], second["rows_added"], second["rows_adopted"]) == (700, 100, 0)
    check_movement(second, points(first))
    check_losses(alike, second)
    with get_client(sync_client=True) as client:
        assert "drift" in {artifact.key for artifact in client.read_artifacts()}

    night.append(shift(ROWS[700:760]))
    third = night.update(retrain_above=0.5)
    assert (third["model"], third["retrained"]) == (second["model"], False)
    assert third["drift"] < 0.5
    assert third["rows_adopted"] == 640


def test_a_source_in_another_order_is_not_held_where_the_old_map_has_other_rows(night: Night) -> None:
    night.update()
    night.append(shift(ROWS[500:600]))
    array = zarr.open_array(night.source, mode="r+")
    array[:500] = array[:500][::-1]
    second = night.update(retrain_above=0.5, force=True)
    assert (second["retrained"], second["n_rows"], second["movement"]) == (True, 600, None)
    trained = manifests.read_manifest(second["model"]) or {}
    assert trained["parameters"]["landmark_positions"] is None
    array.append(shift(ROWS[600:640]))
    assert night.update()["model"] == second["model"]


def check_losses(alike: dict[str, Any], unlike: dict[str, Any]) -> None:
    """In the manifests and on the page: new rows lose as held-out ones until they are unlike all that were seen."""
    first, second = ((manifests.read_manifest(result["embedding"]) or {})["drift"] for result in (alike, unlike))
    alike_loss, unlike_loss = (one["edge_loss"] / one["held_out_edge_loss"] for one in (first, second))
    assert alike_loss < 2  # of 100 rows for 50 held out: they differ by chance
    assert unlike_loss > max(1.5, 1.2 * alike_loss)
    page = (Path(unlike["embedding"]) / "report.html").read_text()
    assert "drift.median_new" in page
    assert "drift.held_out_edge_loss" in page


def check_movement(result: dict[str, Any], old: NDArray[np.float32]) -> None:
    """The figures by their definition, and small beside the map."""
    before = points(result | {"embedding": previous_of(result)})
    moved = np.linalg.norm(points(result)[:600] - before, axis=1)
    assert result["movement"]["median"] == pytest.approx(float(np.median(moved)), rel=1e-5)
    assert result["movement"]["percentile_95_share"] == pytest.approx(
        float(np.percentile(moved, 95) / np.ptp(before, axis=0).max()), rel=1e-5
    )
    np.testing.assert_array_equal(before[:500], old)
    assert result["movement"]["median_share"] < 0.1


@pytest.mark.long
def test_a_retrained_map_is_where_the_old_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, work = str(tmp_path / "rows"), str(tmp_path / "work")
    create(source, ROWS[:1200])
    asked = TrainingParameters(n_prototypes=300, n_epochs=200, loss_report_frequency=2)
    model = fit(source, work, graph=GRAPH, training=asked, compute=COMPUTE)["model"]
    for target in ("held", "free"):
        update(source, model, str(tmp_path / target), compute=COMPUTE)
    zarr.open_array(source, mode="r+").append(ROWS[1200:])
    retrained = update(source, model, str(tmp_path / "held"), retrain_above=0, compute=COMPUTE)
    monkeypatch.setattr("pumascale.flows.update.write_landmarks", lambda *asked: None)
    anew = update(source, model, str(tmp_path / "free"), retrain_above=0, compute=COMPUTE)
    before, *after = (model_store.read_prototypes(url) for url in (model, retrained["model"], anew["model"]))
    stay, drawn = (np.isin(ids, before).mean() for ids in after)
    assert stay > drawn
    held, free = retrained["movement"], anew["movement"]
    assert held["rows"] == free["rows"] == 1200
    # Seen: 0.4 % of the map's width for 28 % in the median, 3.0 % for 90 % in the 95th percentile.
    assert held["median_share"] <= 0.02 < 0.25 < free["median_share"]
    assert held["percentile_95_share"] <= 0.05 < 0.5 < free["percentile_95_share"]


def previous_of(result: dict[str, Any]) -> str:
    name = f"{result['target']}/_commits/{result['version'] - 1:08d}.json"
    return str((manifests.read_json(name) or {})["embedding"])


def test_what_cannot_be_retrained_is_refused_at_once(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = str((manifests.read_manifest(night.model) or {})["graph"])
    content = manifests.read_manifest(graph) or {}
    brought = content | {"parameters": content["parameters"] | {"precomputed_knn": "/knn"}}
    monkeypatch.setattr("pumascale.tasks.storage.graph_store.read_graph_manifest", lambda place: brought)
    with pytest.raises(InputError, match="brought neighbours"):
        read_recipe(night.model)


def recipe_with(night: Night, **parameters: Any) -> None:
    """Let the night's model be one that was made with other parameters."""
    own = urls.join(night.workspace, "models", "own")
    copytree(night.model, own)
    content = manifests.read_manifest(own) or {}
    content["parameters"] |= parameters
    urls.write_bytes(f"{own}/manifest.json", manifests.encode_json(content))
    night.model = own


def test_a_decoder_for_a_finished_model_is_no_recipe_for_its_encoder(night: Night) -> None:
    recipe_with(night, warm_start=night.model, n_training_epochs=0, parametric_reconstruction=True)
    assert night.update()["version"] == 1
    with pytest.raises(InputError, match=r"all that was trained of it is a decoder, for the encoder of /"):
        night.update(retrain_above=0.5)


def test_landmarks_of_fewer_rows_are_refused_before_a_graph_is_built(night: Night, tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "held", np.full((500, 2), np.nan, np.float32))
    recipe_with(night, landmark_positions=str(tmp_path / "held"))
    night.append(shift(ROWS[500:600]))
    with pytest.raises(InputError, match=r"landmark_positions=\S+ has shape \(500, 2\), but \(600, 2\) is expected"):
        night.update(retrain_above=0.1)
    assert not Path(night.workspace, "graphs").exists()
    assert night.update()["version"] == 1
    assert night.update(retrain_above=0.5)["cached"] == ["write_embedding"]  # the old map's places would do


def test_old_versions_go_and_what_another_target_shows_stays(night: Night, tmp_path: Path) -> None:
    kept = EmbeddingParameters(keep_versions=2)
    made = []
    for start in (500, 530, 560, 590):
        made.append(night.update(embedding=kept))
        if start == 500:
            targets.publish(str(tmp_path / "other"), made[0]["embedding"], {})
        night.append(ROWS[start : start + 30])
    assert sorted(urls.list_objects(f"{night.target}/_commits")) == ["00000003.json", "00000004.json"]
    assert not Path(made[1]["embedding"]).exists()
    for still in (made[0], made[2], made[3]):
        assert np.isfinite(points(still)).all()
    assert (targets.newest(str(tmp_path / "other")) or {})["embedding"] == made[0]["embedding"]


def test_the_same_on_object_storage(s3: str, tmp_path: Path, fitted: str) -> None:
    model = f"{s3}/work/models/{Path(fitted).name}"
    for path in Path(fitted).rglob("*"):
        urls.upload_file(path, f"{model}/{path.relative_to(fitted)}")
    source = f"{s3}/rows"
    options = urls.storage_options(source)
    zarr.create_array(source, shape=(500, 64), dtype="f4", chunks=(100, 64), storage_options=options)[:] = ROWS[:500]
    update(source, model, f"{s3}/map")
    array = zarr.open_array(source, mode="r+", storage_options=options)
    array.append(ROWS[500:630])
    second = update(source, model, f"{s3}/map", embedding=EmbeddingParameters(keep_versions=1))
    assert (second["rows_added"], second["rows_adopted"], second["version"]) == (130, 384, 2)
    array[10] = ROWS[1000]
    with pytest.raises(InputError, match="changed in place: the chunks of rows 0 to 100"):
        update(source, model, f"{s3}/map")
