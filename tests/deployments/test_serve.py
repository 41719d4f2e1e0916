"""Every flow served from one machine: all are on the server, and `split` asks for those beside it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.deployments.runs import wait_until
from tests.deployments.server import Server


def served(server: Server) -> dict[str, dict[str, Any]]:
    """The served deployments, by flow/name."""
    flows = {flow["id"]: flow["name"] for flow in httpx.post(f"{server.api}/flows/filter", json={}, timeout=30).json()}
    found = httpx.post(f"{server.api}/deployments/filter", json={}, timeout=30).json()
    return {f"{flows[one['flow_id']]}/here": one for one in found if one["name"] == "here" and one["entrypoint"]}


def test_the_stages_of_split_are_served_beside_it(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pumascale.flows.serve"]
    with (tmp_path / "log").open("wb") as log:
        serving = subprocess.Popen(command, cwd=tmp_path, env=server.environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: "split/here" in served(server), 60, "split is not served")
    finally:
        serving.terminate()
        serving.wait(timeout=60)
    assert f"The Prefect UI: {server.ui}\n" in (tmp_path / "log").read_text()
    found = served(server)
    assert set(found) == {
        f"{flow}/here"
        for flow in (
            "fit-transform",
            "fit",
            "transform",
            "update",
            "inverse-transform",
            "export",
            "export-model",
            "graph",
            "split",
        )
    }
    stages = found["split/here"]["parameters"]
    assert sorted(stages) == ["fit_deployment", "graph_deployment", "transform_deployment"]
    assert set(stages.values()) <= set(found)
