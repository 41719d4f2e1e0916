"""The automations, applied twice to a real server."""

import subprocess
import sys

import httpx

from tests.deployments.server import ROOT, Server


def test_applied_twice_the_automations_are_there_once(server: Server) -> None:
    command = [
        sys.executable,
        "deployments/automations.py",
        "--downstream",
        "transform/pumascale",
        "--parameter",
        "source",
    ]
    said = [
        subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=120)
        for _ in range(2)
    ]
    assert [done.returncode for done in said] == [0, 0], said[0].stderr + said[1].stderr
    assert said[0].stdout.count("created") == 2
    assert said[1].stdout.count("updated") == 2
    found = httpx.post(f"{server.api}/automations/filter", json={}, timeout=30).json()
    ours = [one for one in found if one["name"].startswith("pumascale: ")]
    for one in ours:  # the runs of other tests publish embeddings too
        httpx.delete(f"{server.api}/automations/{one['id']}", timeout=30)
    assert sorted(one["actions"][0]["type"] for one in ours) == ["change-flow-run-state", "run-deployment"]
