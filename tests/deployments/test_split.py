"""Each stage as a run of its own deployment, and what a published embedding starts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pumascale.tasks.storage import manifests, urls
from tests.deployments.runs import find, post, request, start, wait, wait_until
from tests.deployments.server import Server


def downstream(server: Server) -> str:
    """The id of a deployment that takes an embedding; no pool, so its runs stay scheduled."""
    flow = post(server, "flows/", {"name": "viewer"}).json()
    return str(post(server, "deployments/", {"name": "here", "flow_id": flow["id"]}).json()["id"])


def runs_of(server: Server, kind: str, identity: str) -> list[dict[str, Any]]:
    return list(post(server, "flow_runs/filter", {kind: {"id": {"any_": [identity]}}}).json())


def cancel(server: Server, run: str) -> None:
    answer = post(server, f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}}).json()
    assert answer["status"] == "ACCEPT", answer


@pytest.fixture
def viewer(server: Server) -> Iterator[str]:
    """A deployment that every published embedding starts; it goes, and what starts it: other tests publish too."""
    identity = downstream(server)
    command = "deployments/automations.py", "--downstream", "viewer/here", "--parameter", "map_url"
    server.run(sys.executable, *command)
    yield identity
    for one in post(server, "automations/filter", {}).json():
        httpx.delete(f"{server.api}/automations/{one['id']}", timeout=30)
    httpx.delete(f"{server.api}/deployments/{identity}", timeout=30)


def test_every_stage_is_a_run_of_its_own_and_the_map_starts_what_waits_for_it(
    server: Server, viewer: str, tmp_path: Path
) -> None:
    asked = request(str(tmp_path))
    made = start(server, find(server, "split"), asked)
    assert made.status_code == 201, made.text
    ended = wait(server, made.json()["id"])
    assert ended["state_type"] == "COMPLETED", f"{ended['state']['message']}\n{server.log('worker')[-3000:]}"
    for kind in ("graphs", "models", "embeddings"):
        (place,) = (tmp_path / "work" / kind).iterdir()
        assert manifests.read_manifest(str(place)) is not None
    for flow in ("graph", "fit", "transform"):
        ours = [run for run in runs_of(server, "deployments", find(server, flow)["id"]) if str(tmp_path) in str(run)]
        assert [run["state_type"] for run in ours] == ["COMPLETED"]
    embedding = urls.join("file://" + str(tmp_path / "work"), "embeddings", place.name)
    wait_until(lambda: runs_of(server, "deployments", viewer), 60, "the embedding started nothing", server)
    assert [run["parameters"] for run in runs_of(server, "deployments", viewer)] == [{"map_url": embedding}]


def test_a_stage_that_ends_badly_is_named_by_the_parent(server: Server, tmp_path: Path) -> None:
    viewer, asked = downstream(server), request(str(tmp_path)) | {"graph_deployment": "viewer/here"}
    made = start(server, find(server, "split"), asked).json()["id"]
    wait_until(lambda: runs_of(server, "deployments", viewer), 120, "the stage was not started", server)
    (stage,) = runs_of(server, "deployments", viewer)
    cancel(server, stage["id"])
    ended = wait(server, made)
    assert ended["state_type"] == "FAILED"
    assert stage["id"] in ended["state"]["message"]
    assert not (tmp_path / "work" / "graphs").exists()


def test_a_deployment_that_is_not_there_is_refused_before_any_of_them_runs(server: Server, tmp_path: Path) -> None:
    asked = request(str(tmp_path)) | {"transform_deployment": "transform/nowhere"}
    ended = wait(server, start(server, find(server, "split"), asked).json()["id"])
    assert ended["state_type"] == "FAILED"
    assert "No deployment 'transform/nowhere'" in ended["state"]["message"]
    graphs = runs_of(server, "deployments", find(server, "graph")["id"])
    assert not [run for run in graphs if str(tmp_path) in str(run)]
