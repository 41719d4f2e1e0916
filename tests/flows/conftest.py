"""One Prefect server and one Dask worker for all flow tests, and digits small enough that a run takes seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.testing.utilities import prefect_test_harness
from sklearn.datasets import load_digits

from pumascale.tasks.parameters import ComputeParameters, GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays
from tests.flows import cluster

GRAPH = GraphParameters(n_neighbors=10, recall_sample=50)
TRAINING = TrainingParameters(encoder="mlp", n_epochs=20, loss_report_frequency=2, hidden_units=[32])
COMPUTE = ComputeParameters(cluster_class="tests.flows.cluster:shared")


@pytest.fixture(scope="session", autouse=True)
def servers(s3_server: str) -> Iterator[None]:
    # After the S3 server: its keys are in the environment of the worker.
    with cluster.started(), prefect_test_harness(server_startup_timeout=120):
        yield


def write_digits(folder: str, n_rows: int = 500) -> tuple[str, str]:
    digits = load_digits()
    rows, labels = digits.data[:n_rows].astype(np.float32), digits.target[:n_rows].astype(np.int64)
    for name, values in (("rows", rows), ("labels", labels)):
        arrays.create_array(f"{folder}/{name}", shape=values.shape, dtype=values.dtype)[:] = values
    return f"{folder}/rows", f"{folder}/labels"


def artifacts(run: str) -> list[Any]:
    """Every artifact of a run."""
    with get_client(sync_client=True) as client:
        return client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)]))
        )


@pytest.fixture
def digits(tmp_path: Path) -> tuple[str, str]:
    return write_digits(str(tmp_path / "data"))
