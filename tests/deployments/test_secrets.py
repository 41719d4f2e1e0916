"""The keys of the store are nowhere in what a deployed run leaves behind, and neither are wrong ones in its error.

The worker has them in its environment, or its pool names a block that has them. Looked through: every object of the
bucket, all files of the server and the worker (their database too), what the API shows, and the console.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from pumascale.tasks.storage import urls
from tests.deployments.conftest import Finished
from tests.deployments.runs import completed, find, request, start, wait
from tests.deployments.server import POOL, ROOT, Server
from tests.s3.server import ACCESS_KEY, SECRET_KEY

WRONG = "planted-wrong-key-7Yp2"
WRONG_IN_BLOCK = "planted-wrong-key-4Lw9"
FAILING = """
import json, sys
from pumascale.flows.fit_transform import fit_transform
fit_transform(**json.loads(sys.argv[1]))
"""


def spellings(secret: str) -> list[bytes]:
    """The secret as it is, in hexadecimal, and what base64 makes of it wherever it begins."""
    encoded = [base64.b64encode(b" " * skipped + secret.encode())[4:-4] for skipped in range(3)]
    return [secret.encode(), secret.encode().hex().encode(), *encoded]


def holders(parts: dict[str, bytes], secret: str) -> list[str]:
    """The names of the parts that the secret is in."""
    return [name for name, content in parts.items() if any(spelling in content for spelling in spellings(secret))]


def objects(bucket: str) -> dict[str, bytes]:
    return {name: urls.read_bytes(urls.join(bucket, name)) or b"" for name in urls.list_objects(bucket)}


def files(server: Server) -> dict[str, bytes]:
    """Everything in the home of the server and the worker: the database, results, logs of the console."""
    return {str(path): path.read_bytes() for path in server.folder.rglob("*") if path.is_file()}


def shown(server: Server) -> dict[str, bytes]:
    """What the API shows of all runs."""
    kinds = ("flow_runs", "task_runs", "logs", "artifacts", "deployments", "work_pools")
    pages = {kind: dict(pages_of(server, kind)) for kind in kinds}
    events = server.ask("POST", "events/filter", {"limit": 50}).raise_for_status().content
    return {name: page for found in pages.values() for name, page in found.items()} | {"events": events}


def pages_of(server: Server, kind: str) -> Iterator[tuple[str, bytes]]:
    for offset in range(0, 100_000, 200):
        asked = {"limit": 200, "offset": offset}
        page = server.ask("POST", f"{kind}/filter", asked).raise_for_status()
        if not page.json():
            return
        yield f"{kind} from {offset}", page.content


def fail(server: Server, parameters: dict[str, object]) -> subprocess.CompletedProcess[bytes]:
    """Run the flow with a wrong key and Prefect at its most talkative."""
    own = {
        "AWS_SECRET_ACCESS_KEY": WRONG,
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pumascale",
    }
    command = [sys.executable, "-c", FAILING, json.dumps(parameters)]
    return subprocess.run(command, cwd=ROOT, env=server.environment | own, capture_output=True, timeout=180)


@pytest.mark.parametrize("skipped", range(3))
def test_a_planted_secret_is_found(skipped: int, tmp_path: Path) -> None:
    spelled = base64.b64encode(b"x" * skipped + SECRET_KEY.encode() + b" and more")
    assert holders({"here": b"..." + spelled, "not here": ACCESS_KEY.encode()}, SECRET_KEY) == ["here"]


def test_no_key_is_left_by_a_run_nor_by_one_that_the_store_refuses(server: Server, finished: Finished) -> None:
    bucket = finished.bucket
    assert server.environment["AWS_SECRET_ACCESS_KEY"] == SECRET_KEY
    assert set(completed(server, finished.run).values()) == {"Completed"}
    failed = fail(server, request(bucket))
    assert failed.returncode != 0
    assert b"Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in failed.stderr, failed.stderr[-2000:]

    parts = objects(bucket) | files(server) | shown(server) | {"stdout": failed.stdout, "stderr": failed.stderr}
    for name in ("work/embeddings", "prefect.db", "worker.log", "flow_runs", "logs", "artifacts", "events"):
        assert any(name in part for part in parts), name
    assert holders(parts, bucket), "the search finds nothing at all"
    assert holders(parts, SECRET_KEY) == []
    assert holders(parts, WRONG) == []


def save_block(server: Server, secret: str) -> None:
    """The block `secret/store`, as a person fills it in on the UI's page of blocks."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": secret}
    with temporary_settings({PREFECT_API_URL: server.api}):
        Secret(value=keys).save("store", overwrite=True)


@pytest.fixture
def keys_of_a_block(server: Server) -> Iterator[None]:
    """The runs of the pool have their keys from a block, wrong ones; afterwards from the worker's environment again."""
    pool = server.ask("GET", f"work_pools/{POOL}").raise_for_status().json()
    save_block(server, WRONG_IN_BLOCK)
    server.run(sys.executable, "deployments/credentials.py", "secret/store", "--pool", POOL)
    yield
    server.ask("PATCH", f"work_pools/{POOL}", {"base_job_template": pool["base_job_template"]}).raise_for_status()


def test_the_keys_of_a_block_reach_the_runs_and_nothing_else(server: Server, keys_of_a_block: None, s3: str) -> None:
    asked = {name: value for name, value in request(s3).items() if name != "training"}
    refused = wait(server, start(server, find(server, "graph"), asked).json()["id"])
    assert "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in refused["state"]["message"]
    save_block(server, SECRET_KEY)
    assert completed(server, start(server, find(server, "graph"), asked).json()["id"]) == {"build_graph": "Completed"}

    parts = objects(s3) | files(server) | shown(server)
    assert holders(parts, "prefect.blocks.secret.store.aws_secret_access_key"), "the pool does not name the block"
    assert holders(parts, SECRET_KEY) == []
    assert holders(parts, WRONG_IN_BLOCK) == []


def test_a_block_or_a_pool_that_is_not_there_is_said(server: Server) -> None:
    command = [sys.executable, "deployments/credentials.py", "secret/nowhere", "--pool", POOL]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "No block 'secret/nowhere' or no work pool" in done.stderr
