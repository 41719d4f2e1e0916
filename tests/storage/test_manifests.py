"""The commit and the receipts."""

import os
import subprocess
import sys

import pytest
from botocore.exceptions import ConnectionClosedError

from pumascale.tasks.storage import manifests, urls

RACER = """
import sys, time, json
from pumascale.tasks.storage import manifests
place, writer, start = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0, start - time.time()))
print(json.dumps(manifests.commit(place, {"writer": writer})))
"""


def test_a_place_is_absent_then_final(workspace: str) -> None:
    place = urls.join(workspace, "place")
    assert manifests.read_manifest(place) is None
    first = manifests.commit(place, {"rows": 3})
    assert first["rows"] == 3
    assert manifests.read_manifest(place) == first
    assert manifests.commit(place, {"rows": 4}) == first


def test_of_racing_processes_one_wins_and_all_agree(workspace: str) -> None:
    import json
    import time

    start = str(time.time() + 4)
    command = [sys.executable, "-c", RACER, urls.join(workspace, "place")]
    racers = [
        subprocess.Popen([*command, str(writer), start], stdout=subprocess.PIPE, env=dict(os.environ))
        for writer in range(3)
    ]
    answers = [json.loads(racer.communicate()[0]) for racer in racers]
    assert answers == [manifests.read_manifest(urls.join(workspace, "place"))] * 3


@pytest.mark.parametrize("error", [OSError("the answer was lost"), ConnectionClosedError(endpoint_url="s3")])
def test_an_error_that_hides_a_success_is_none(
    workspace: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    create = urls.create_bytes

    def create_and_fail(url: str, data: bytes) -> bool:
        create(url, data)
        raise error

    monkeypatch.setattr(urls, "create_bytes", create_and_fail)
    assert manifests.commit(workspace + "/place", {"rows": 3})["rows"] == 3


def test_an_error_that_is_one_stays_one(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, data: bytes) -> bool:
        raise OSError("no space left")

    monkeypatch.setattr(urls, "create_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        manifests.commit(workspace + "/place", {"rows": 3})


def test_receipts_by_name(workspace: str) -> None:
    place = urls.join(workspace, "place")
    assert manifests.read_receipts(place) == {}
    manifests.write_receipt(place, "block-1", {"rows": [0, 10]})
    manifests.write_receipt(place, "block-2", {"rows": [10, 20]})
    manifests.write_receipt(place, "block-2", {"rows": [10, 21]})
    assert manifests.read_receipts(place) == {"block-1": {"rows": [0, 10]}, "block-2": {"rows": [10, 21]}}
