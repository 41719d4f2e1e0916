"""The automations, applied twice to a real server; a message about drift that really arrives."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import Any

import numpy as np
import pytest

from pumascale.tasks.storage import arrays, urls
from tests.deployments.conftest import Finished
from tests.deployments.server import Server

MESSAGES: Queue[dict[str, str]] = Queue()

SAVE_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
message = {"subject": "{{subject}}", "body": "{{body}}"}
CustomWebhookNotificationBlock(name="drift", url=sys.argv[1], json_data=message).save("drift", overwrite=True)
"""
MEASURE = """
import sys
from prefect import flow
from pumascale.tasks.measure_drift import measure_drift
print(flow(lambda: measure_drift(sys.argv[1], sys.argv[2], 0, float(sys.argv[3])), name="measure")())
"""


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self) -> None:
        """Called for each message."""
        MESSAGES.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No line on the console for each message."""


@pytest.fixture
def block(server: Server) -> Iterator[str]:
    """A notification block that sends to a receiver of ours."""
    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    server.run(sys.executable, "-c", SAVE_BLOCK, f"http://127.0.0.1:{receiver.server_port}/")
    yield "custom-webhook/drift"
    receiver.shutdown()


@pytest.fixture
def ours(server: Server) -> Iterator[Any]:
    """A function that gives the automations there are; they go afterwards, since other tests publish and drift too."""

    def read() -> list[dict[str, Any]]:
        found = server.ask("POST", "automations/filter", {}).json()
        return [one for one in found if one["name"].startswith("pumascale: ")]

    yield read
    for one in read():
        server.ask("DELETE", f"automations/{one['id']}")


def test_applied_twice_the_automations_are_there_once(server: Server, block: str, ours: Any) -> None:
    downstream = ["--downstream", "transform/pumascale", "--parameter", "source"]
    command = [sys.executable, "deployments/automations.py", *downstream, "--notify", block]
    assert server.run(*command).count("created") == 3
    assert server.run(*command).count("updated") == 3
    kinds = sorted(one["actions"][0]["type"] for one in ours())
    assert kinds == ["change-flow-run-state", "run-deployment", "send-notification"]


def test_drift_above_its_bound_sends_a_message(server: Server, finished: Finished, block: str, ours: Any) -> None:
    server.run(sys.executable, "deployments/automations.py", "--notify", block)
    models = urls.join(finished.bucket, "work", "models")
    model = urls.join(models, next(iter(urls.list_objects(models))).split("/")[0])
    unlike = urls.join(finished.bucket, "unlike")
    rows = np.random.default_rng(0).uniform(50, 100, (40, 64)).astype(np.float32)
    arrays.create_array(unlike, shape=rows.shape, dtype=rows.dtype)[:] = rows
    server.run(sys.executable, "-c", MEASURE, unlike, model, "1")
    server.run(sys.executable, "-c", MEASURE, unlike, model, "0.3")
    message = MESSAGES.get(timeout=60)
    assert message["subject"] == "pumascale: drift above its bound"
    assert f"1.0 of the rows appended to {unlike} are unlike" in message["body"]
    assert "the bound is 0.3" in message["body"]
    assert "/runs/flow-run/" in message["body"]
    assert MESSAGES.empty()
