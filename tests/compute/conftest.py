"""One local cluster of two worker processes for the room's tests."""

from collections.abc import Iterator

import pytest
from distributed import Client

from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.parameters import ComputeParameters


@pytest.fixture(scope="package")
def client() -> Iterator[Client]:
    """A client of two workers of one thread each."""
    with open_client(ComputeParameters(n_workers=2, memory_limit="1GB")) as opened:
        yield opened
