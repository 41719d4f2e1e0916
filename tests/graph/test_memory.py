"""Memory: what is projected bounds what a worker takes, and a limit sizes the partitions."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.graph import checks, memory, pipeline
from pumascale.tasks.graph.plan import make_plan
from pumascale.tasks.parameters import ComputeParameters, GraphParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError

N_ROWS, N_FEATURES = 60_000, 32


def peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.long
@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])  # compared in cells, and searched by pynndescent
def test_a_worker_stays_below_what_was_projected(tmp_path: Path, metric: str) -> None:
    source, place = str(tmp_path / "rows"), str(tmp_path / "graph")
    arrays.write_whole(source, np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES)).astype(np.float32))
    asked = GraphParameters(n_partitions=3, overlap=2, target_recall=0.5, metric=metric)  # 40,000 rows each
    with open_client(ComputeParameters(n_workers=1)) as client:
        pipeline.build(source, place, asked, run=partial(bounded_map, client))
        peak = max(client.run(peak_bytes).values())
    plan = make_plan(source, place, asked, None)
    largest = max(arrays.open_array(f"{place}/partitions/{part:06d}/rows").shape[0] for part in range(3))
    projected = memory.projected_peak(largest, plan.block_rows, N_FEATURES, 15, plan.overlap, metric)
    assert peak < projected < 2.5 * peak


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_a_memory_limit_makes_partitions_that_fit(metric: str) -> None:
    for limit in (2**30, 2 * 2**30, 16 * 2**30):
        n_rows = memory.default_partition_rows(limit, 384, 15, metric)
        assert memory.projected_neighbors(n_rows, 384, 15, metric) <= limit
        assert memory.projected_edges(n_rows, 384, 15) <= limit
    assert memory.default_partition_rows(4 * 2**30, 384, 15, metric) > 100_000


def test_partitions_keep_to_the_bound_that_the_memory_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumascale.tasks.graph.plan.default_partition_rows", lambda *_: 400)
    source, place = str(tmp_path / "rows"), str(tmp_path / "graph")
    rows = np.random.default_rng(0).normal(size=(1200, 20)).astype(np.float32)
    rows[:900] *= 20  # all of them guests of those in the middle
    arrays.write_whole(source, rows)
    asked = GraphParameters(repair_passes=0, target_recall=0.1, set_op_mix_ratio=1.0)
    manifest = pipeline.build(source, place, asked, run=map, worker_memory=2**30)
    sizes = [arrays.open_array(f"{place}/partitions/{at:06d}/rows").shape[0] for at in range(manifest["n_partitions"])]
    assert max(sizes) <= 400


def test_a_limit_that_no_partition_fits_is_refused_with_the_least_that_works(tmp_path: Path) -> None:
    source = str(tmp_path / "rows")
    arrays.write_whole(source, np.zeros((2000, 4), np.float32))
    with pytest.raises(InputError, match=r"300\.0 MiB.* at least \d\.\d GiB"):
        checks.check_memory(source, GraphParameters(), 300 * 2**20)
    checks.check_memory(source, GraphParameters(), 4 * 2**30)
