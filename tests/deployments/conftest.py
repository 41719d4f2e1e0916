"""A real Prefect server and a process worker, as processes of their own, in a temporary home."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


class Server:
    """A running server: its API and the environment in which commands find it."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.ui = f"http://127.0.0.1:{port}"
        self.api = f"{self.ui}/api"
        own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.api, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self.environment = (
            os.environ | own | {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_RUNNER_POLL_FREQUENCY": "2"}
        )
        self.port = port

    def call(self, *words: str) -> str:
        """Run the `prefect` command line from the repository root."""
        done = subprocess.run(
            [*PREFECT, "--no-prompt", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def running(server: Server, log: Path, *words: str) -> Iterator[None]:
    """A `prefect` process for the length of a block."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [*PREFECT, *words], cwd=ROOT, env=server.environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # on a busy machine a worker takes its time to say goodbye
                process.wait(timeout=30)
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    server = Server(folder / "home")
    with running(server, folder / "server.log", "server", "start", "--host", "127.0.0.1", "--port", str(server.port)):
        wait_until_healthy(server, folder / "server.log")
        server.call("work-pool", "create", "pumascale-cpu", "--type", "process")
        server.call("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
        with running(server, folder / "worker.log", "worker", "start", "--pool", "pumascale-cpu"):
            yield server


def wait_until_healthy(server: Server, log: Path) -> None:
    for _ in range(240):
        try:
            if httpx.get(f"{server.api}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"The server did not start: {log.read_text()[-2000:]}")
