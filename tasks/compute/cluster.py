# mypy: disable-error-code="no-untyped-call"
"""Where the work runs: a local cluster of processes, an existing scheduler, or any cluster class by import path.

Workers are processes with one thread each: pynndescent's threading layer aborts on concurrent threads in one process,
and its own threads use the cores of a worker anyway.
"""

import importlib
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from pumascale.tasks.compute.logs import forwarded_logs
from pumascale.tasks.compute.memory import peak_memory
from pumascale.tasks.parameters import ComputeParameters
from pumascale.tasks.storage.errors import InputError

logger = logging.getLogger("pumascale")

CONNECT_SECONDS = 10
PATIENCE_SECONDS = 60  # with a scheduler whose workers do not come
CORES_PER_WORKER = 4  # that a task's own threads use
LEAST_MEMORY = 2 * 2**30  # of a local worker, where nobody asked for another
# Dask has the C library give each freed array back to the system, and have it back page by page: 45 % more CPU time for
# a graph than with 32 MB of it kept, in one arena, which is a tenth more memory.
ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": 2**25, "MALLOC_MMAP_THRESHOLD_": 2**24, "MALLOC_ARENA_MAX": 1}
MAIN_GUARD = "A script that calls pumascale needs its calls below `if __name__ == '__main__':`."


@contextmanager
def open_client(parameters: ComputeParameters, cores_per_worker: int = CORES_PER_WORKER) -> Iterator[Client]:
    """A Dask client for the length of a `with` block; what it started is gone afterwards.

    Parameters
    ----------
    cores_per_worker : int
        What a worker of a local cluster has where nobody asked for a number of them.

    Raises
    ------
    InputError
        When the scheduler does not answer or there is no such cluster class.
    """
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with ExitStack() as stack:
        stack.enter_context(_environment_kept())
        address = parameters.scheduler_address or stack.enter_context(_make_cluster(parameters, cores_per_worker))
        client = stack.enter_context(_connect(address))
        stack.enter_context(forwarded_logs(client))
        yield client


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what a local cluster's nannies set in this process for the workers to inherit.

    One thread for OpenMP and BLAS is among it: libraries that are imported afterwards would have no more than that.
    """
    names = {*dask.config.get("distributed.nanny.pre-spawn-environ"), *ALLOCATION}
    before = {name: os.environ[name] for name in names & set(os.environ)}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def _make_cluster(parameters: ComputeParameters, cores_per_worker: int) -> Any:
    if parameters.cluster_class:
        cluster = _load_class(parameters.cluster_class)(**parameters.cluster_kwargs)
        if parameters.adapt:
            cluster.adapt(**parameters.adapt)
        return cluster
    _refuse_to_start_in_a_worker()
    n_workers = parameters.n_workers or _default_workers(parameters.memory_limit, cores_per_worker)
    environment = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in ALLOCATION.items()}
    try:
        with dask.config.set(environment):
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                memory_limit=parameters.memory_limit or MEMORY_LIMIT // n_workers,
                dashboard_address="127.0.0.1:0",  # a free port: None still takes 8787
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.WARNING,
            )
    except RuntimeError as error:
        raise InputError(f"The worker processes did not start ({error}). {MAIN_GUARD}") from error


def _refuse_to_start_in_a_worker() -> None:
    # A spawned process imports the main script first; without a guard it would start a cluster of its own, and so on.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(f"A worker process ran the script that started it. {MAIN_GUARD}")


def _default_workers(memory_limit: str | None, cores_per_worker: int) -> int:
    """As many as the cores suffice for, and no more than the memory holds; at least one."""
    by_memory = MEMORY_LIMIT // (parse_bytes(memory_limit) if memory_limit else LEAST_MEMORY)
    return max(1, min(len(os.sched_getaffinity(0)) // cores_per_worker, by_memory))


def _load_class(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"compute.cluster_class={path!r} cannot be imported: {error}. "
            "Expected 'package.module:Class' of an installed package, such as 'dask_kubernetes.operator:KubeCluster'."
        ) from None


def _connect(address: Any) -> Client:
    try:
        return Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The Dask scheduler at {address} does not answer: {error}. "
            "Expected the address of a running scheduler, such as tcp://host:8786."
        ) from None


def check_cluster(parameters: ComputeParameters) -> None:
    """Refuse, before any work, a scheduler that does not answer and a cluster class that is not there.

    Raises
    ------
    InputError
        With what came, what was expected and what to change.
    """
    if parameters.scheduler_address:
        _connect(parameters.scheduler_address).close()
    elif parameters.cluster_class:
        _load_class(parameters.cluster_class)


def asked_memory(parameters: ComputeParameters) -> int | None:
    """Bytes per worker of the local cluster that is asked for; None where only the cluster itself can say."""
    elsewhere = parameters.scheduler_address or parameters.cluster_class
    return None if elsewhere or parameters.memory_limit is None else int(parse_bytes(parameters.memory_limit))


def worker_memory(client: Client) -> int | None:
    """Bytes that the smallest worker may use; None where no limit is set."""
    _await_worker(client)
    limits = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    known = [limit for limit in limits if limit]
    return min(known) if known else None


def _await_worker(client: Client) -> None:
    """Wait until a worker has done a task, for which an adaptive cluster starts its first one."""
    task = client.submit(os.getpid, pure=False)
    while True:
        try:
            task.result(timeout=PATIENCE_SECONDS)
            return
        except TimeoutError:
            found = client.scheduler_info(n_workers=-1)
            logger.warning(
                "The Dask scheduler at %s has %d workers, and none of them did a task for %s s: still waiting. Start "
                "some (dask worker %s), or see in the cluster's log what keeps them from coming.",
                found["address"], len(found["workers"]), PATIENCE_SECONDS, found["address"],
            )  # fmt: skip


def workers_per_host(client: Client) -> int:
    """Most workers that share a host's cores."""
    hosts = Counter(worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    return max(hosts.values(), default=1)


def largest_peak(client: Client) -> int | None:
    """Most bytes of memory that one of the workers has held so far; None where their systems do not say."""
    return max((peak for peak in client.run(peak_memory).values() if peak is not None), default=None)
