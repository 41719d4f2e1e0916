"""Rows through a network on Dask workers: the same bytes as in one process, also when a worker is killed."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.embedding import blocks
from pumascale.tasks.embedding.encode import encode
from pumascale.tasks.parameters import ComputeParameters
from pumascale.tasks.storage import arrays, urls
from pumascale.tasks.storage.errors import InputError, NonFiniteError
from tests.embedding.conftest import Write, project

OPTIONS: dict[str, Any] = {"row_shape": (12,), "out_shape": (2,), "batch_size": 100}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 128 rows: workers learn it from the array."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(blocks, "MOST_SHARD_ROWS", 128)


@pytest.fixture(scope="module")
def client(s3_server: str) -> Iterator[Client]:
    """Two workers, started when the environment names the S3 server."""
    with open_client(ComputeParameters(n_workers=2)) as opened:
        yield opened


def test_workers_write_the_same_map_also_when_one_is_killed(
    write_source: Write, workspace: str, client: Client
) -> None:
    source, _ = write_source(2600)
    here = encode(source, project, f"{workspace}/here", **OPTIONS)
    seen: list[tuple[str, int, int]] = []

    def kill_a_worker(*progress: Any) -> None:
        if not seen:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        seen.append(progress)

    run = partial(bounded_map, client)
    there = encode(source, project, f"{workspace}/there", run=run, on_progress=kill_a_worker, **OPTIONS)
    assert (there, there["n_shards"], seen[-1]) == (here, 21, ("rows", 2600, 2600))
    for shard in range(21):
        one, other = (urls.read_bytes(f"{workspace}/{name}/c/{shard}/0") for name in ("here", "there"))
        assert one == other
    assert encode(source, project, f"{workspace}/there", run=run, **OPTIONS)["n_shards_before"] == 21


def test_workers_refuse_bad_rows_too(write_source: Write, workspace: str, client: Client) -> None:
    source, rows = write_source(2600)
    rows[700, 3] = np.nan
    arrays.open_writable(source)[:] = rows
    with pytest.raises(InputError, match="NaN or inf in 1 of its 2600 rows, first in row 700"):
        encode(source, project, f"{workspace}/map", run=partial(bounded_map, client), **OPTIONS)


def test_a_worker_that_meets_bad_rows_reads_no_others(
    write_source: Write, tmp_path: Path, chunk_reads: list[str]
) -> None:
    """To count them all is for the one who asked: workers would each read the whole source."""
    source, rows = write_source(2600)
    rows[1300, 3] = np.nan
    arrays.open_writable(source)[:] = rows
    arrays.create_array(str(tmp_path / "map"), shape=(2600, 2), dtype=np.float32, shard_rows=128)
    job = blocks.Job(source, project, str(tmp_path / "map"), (12,), (2,), 100, "error")
    chunk_reads.clear()
    with pytest.raises(NonFiniteError, match="NaN or inf in rows 1280 to 1408"):
        blocks.WriteShard(job)((1280, 1408))
    assert not {path for path in chunk_reads if path.startswith(source) and "/c/1/" not in path}
