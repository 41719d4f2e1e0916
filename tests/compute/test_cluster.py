"""Where the work runs: what `open_client` opens, what it refuses, and what it leaves behind."""

import logging
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import _default_workers, open_client, worker_memory, workers_per_host
from pumascale.tasks.parameters import ComputeParameters
from pumascale.tasks.storage.errors import InputError
from tests.compute import jobs


def test_workers_are_processes_of_one_thread_with_a_memory_limit(client: Client) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    assert [worker["nthreads"] for worker in workers] == [1, 1]
    assert os.getpid() not in client.run(os.getpid).values()
    assert worker_memory(client) == 1_000_000_000


def test_workers_know_how_many_share_the_cores(client: Client) -> None:
    assert workers_per_host(client) == 2


def test_it_is_nobodys_default_client(client: Client) -> None:
    from distributed import get_client

    with pytest.raises(ValueError, match="No global client"):
        get_client()
    assert client.status == "running"


def test_worker_logs_reach_this_process(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pumascale"):
        pids = set(bounded_map(client, jobs.log, [f"message {number}" for number in range(30)]))
        for _ in range(200):  # records come behind the results
            if len(caplog.records) >= 30:
                break
            time.sleep(0.05)
    messages = sorted(record.message for record in caplog.records if record.name == "pumascale.graph")
    assert messages == sorted(f"message {number}" for number in range(30))
    assert os.getpid() not in pids


def test_workers_see_the_environment(s3_server: str) -> None:
    with open_client(ComputeParameters(n_workers=1)) as client:
        assert list(bounded_map(client, jobs.environment, ["AWS_ENDPOINT_URL_S3"])) == [s3_server]


def test_what_workers_inherit_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_client(ComputeParameters(n_workers=1)):
        pass  # Dask sets a hash seed for the process, once
    for name in ("OMP_NUM_THREADS", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with open_client(ComputeParameters(n_workers=1)) as client:
        seen = client.submit(lambda: [os.environ[name] for name in ("OMP_NUM_THREADS", "MALLOC_ARENA_MAX")]).result()
    assert seen == ["1", "1"]
    assert os.environ == before


def test_an_existing_scheduler_is_used_and_left_running() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        with open_client(ComputeParameters(scheduler_address=cluster.scheduler_address)) as client:
            assert list(bounded_map(client, jobs.square, [3])) == [9]
        assert cluster.status.name == "running"


def test_a_scheduler_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumascale.tasks.compute.cluster.CONNECT_SECONDS", 1)
    parameters = ComputeParameters(scheduler_address="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"scheduler at tcp://127\.0\.0\.1:9 does not answer"), open_client(parameters):
        pass


def test_a_scheduler_whose_workers_do_not_come_is_said_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pumascale.tasks.compute.cluster.PATIENCE_SECONDS", 0.5)
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        late = threading.Timer(2, cluster.scale, [1])
        late.start()
        with open_client(ComputeParameters(scheduler_address=cluster.scheduler_address)) as client:
            assert worker_memory(client)
    late.join()
    said = [record.message for record in caplog.records if record.name == "pumascale"]
    assert len(said) >= 2
    assert "has 0 workers, and none of them did a task for 0.5 s: still waiting" in said[0]
    assert f"Start some (dask worker {cluster.scheduler_address})" in said[0]


@pytest.mark.parametrize("path", ["distributed:NoSuchCluster", "no_such_package:Cluster", "no colon"])
def test_a_cluster_class_that_is_not_there_is_said(path: str) -> None:
    parameters = ComputeParameters(cluster_class=path)
    with pytest.raises(InputError, match=r"cluster_class.*cannot be imported"), open_client(parameters):
        pass


def test_workers_of_several_threads_do_one_task_at_a_time() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=None) as cluster,
        open_client(ComputeParameters(scheduler_address=cluster.scheduler_address)) as client,
    ):
        spans = sorted(bounded_map(client, jobs.span, [0.05] * 8))
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


@pytest.mark.parametrize(("limit", "cores", "most"), [
    (None, 4, 3), ("1GB", 4, 4), ("4GB", 4, 2), ("100GB", 4, 1), (None, 1, 3), ("500MB", 1, 16),
])  # fmt: skip
def test_the_local_workers_fit_the_machine(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, cores: int, most: int
) -> None:
    monkeypatch.setattr("pumascale.tasks.compute.cluster.MEMORY_LIMIT", 8 * 10**9)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert _default_workers(limit, cores) == most


def test_any_cluster_class_with_adaptive_bounds() -> None:
    arguments = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": None}
    parameters = ComputeParameters(
        cluster_class="distributed:LocalCluster", cluster_kwargs=arguments, adapt={"minimum": 0, "maximum": 2}
    )
    with open_client(parameters) as client:
        assert worker_memory(client) is not None
        assert sorted(bounded_map(client, jobs.square, range(40))) == [value * value for value in range(40)]


def test_no_worker_is_left_also_after_an_error() -> None:
    pids: list[int] = []

    def fail() -> None:
        with open_client(ComputeParameters(n_workers=2)) as client:
            pids.extend(client.run(os.getpid).values())
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


SCRIPT = """
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.parameters import ComputeParameters
with open_client(ComputeParameters(n_workers=1)) as client:
    print("answer", client.submit(sum, [1, 2]).result())
"""


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: The worker processes did not start" in last
    assert "if __name__ == '__main__'" in last


def test_a_script_with_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    body = SCRIPT.partition("with ")
    script.write_text(body[0] + "if __name__ == '__main__':\n    with " + body[2].replace("\n    ", "\n        "))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("answer 3\n", "")
