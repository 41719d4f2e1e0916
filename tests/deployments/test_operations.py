"""What a night brings: a run is cancelled, a machine dies, the server restarts, a schedule comes due."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pumascale.tasks.storage import targets, urls
from pumascale.tasks.training.checkpoints import load_checkpoint, save_checkpoint
from tests.deployments.braked import Braked
from tests.deployments.browser import Browser
from tests.deployments.conftest import SILENCE, Finished
from tests.deployments.runs import completed, find, made, processes, read, stages, started, wait_until
from tests.deployments.server import ROOT, Server

MARK = 123.0
FROM_CHECKPOINT = {"build_graph": "Cached", "train_encoder": "Completed", "write_embedding": "Completed"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operations")


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


@pytest.fixture
def nights(server: Server, tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Activates the nightly schedule of `update` as `prefect.yaml` has it, with parameters; a night lasts 20 s."""
    content = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    content["deployments"] = [one for one in content["deployments"] if one["entrypoint"].endswith(".update")]
    (nightly,) = content["deployments"][0]["schedules"]

    def deploy(parameters: dict[str, Any]) -> None:
        nightly.update(active=True, cron="* * * * * */20", parameters=parameters)
        (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))
        server.call("deploy", "--prefect-file", str(tmp_path / "prefect.yaml"), "--all")

    yield deploy
    server.ask("PATCH", f"deployments/{find(server, 'update')['id']}", {"schedules": []}).raise_for_status()


def test_the_nightly_schedule_of_update_publishes_a_map(
    server: Server, finished: Finished, nights: Callable[[dict[str, Any]], None]
) -> None:
    target, source = urls.join(finished.bucket, "nightly"), urls.join(finished.bucket, "rows")
    model, workspace = made(finished.bucket, "models"), urls.join(finished.bucket, "by-night")
    nights({"source": source, "model": model, "target": target, "workspace": workspace})
    deployment = find(server, "update")["id"]
    wait_until(lambda: by_schedule(server, deployment), 150, "the schedule started nothing", server)
    assert completed(server, by_schedule(server, deployment)[0])["write_embedding"] == "Completed"
    version = targets.newest(target)
    assert version is not None
    assert version["version"] == 1


def scheduled(server: Server, parameters: dict[str, Any]) -> str:
    """The id of the run that a daily schedule makes; due soon, but not at once, since the scheduler looks ahead."""
    due = (datetime.now(UTC) + timedelta(seconds=15)).isoformat()
    schedule = {"schedule": {"interval": 86400, "anchor_date": due}, "active": True, "parameters": parameters}
    deployment = find(server, "fit-transform")["id"]
    schedules = f"deployments/{deployment}/schedules"
    made = server.ask("POST", schedules, [schedule]).raise_for_status().json()[0]
    try:
        wait_until(lambda: by_schedule(server, deployment), 90, "the schedule started nothing", server)
        return by_schedule(server, deployment)[0]
    finally:
        server.ask("DELETE", f"{schedules}/{made['id']}")


def by_schedule(server: Server, deployment: str) -> list[str]:
    asked = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}
    found = server.ask("POST", "flow_runs/filter", asked).json()
    return [run["id"] for run in found if run["state_type"] in {"PENDING", "RUNNING", "COMPLETED"}]
