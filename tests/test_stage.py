"""What every door shares: a stage whose work meets the end of the disk says what stays and what to do."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError
from sklearn.datasets import load_digits

from pumascale.tasks import recipe, write_embedding
from pumascale.tasks.stage import costs, make_alone, make_or_reuse
from pumascale.tasks.storage import arrays, lease, manifests, urls
from pumascale.tasks.storage.errors import InputError

ON_A_SMALL_DISK = """
import subprocess, sys
from functools import partial
from pumascale.tasks.graph import pipeline
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.stage import make_or_reuse
from pumascale.tasks.storage import manifests
from pumascale.tasks.storage.errors import InputError
source, disk = sys.argv[1:]
asked = GraphParameters(n_partitions=4, recall_sample=50)
work = partial(pipeline.build, source, disk + "/graph", asked, run=map)
try:
    make_or_reuse.fn(disk + "/graph", work)
except InputError as error:
    print(error)
print(sorted(manifests.read_receipts(disk + "/graph")))
subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
print(make_or_reuse.fn(disk + "/graph", work)["n_rows"])
"""


def failing(number: int) -> Any:
    def work() -> dict[str, Any]:
        raise OSError(number, os.strerror(number))

    return work


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=r"No space was left.* make room .* and run the same again"):
        make_or_reuse.fn(str(tmp_path), failing(number))
    assert manifests.read_manifest(str(tmp_path)) is None


@pytest.mark.long
def test_a_disk_that_is_full_in_the_middle_of_a_graph_is_said_and_the_graph_goes_on(tmp_path: Path) -> None:
    rows = load_digits().data.astype(np.float32)
    arrays.create_array(str(tmp_path / "rows"), shape=rows.shape, dtype=rows.dtype)[:] = rows
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=1500k none "$2" || exit 77; "$0" -c "$3" "$1" "$2"'
    words = [sys.executable, str(tmp_path / "rows"), str(tmp_path / "disk"), ON_A_SMALL_DISK]
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script, *words], capture_output=True, text=True)
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip(f"no disk of its own can be mounted here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    said, receipts, n_rows = done.stdout.splitlines()
    assert re.match(r"No space was left while .*/graph was written .* make room there", said)
    assert "assign-4-000000000000" in receipts
    assert n_rows == "1797"


def test_of_two_runs_that_both_worked_the_one_that_broke_takes_the_result_of_the_other(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        manifests.commit(str(tmp_path), {"made_by": "the other run"})
        raise FileNotFoundError("scratch that the other run has removed")

    state = make_or_reuse.fn(str(tmp_path), work)
    assert state.name == "Cached"
    assert state.data["made_by"] == "the other run"


def test_of_two_runs_that_begin_at_once_the_second_is_still_asking_when_the_first_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, link = str(tmp_path), os.link

    def link_behind_another(*names: Any) -> None:
        monkeypatch.setattr(os, "link", link)
        assert (make_alone(place, lambda: manifests.commit(place, {"by": "the first"})) or {})["by"] == "the first"
        link(*names)

    monkeypatch.setattr(os, "link", link_behind_another)
    assert make_alone(place, failing(errno.EIO)) is None


def test_a_run_whose_place_was_taken_over_while_it_stood_still_waits_for_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)
    place, url = str(tmp_path), str(tmp_path / lease.LEASE)

    def end() -> None:
        manifests.commit(place, {"by": "the other"})
        urls.remove_object(url)

    def work() -> dict[str, Any]:
        other = {name: "elsewhere" for name in ("host", "boot", "space", "started", "token")} | {"pid": 1}
        urls.write_bytes(url, manifests.encode_json(other))
        threading.Timer(0.5, end).start()
        lease.check_held(place)
        raise AssertionError("it went on")

    assert make_alone(place, work) is None
    assert (manifests.read_manifest(place) or {})["by"] == "the other"


def test_a_server_that_does_not_answer_is_said_too(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    with pytest.raises(InputError, match=r"The store failed .*127\.0\.0\.1:9.* is there again and run the same again"):
        make_or_reuse.fn(str(tmp_path), work)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EACCES, "refused these credentials.* renew AWS"), (errno.ECONNRESET, "is there again")]
)
def test_a_store_that_ends_a_stage_is_said_with_what_to_do(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.* and run the same again"):
        make_or_reuse.fn(str(tmp_path), failing(number))


@pytest.mark.parametrize(
    "write",
    [
        lambda place: write_embedding._publish(f"{place}/map", f"{place}/embedding", {}, None, None),
        lambda place: recipe.write_landmarks(place, f"{place}/embedding", 3),
    ],
    ids=["a map is published", "landmarks are written"],
)
def test_a_full_disk_is_said_also_between_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], object]
) -> None:
    manifests.commit(f"{tmp_path}/embedding", {})

    def full(url: str, data: bytes) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(urls, "create_bytes", full)
    with pytest.raises(InputError, match=r"No space was left.* make room .* and run the same again"):
        write(str(tmp_path))


def test_the_peak_of_a_stage_is_not_that_of_the_one_before(tmp_path: Path) -> None:
    def made(name: str, n_bytes: int) -> int:
        def work() -> dict[str, Any]:
            np.ones(n_bytes, np.uint8)
            return costs(0.0, str(tmp_path / name))

        return int(make_or_reuse.fn(str(tmp_path / name), work)["peak_memory"])

    assert made("large", 300_000_000) - made("small", 1_000_000) > 250_000_000
