"""Small reads of a store: as many requests as parts, side by side, and what is missing is said or left out."""

import asyncio
from typing import Any

import numpy as np
import pytest
from s3fs import S3FileSystem

from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import manifests, ranges, urls


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every request to S3, and how many were waited for with it."""
    asked: list[tuple[str, int]] = []
    waiting, call = 0, S3FileSystem._call_s3

    async def noted(fs: S3FileSystem, method: str, *where: Any, **options: Any) -> Any:
        nonlocal waiting
        waiting += 1
        asked.append((method, waiting))
        try:
            await asyncio.sleep(0.05)
            return await call(fs, method, *where, **options)
        finally:
            waiting -= 1

    monkeypatch.setattr(S3FileSystem, "_call_s3", noted)
    return asked


def test_receipts_are_read_side_by_side_in_a_request_each(s3: str, requests: list[tuple[str, int]]) -> None:
    expected = {f"block-{number:02d}": {"n_rows": number} for number in range(20)}
    for name, receipt in expected.items():
        manifests.write_receipt(s3, name, receipt)
    requests.clear()
    assert manifests.read_receipts(s3) == expected
    methods = [method for method, _ in requests]
    assert (methods.count("get_object"), methods.count("head_object")) == (20, 0)
    assert max(waiting for _, waiting in requests) > 10


def test_runs_are_read_side_by_side_and_stay_in_order(s3: str, requests: list[tuple[str, int]]) -> None:
    runs = [urls.join(s3, f"run-{number}") for number in range(12)]
    for number, run in enumerate(runs):
        write_run(run, np.array([0, 1, 1]), 3, {"rows": number * 10 + np.arange(3)})
    requests.clear()
    (found,) = read_runs(runs, 1, ("rows",))
    assert found.tolist() == [10 * number + row for number in range(12) for row in (1, 2)]
    assert len(requests) == 1 + 2 * 12
    assert max(waiting for _, waiting in requests) > 6
    requests.clear()
    assert len(read_runs(runs, 2, ("rows",))[0]) == 0
    assert len(requests) == 1 + 12  # nothing is asked for of an owner without entries


def test_what_is_missing_is_an_error_or_none(workspace: str) -> None:
    there, lost = urls.join(workspace, "there"), urls.join(workspace, "lost")
    urls.write_bytes(there, b"0123456789")
    assert ranges.read_small([there, lost, there]) == [b"0123456789", None, b"0123456789"]
    assert ranges.read_ranges([(there, 2, 4), (lost, 3, 3), (there, 8, 20)]) == [b"23", b"", b"89"]
    assert ranges.read_ranges([]) == ranges.read_small([]) == []
    with pytest.raises(FileNotFoundError):
        ranges.read_ranges([(there, 2, 4), (lost, 0, 3)])
