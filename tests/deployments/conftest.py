"""What the tests here share: one server with its worker and the deployments, and one run that has ended well."""

import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.deployments.browser import Browser, open_browser
from tests.deployments.runs import end_all, read, request, started, wait, wait_until
from tests.deployments.server import POOL, Server

# Prefect's shortest heartbeat is 30 s; the rest is for a busy machine, on which a living run must not be given up.
SILENCE = 45


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for the server is `long`."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("long")


@dataclass(frozen=True)
class Finished:
    """A run on the S3 server, and the second trigger that came while it ran; neither is promised to have gone well."""

    bucket: str
    run: str
    second: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Server]:
    # After the S3 server: its keys are in the environment of the worker, as they are in a deployed one.
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        server.start_server()
        server.call("work-pool", "create", POOL, "--type", "process")
        server.call("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
        server.start_worker()
        yield server
    finally:
        for name in ("worker", "server"):
            if name in server.running:
                server.stop(name)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever became of a test: the next one finds server and worker, and no run that holds a slot."""
    yield
    if "server" in request.fixturenames:
        running = request.getfixturevalue("server")
        running.restore()
        end_all(running)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser in which nobody has been before."""
    with open_browser(tmp_path / "profile") as opened:
        yield opened


@pytest.fixture(scope="session")
def finished(server: Server, s3_server: str) -> Finished:
    name = f"deployed-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    parameters: dict[str, Any] = request(f"s3://{name}")
    run = started(server, parameters)
    wait_until(lambda: read(server, run)["state_type"] == "RUNNING", 120, "the run did not start", server)
    second = started(server, parameters)
    wait(server, second)
    wait(server, run)
    return Finished(f"s3://{name}", run, second)


@pytest.fixture
def crash_automation(server: Server) -> Iterator[None]:
    """Runs whose heartbeat stopped are marked crashed; afterwards nobody does."""
    server.run(sys.executable, "deployments/automations.py", "--silence", str(SILENCE))
    yield
    for found in server.ask("POST", "automations/filter", {}).json():
        server.ask("DELETE", f"automations/{found['id']}")
