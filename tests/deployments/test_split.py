"""Each stage as a run of its own deployment, and what a published embedding starts."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pumascale.tasks.storage import manifests, urls
from tests.deployments.braked import Braked
from tests.deployments.conftest import SILENCE
from tests.deployments.runs import (
    artifacts,
    find,
    logs,
    only,
    read,
    request,
    start,
    wait,
    wait_until,
)
from tests.deployments.server import POOL, Server

GPU = "pumascale-gpu"
STAGES = ("graph", "fit", "transform")


def downstream(server: Server) -> str:
    """The id of a deployment that takes an embedding; no pool, so its runs stay scheduled."""
    flow = server.ask("POST", "flows/", {"name": "viewer"}).json()
    return str(server.ask("POST", "deployments/", {"name": "here", "flow_id": flow["id"]}).json()["id"])


def runs_of(server: Server, kind: str, identity: str) -> list[dict[str, Any]]:
    return list(server.ask("POST", "flow_runs/filter", {kind: {"id": {"any_": [identity]}}}).json())


def asked_for(server: Server, deployment: str, place: Path) -> list[str]:
    """The ids of its runs for rows at that place, the oldest one first."""
    runs = [run for run in runs_of(server, "deployments", deployment) if str(place) in str(run["parameters"])]
    return [run["id"] for run in sorted(runs, key=lambda run: str(run["created"]))]


def end(server: Server, run: str, state: str) -> None:
    answer = server.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": state}}).json()
    assert answer["status"] == "ACCEPT", answer


def try_again(server: Server, run: str) -> None:
    """What the button on the page of a run that ended badly does."""
    answer = server.ask(
        "POST", f"flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
    ).json()
    assert answer["status"] == "ACCEPT", answer


@pytest.fixture
def viewer(server: Server) -> Iterator[str]:
    """A deployment that every published embedding starts; it goes, and what starts it: other tests publish too."""
    identity = downstream(server)
    command = "deployments/automations.py", "--downstream", "viewer/here", "--parameter", "map_url"
    server.run(sys.executable, *command)
    yield identity
    for one in server.ask("POST", "automations/filter", {}).json():
        server.ask("DELETE", f"automations/{one['id']}")
    server.ask("DELETE", f"deployments/{identity}")


@pytest.fixture
def fit_on_gpus(server: Server) -> Iterator[None]:
    """`fit` on a pool of its own, whose worker has no GPU here, and afterwards where it was."""
    server.ask("DELETE", f"work_pools/{GPU}")
    server.call("work-pool", "create", GPU, "--type", "process")
    deployment = f"deployments/{find(server, 'fit')['id']}"
    server.ask("PATCH", deployment, {"work_pool_name": GPU}).raise_for_status()
    server.start_worker(GPU, GPU)
    yield
    server.stop(GPU)
    server.ask("PATCH", deployment, {"work_pool_name": POOL}).raise_for_status()


def stages_of(server: Server, place: Path) -> dict[str, list[tuple[str, str]]]:
    """By stage the state and the pool of every run that was asked for rows at that place."""
    found = {flow: runs_of(server, "deployments", find(server, flow)["id"]) for flow in STAGES}
    return {
        flow: [(run["state_type"], run["work_pool_name"]) for run in runs if str(place) in str(run["parameters"])]
        for flow, runs in found.items()
    }


def split(server: Server, asked: dict[str, Any]) -> str:
    made = start(server, find(server, "split"), asked)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_every_stage_is_a_run_on_its_own_pool_and_the_map_starts_what_waits_for_it(
    server: Server, viewer: str, fit_on_gpus: None, tmp_path: Path
) -> None:
    asked = request(str(tmp_path), parametric_reconstruction=True) | {"target": str(tmp_path / "map")}
    run = split(server, asked)
    ended = wait(server, run)
    assert ended["state_type"] == "COMPLETED", f"{ended['state']['message']}\n{server.log('worker')[-3000:]}"
    done = {"graph": POOL, "fit": GPU, "transform": POOL}
    assert stages_of(server, tmp_path) == {flow: [("COMPLETED", pool)] for flow, pool in done.items()}
    places = {kind: only(tmp_path, f"work/{kind}s/*") for kind in ("graph", "model", "embedding")}
    assert all(manifests.read_manifest(str(place)) for place in places.values())
    (outputs,) = [one["data"] for one in artifacts(server, run) if one["key"] == "outputs"]
    for place in (*places.values(), places["model"] / "decoder.keras", places["embedding"] / "report.html"):
        assert f"| `{place}` |" in outputs
    embedding = urls.join("file://" + str(tmp_path / "work"), "embeddings", places["embedding"].name)
    wait_until(lambda: runs_of(server, "deployments", viewer), 60, "the embedding started nothing", server)
    # Once more, and nothing is made: nothing starts.
    assert wait(server, split(server, asked))["state_type"] == "COMPLETED"
    assert [run["parameters"] for run in runs_of(server, "deployments", viewer)] == [{"map_url": embedding}]


def test_a_stage_that_ends_badly_is_named_by_the_parent(server: Server, tmp_path: Path) -> None:
    viewer, asked = downstream(server), request(str(tmp_path)) | {"graph_deployment": "viewer/here"}
    made = split(server, asked)
    wait_until(lambda: runs_of(server, "deployments", viewer), 120, "the stage was not started", server)
    (stage,) = runs_of(server, "deployments", viewer)
    end(server, stage["id"], "CANCELLED")
    ended = wait(server, made)
    assert ended["state_type"] == "FAILED"
    assert stage["id"] in ended["state"]["message"]
    assert not (tmp_path / "work" / "graphs").exists()


def lose_the_machine(server: Server, parent: str) -> None:
    """Of the parent: somebody sees it at once, and tries it again on another one."""
    server.kill("worker")
    end(server, parent, "CRASHED")
    try_again(server, parent)
    server.start_worker()


def waited_for(server: Server, run: str, stage: str) -> bool:
    return any(
        "an earlier attempt started" in line["message"] and stage in line["message"] for line in logs(server, run)
    )


def test_a_parent_that_is_tried_again_and_again_takes_what_its_earlier_attempts_started(
    server: Server, tmp_path: Path
) -> None:
    viewer, asked = downstream(server), request(str(tmp_path)) | {"graph_deployment": "viewer/here"}
    started = partial(asked_for, server, viewer, tmp_path)
    parent = split(server, asked)
    wait_until(started, 120, "the stage was not started", server)
    lose_the_machine(server, parent)
    wait_until(lambda: waited_for(server, parent, started()[0]), 120, "the stage was not found again", server)
    assert len(started()) == 1
    # The stage's machine was dead too, and only now somebody notices.
    end(server, started()[0], "CRASHED")
    wait_until(lambda: len(started()) == 2, 60, "no other stage was started", server)
    lose_the_machine(server, parent)
    wait_until(lambda: waited_for(server, parent, started()[1]), 120, "the second stage was not found again", server)
    end(server, started()[1], "COMPLETED")
    assert "though the run that makes it ended well" in wait(server, parent)["state"]["message"]
    assert len(started()) == 2


def test_with_a_cancelled_parent_its_stage_is_cancelled(server: Server, tmp_path: Path) -> None:
    viewer, asked = downstream(server), request(str(tmp_path)) | {"graph_deployment": "viewer/here"}
    parent, started = split(server, asked), partial(asked_for, server, viewer, tmp_path)
    wait_until(started, 120, "the stage was not started", server)
    end(server, parent, "CANCELLING")
    wait_until(lambda: read(server, started()[0])["state_type"] == "CANCELLED", 60, "the stage goes on", server)
    assert wait(server, parent)["state_type"] == "CANCELLED"


def test_a_machine_that_died_in_mid_stage_is_made_good_by_another_try(
    server: Server, crash_automation: None, tmp_path: Path
) -> None:
    braked = Braked(tmp_path)
    parent = split(server, braked.parameters)
    braked.in_training(server)
    server.kill("worker")
    assert read(server, parent)["state_type"] == "RUNNING"
    wait_until(lambda: read(server, parent)["state_type"] == "CRASHED", SILENCE + 30, "nobody noticed", server)
    try_again(server, parent)
    braked.brake.unlink()
    server.start_worker()
    ended = wait(server, parent)
    assert ended["state_type"] == "COMPLETED", f"{ended['state']['message']}\n{server.log('worker')[-3000:]}"
    assert {flow: sorted(state for state, _ in runs) for flow, runs in stages_of(server, tmp_path).items()} == {
        "graph": ["COMPLETED"], "fit": ["COMPLETED", "CRASHED"], "transform": ["COMPLETED"],
    }  # fmt: skip
    assert manifests.read_manifest(str(only(tmp_path, "work/embeddings/*")))


def test_a_deployment_that_is_not_there_is_refused_before_any_of_them_runs(server: Server, tmp_path: Path) -> None:
    asked = request(str(tmp_path)) | {"transform_deployment": "transform/nowhere"}
    ended = wait(server, split(server, asked))
    assert ended["state_type"] == "FAILED"
    assert "No deployment 'transform/nowhere'" in ended["state"]["message"]
    graphs = runs_of(server, "deployments", find(server, "graph")["id"])
    assert not [run for run in graphs if str(tmp_path) in str(run)]
