"""The lease: one works, who comes later waits, and a run that is gone stops nobody."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pumascale.tasks.storage import lease, manifests, urls

HOLDER = """
import sys, time
from pumascale.tasks.storage import lease
with lease.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)


def test_the_second_begins_when_the_first_has_ended_and_nothing_is_left(workspace: str) -> None:
    events: list[str] = []

    def second() -> None:
        with lease.held(workspace):
            events.append("second")

    waiting = threading.Thread(target=second)
    with lease.held(workspace):
        waiting.start()
        time.sleep(0.5)
        events.append("first")
    waiting.join(10)
    assert events == ["first", "second"]
    assert urls.list_objects(workspace) == {}


def test_a_killed_run_is_seen_to_be_gone_at_once(workspace: str) -> None:
    command = [sys.executable, "-c", HOLDER, workspace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    began = time.monotonic()
    with lease.held(workspace):
        assert time.monotonic() - began < 5


def test_a_clock_that_is_set_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = lease._here()
    created = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created + 3600)
    assert not lease._is_gone(holder)
    assert lease._is_gone(holder | {"started": holder["started"] - 1})


def test_a_place_is_a_runs_own_until_another_works_there_or_has_finished(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 600)  # else a beat might come between the other's writing and the look
    with lease.held(workspace):
        lease.check_held(workspace)
        urls.write_bytes(urls.join(workspace, lease.LEASE), elsewhere(0))
        with pytest.raises(lease.LeaseLostError, match="taken over by another run"):
            lease.check_held(workspace)
    urls.remove_object(urls.join(workspace, lease.LEASE))
    lease.check_held(workspace)
    manifests.commit(workspace, {})
    with pytest.raises(lease.LeaseLostError):
        lease.check_held(workspace)


def test_a_machine_of_the_same_name_is_another_one() -> None:
    ended = lease._here() | {"pid": 2**30}
    assert lease._is_gone(ended)
    assert not lease._is_gone(ended | {"boot": "another"})


def elsewhere(beats: int) -> bytes:
    there = {"host": "elsewhere", "boot": "", "space": "", "pid": 1, "started": 0.0, "token": "theirs"}
    return manifests.encode_json(there | {"beats": beats})


def test_a_run_on_another_machine_is_given_up_only_when_it_is_silent(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)
    url = urls.join(workspace, lease.LEASE)
    urls.write_bytes(url, elsewhere(0))
    silent_since = [0.0]

    def beat() -> None:
        for count in range(1, 6):
            time.sleep(0.4)
            urls.write_bytes(url, elsewhere(count))
        silent_since[0] = time.monotonic()

    beating = threading.Thread(target=beat)
    beating.start()
    with lease.held(workspace):
        assert silent_since[0] > 0
        assert time.monotonic() - silent_since[0] >= 0.9
        time.sleep(0.3)
        assert (manifests.read_json(url) or {})["beats"] > 0
    beating.join()
