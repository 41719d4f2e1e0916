"""The words of the command line: groups, names, values."""

from pathlib import Path

import pytest

from pumascale.tasks.parameters import MANY_ROWS, ComputeParameters
from pumascale.tasks.settings import read_groups
from pumascale.tasks.storage.errors import InputError

EVERY = ("graph", "training", "embedding", "compute")


def test_a_setting_goes_over_the_file_and_keeps_its_other_values() -> None:
    groups = read_groups(["graph.n_neighbors=30"], "graph: {n_neighbors: 5, metric: cosine}", EVERY)
    assert groups["graph"].model_dump(include={"n_neighbors", "metric"}) == {"n_neighbors": 30, "metric": "cosine"}


def test_urls_mean_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {
        "graph": ["labels", "precomputed_knn"],
        "training": ["landmark_positions", "reconstruction_validation", "warm_start", "csv_log", "tensorboard_log"],
        "embedding": ["texts"],
    }
    settings = [f"{group}.{name}=mine/here" for group in names for name in names[group]]
    groups = read_groups([*settings, "training.encoder=mine.keras", "training.decoder=mine:build"], "", EVERY)
    for group in names:
        values = groups[group].model_dump()
        assert [values[name] for name in names[group]] == [str(tmp_path / "mine" / "here")] * len(names[group])
    assert groups["training"].model_dump(include={"encoder", "decoder"}) == {
        "encoder": str(tmp_path / "mine.keras"),
        "decoder": "mine:build",
    }
    elsewhere = read_groups(["graph.labels=s3://bucket/labels/"], "", EVERY)
    assert elsewhere["graph"].model_dump()["labels"] == "s3://bucket/labels"


def test_values_are_yaml() -> None:
    groups = read_groups(["training.hidden_units=[8, 4]", "graph.angular_rp_forest=true", "training.a=null"], "", EVERY)
    assert groups["training"].model_dump()["hidden_units"] == [8, 4]
    assert groups["graph"].model_dump()["angular_rp_forest"] is True


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("graph.n_neighbour=3", "Did you mean 'n_neighbors'?"),
        ("grahp.n_neighbors=3", "Did you mean 'graph'?"),
        ("graph.n_neighbors=1", "greater than or equal to 2"),
        ("graph.random_state=4294967296", "less than or equal to 4294967295"),
        ("training.random_state=4294967296", "less than or equal to 4294967295"),
        ("n_neighbors=3", "expected GROUP.NAME=VALUE"),
    ],
)
def test_a_wrong_setting_says_what_to_change(setting: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason.replace("?", r"\?")):
        read_groups([setting], "", EVERY)


def test_a_file_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(InputError, match="must map groups"):
        read_groups([], "- 1", EVERY)


def test_a_group_whose_lines_are_all_comments_has_its_defaults() -> None:
    groups = read_groups([], "graph:\n  # n_neighbors: 30\ntraining: {encoder: mlp}", EVERY)
    assert groups["graph"].model_dump()["n_neighbors"] == 15
    assert groups["training"].model_dump()["encoder"] == "mlp"


def test_what_is_no_yaml_is_refused() -> None:
    with pytest.raises(InputError, match=r"The value of --set graph.metric_kwds=\{p is not YAML"):
        read_groups(["graph.metric_kwds={p"], "", EVERY)
    with pytest.raises(InputError, match="The parameters file is not YAML"):
        read_groups([], "graph: {n_neighbors: 3", EVERY)


def test_only_a_cluster_places_rows_after_another_stage_and_only_many() -> None:
    there, local = ComputeParameters(scheduler_address="tcp://host:8786"), ComputeParameters(n_workers=4)
    assert there.for_placing(MANY_ROWS) is there
    assert there.for_placing(MANY_ROWS - 1) is None
    assert local.for_placing(MANY_ROWS) is ComputeParameters().for_placing(MANY_ROWS) is None
