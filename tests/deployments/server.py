"""A real Prefect server and a process worker, as processes of their own, in a temporary home."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
POOL = "pumascale-cpu"
# A busy machine's database makes everybody wait: an answer that comes late is no failure of what is tested here.
PATIENCE = 180


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """A server and its worker: the API, the environment in which commands find it, and both processes."""

    def __init__(self, folder: Path) -> None:
        self.port, self.health_port = free_port(), free_port()
        self.ui = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.ui}/api"
        self.folder = folder
        own = {"PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": self.api, "PYTHONPATH": str(ROOT)}
        # Whatever else this process has imported: the command line, for one, is silent about Prefect.
        own |= {"PREFECT_LOGGING_LEVEL": "INFO"}
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_RUNNER_POLL_FREQUENCY": "2"}
        quick |= {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
        # Prefect's shortest heartbeat; what the runs of these tests import comes by PYTHONPATH.
        watched = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        watched |= {"PREFECT_API_REQUEST_TIMEOUT": str(PATIENCE)}
        watched |= {"PREFECT_SERVER_METRICS_ENABLED": "true", "PREFECT_WORKER_WEBSERVER_PORT": str(self.health_port)}
        self.environment = os.environ | own | quick | watched
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def ask(self, method: str, path: str, content: object = None) -> httpx.Response:
        """What the API answers; asked again while its database is busy, as Prefect's own client does."""
        answer = httpx.request(method, f"{self.api}/{path}", json=content, timeout=PATIENCE)
        while answer.status_code == 503:
            time.sleep(1)
            answer = httpx.request(method, f"{self.api}/{path}", json=content, timeout=PATIENCE)
        return answer

    def call(self, *words: str) -> str:
        """Run the `prefect` command line from the repository root."""
        return self.run(*PREFECT, "--no-prompt", *words)

    def run(self, *command: str) -> str:
        """Run a command that finds the server, from the repository root."""
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_server(self) -> None:
        """Start it on the port and the home that it has, and wait until it answers."""
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        for _ in range(240):
            try:
                if httpx.get(f"{self.api}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        pytest.fail(f"The server did not start: {self.log('server')[-2000:]}")

    def start_worker(self, name: str = "worker", pool: str = POOL) -> None:
        """Start a worker beside the server."""
        health = ["--with-healthcheck"] if pool == POOL else []  # one port for all of a machine
        self._start(name, "worker", "start", "--pool", pool, *health)

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self.running[name] = subprocess.Popen(
                [*PREFECT, *words], cwd=ROOT, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def stop(self, name: str) -> None:
        """End the server or the worker in order."""
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:  # on a busy machine a worker takes its time to say goodbye
            process.kill()
            process.wait()

    def restore(self) -> None:
        """Start again what a test that failed has left stopped."""
        if "server" not in self.running:
            self.start_server()
        if "worker" not in self.running:
            self.start_worker()

    def kill(self, name: str) -> None:
        """End the server or the worker as a power cut would, with every process that came from it."""
        process = self.running.pop(name)
        victims = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for victim in victims:
            victim.kill()
        psutil.wait_procs(victims, timeout=30)
        process.wait(timeout=30)

    def log(self, name: str) -> str:
        """What the server or the worker, its runs included, wrote to the console."""
        return (self.folder / f"{name}.log").read_text(errors="replace")
