"""One Dask worker for all flow tests, by the way that anybody's cluster comes in: a class by import path.

The default cluster, started and ended by each graph, is what the shell's tests run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import LocalCluster

running: list[LocalCluster] = []


@contextmanager
def started() -> Iterator[None]:
    """The worker is there inside the `with` block."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        running.append(cluster)
        yield
        running.clear()


@contextmanager
def shared() -> Iterator[LocalCluster]:
    """The cluster, which stays when the graph is built."""
    yield running[0]
