"""The run's page: time left by the pace of this run, and a loss curve that is drawn while a training goes on."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pumascale.flows.fit import fit
from pumascale.flows.fit_transform import fit_transform
from pumascale.tasks import run_page, train_encoder, write_embedding
from pumascale.tasks.run_page import Progress, publish_markdown, publish_outputs, publish_picture, say_time
from tests.flows import witness
from tests.flows.conftest import COMPUTE, GRAPH, TRAINING, artifacts


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (125, "2 min"), (9000, "2.5 h")])
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert say_time(seconds) == said


def test_time_left_is_by_the_pace_of_this_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """40 of 100 were there when the step began; 20 more took 30 s, so the other 40 take a minute."""
    clock = iter([0.0, 30.0, 60.0, 90.0])
    # A clock of its own: all of Dask and Prefect look at the real one.
    monkeypatch.setattr(run_page, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    progress = Progress("build_graph")
    with caplog.at_level(logging.INFO, "pumascale"):
        for step, done in [("knn", 40), ("knn", 60), ("knn", 100), ("merge", 1)]:
            progress(step, done, 100)
    assert [record.getMessage() for record in caplog.records] == [
        "build_graph: knn 40/100", "build_graph: knn 60/100, 1 min left",
        "build_graph: knn 100/100", "build_graph: merge 1/100",
    ]  # fmt: skip


def test_the_loss_curve_is_on_the_page_while_the_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: tuple[str, str]
) -> None:
    monkeypatch.setattr(train_encoder, "SECONDS_BETWEEN_PICTURES", 0)
    callback = {"class_name": "tests.flows.witness:Witness", "config": {}}
    watched = TRAINING.model_copy(update={"callbacks": [callback], "loss_report_frequency": 6})
    fit(digits[0], str(tmp_path / "work"), graph=GRAPH, training=watched, compute=COMPUTE)
    curves = [shown["loss"] for shown in witness.SHOWN if "loss" in shown]
    assert len({curve.id for curve in curves}) == 1  # one picture that grows
    assert len({curve.data for curve in curves}) > 2
    assert all(curve.data.startswith("data:image/png;base64,") for curve in curves)
    pace = re.compile(r"train_encoder: train, \d+ s left  .*loss \d\.\d{4}")
    assert any(pace.match(said) for shown in witness.SHOWN for said in shown)


def test_a_server_that_is_gone_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    progress = Progress("train_encoder")
    progress._artifact = uuid4()
    with temporary_settings(gone):
        with pytest.raises(httpx.ConnectError), get_client(sync_client=True) as client:
            client.read_artifacts()
        progress("train", 1, 2)
        # And none before it is there to be shown to.
        monkeypatch.setattr(run_page, "TaskRunContext", SimpleNamespace(get=object))
        monkeypatch.setattr(run_page, "FlowRunContext", SimpleNamespace(get=object))
        Progress("train_encoder")("train", 1, 2)
        publish_markdown("quality", "| recall |")
        publish_outputs({"graph": "/work/graphs/1"})
        assert publish_picture("map", b"png", "The map") is None


def test_a_map_is_committed_before_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: tuple[str, str]
) -> None:
    monkeypatch.setattr(write_embedding, "publish_embedding", None)
    made = fit_transform(digits[0], str(tmp_path / "work"), graph=GRAPH, training=TRAINING, compute=COMPUTE)
    assert (Path(made["embedding"]) / "manifest.json").exists()


def test_paths_are_no_links() -> None:
    @flow
    def outputs() -> str:
        publish_outputs({"graph": "/disk/graph", "rows": "s3://bucket/rows"})
        return str(runtime.flow_run.id)

    (table,) = [found.data for found in artifacts(outputs())]
    assert "| graph | `/disk/graph` |" in table
    assert "| rows rows | [s3://bucket/rows/rows](s3://bucket/rows/rows) |" in table
