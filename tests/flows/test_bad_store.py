"""The main job, from a process and its Dask workers, over a store that fails all the time."""

from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pumascale.flows.fit_transform import fit_transform
from tests.flows.conftest import COMPUTE, GRAPH, TRAINING, write_digits
from tests.s3.proxy import Kind, Proxy

OF_WRITES: tuple[Kind, ...] = ("drop_response", "torn_upload")
OF_ALL: tuple[Kind, ...] = ("reset", "503", "500", "truncate")


def points(source: str, workspace: str) -> NDArray[np.float32]:
    groups: dict[str, Any] = {"graph": GRAPH.model_copy(update={"n_partitions": 3}), "training": TRAINING}
    made = fit_transform(source, workspace, target=f"{workspace}/map", compute=COMPUTE, **groups)
    assert made["version"] == 1
    return np.asarray(zarr.open_array(f"{made['embedding']}/embedding", mode="r")[:])


@pytest.mark.long
def test_a_whole_run_ends_right_over_a_store_that_fails_all_the_time(s3: str, proxy: Proxy) -> None:
    source, _ = write_digits(f"{s3}/data")
    calm = points(source, f"{s3}/calm")
    faults = [proxy.add(kind, probability=0.05) for kind in OF_ALL]
    faults += [proxy.add(kind, probability=0.05, method="PUT") for kind in OF_WRITES]
    np.testing.assert_array_equal(points(source, f"{s3}/work"), calm)
    assert all(fault.n_done > 0 for fault in faults)
