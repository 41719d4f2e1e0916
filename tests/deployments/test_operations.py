"""What a night brings: a run is cancelled, a machine dies, the server restarts, a schedule comes due."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pumascale.tasks.training.checkpoints import load_checkpoint, save_checkpoint
from tests.deployments.browser import Browser
from tests.deployments.runs import completed, find, read, request, stages, started, wait_until
from tests.deployments.server import Server

# Prefect's shortest heartbeat is 30 s; the rest is for a busy machine, on which a living run must not be given up.
SILENCE = 45
MARK = 123.0
FROM_CHECKPOINT = {"build_graph": "Cached", "train_encoder": "Completed", "write_embedding": "Completed"}


class Braked:
    """A request whose training takes a minute and a half while the brake is on, seconds otherwise."""

    def __init__(self, place: Path, **training: Any) -> None:
        self.brake = place / "brake"
        self.brake.touch()
        callback = {"class_name": "tests.deployments.brake:Brake", "config": {"path": str(self.brake)}}
        slow = {"loss_report_frequency": 45, "early_stopping": False, "checkpoint_minutes": 0, "callbacks": [callback]}
        self.parameters = request(str(place), batch_size=50, **slow, **training)
        self.models = place / "work" / "models"
        self.before = set(self.models.glob("*"))

    def in_training(self, server: Server) -> Path:
        """The place of the model, once a report and a half of its training are in the checkpoint."""
        wait_until(self._checkpoint, 180, "the training did not come so far", server)
        return self._model()

    def _model(self) -> Path:
        return next(iter(set(self.models.glob("*")) - self.before))

    def _checkpoint(self) -> bool:
        if not set(self.models.glob("*")) - self.before:
            return False
        checkpoint = load_checkpoint(str(self._model()))
        return checkpoint is not None and checkpoint.report >= 1


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operations")


@pytest.fixture
def crash_automation(server: Server) -> Iterator[None]:
    server.run(sys.executable, "deployments/automations.py", "--silence", str(SILENCE))
    yield
    for found in httpx.post(f"{server.api}/automations/filter", json={}, timeout=30).json():
        httpx.delete(f"{server.api}/automations/{found['id']}", timeout=30)


def processes(run: str) -> list[psutil.Process]:
    """Every process that was started for the run, Dask's and its resource trackers included."""
    found = []
    for process in psutil.process_iter():
        try:
            if run in process.environ().get("PREFECT__FLOW_RUN_ID", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def mark(model: Path) -> None:
    """Change a number in the checkpoint's past, so that who goes on from it can be told from who starts over."""
    checkpoint = load_checkpoint(str(model))
    assert checkpoint is not None
    checkpoint.history["loss"][0] = MARK
    save_checkpoint(str(model), checkpoint)


def has_mark(model: Path) -> bool:
    return bool(json.loads((model / "history.json").read_text())["loss"][0] == MARK)


def test_a_cancelled_run_leaves_no_process_and_the_next_goes_on_from_it_through_a_restart_of_the_server(
    server: Server, browser: Browser, place: Path
) -> None:
    braked = Braked(place)
    run = started(server, braked.parameters)
    model = braked.in_training(server)
    assert processes(run)
    browser.driver.get(f"{server.ui}/v2/runs/flow-run/{run}")
    browser.click("//button[.='Open menu']")
    browser.click("//*[@role='menuitem' and .='Cancel']")
    browser.photograph("cancel.png")
    browser.click("//*[@role='alertdialog']//button[.='Cancel Flow Run']")
    wait_until(lambda: not processes(run), 30, "processes of the cancelled run are left", server)
    mark(model)
    again = started(server, braked.parameters)
    wait_until(lambda: stages(server, again).get("train_encoder") == "Running", 120, "no training", server)
    # Prefect showed it as Crashed for some seconds, until the worker said why it ended.
    assert read(server, run)["state_name"] == "Cancelled"
    server.stop("server")
    server.start_server()
    assert read(server, again)["state_type"] == "RUNNING"
    assert not (model / "history.json").exists()  # still in training
    braked.brake.unlink()
    assert completed(server, again) == FROM_CHECKPOINT
    assert has_mark(model)


def test_the_run_of_a_dead_machine_is_marked_crashed_and_a_schedule_finishes_its_work(
    server: Server, place: Path, crash_automation: None
) -> None:
    braked = Braked(place, min_dist=0.2)
    run = started(server, braked.parameters)
    model = braked.in_training(server)
    server.kill("worker")
    assert not processes(run)
    assert read(server, run)["state_type"] == "RUNNING"
    wait_until(lambda: read(server, run)["state_type"] == "CRASHED", SILENCE + 30, "nobody noticed", server)
    assert read(server, run)["state"]["message"] == "The run's heartbeat stopped."
    mark(model)
    braked.brake.unlink()
    server.start_worker()
    assert completed(server, scheduled(server, braked.parameters)) == FROM_CHECKPOINT
    assert has_mark(model)


def scheduled(server: Server, parameters: dict[str, Any]) -> str:
    """The id of the run that a daily schedule makes; due soon, but not at once, since the scheduler looks ahead."""
    due = (datetime.now(UTC) + timedelta(seconds=15)).isoformat()
    schedule = {"schedule": {"interval": 86400, "anchor_date": due}, "active": True, "parameters": parameters}
    deployment = find(server, "fit-transform")["id"]
    schedules = f"{server.api}/deployments/{deployment}/schedules"
    made = httpx.post(schedules, json=[schedule], timeout=30).raise_for_status().json()[0]
    try:
        wait_until(lambda: by_schedule(server, deployment), 90, "the schedule started nothing", server)
        return by_schedule(server, deployment)[0]
    finally:
        httpx.delete(f"{schedules}/{made['id']}", timeout=30)


def by_schedule(server: Server, deployment: str) -> list[str]:
    asked = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}
    found = httpx.post(f"{server.api}/flow_runs/filter", json=asked, timeout=30).json()
    return [run["id"] for run in found if run["state_type"] in {"PENDING", "RUNNING", "COMPLETED"}]
