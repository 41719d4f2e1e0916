# mypy: disable-error-code="no-untyped-call"
"""A map over a cluster that holds only a bounded number of tasks.

10,000 blocks never become a task graph: as one result comes in, one more item goes out. A lost worker costs the task
that it was at, which Dask gives to another one.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

from distributed import Client, KilledWorker, as_completed

from pumascale.tasks.storage.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
LEAST_IN_FLIGHT = 8  # enough for an adaptive cluster that starts with no worker to see that it should grow
RECOUNT_EVERY = 32  # results between two looks at the number of workers
TURN = Lock()


def bounded_map(
    client: Client, function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int | None = None
) -> Iterator[Result]:
    """Results of `function` over `items`, in the order of completion.

    Parameters
    ----------
    in_flight : int, optional
        Tasks held at once; by default three per worker thread, following the workers as they come and go.

    Raises
    ------
    Exception
        The first exception of any task; the tasks in flight are cancelled.
    InputError
        When a task has killed several workers one after the other: mostly by the memory it took.
    """
    waiting, most = iter(items), in_flight or _enough(client)
    first = [_submit(client, function, item) for item in islice(waiting, most)]
    running = as_completed(first, loop=client.loop, with_results=True, raise_errors=False)
    try:
        for count, (future, outcome) in enumerate(running, start=1):
            yield outcome if future.status == "finished" else _raise(future)
            future.release()
            if in_flight is None and count % RECOUNT_EVERY == 0:
                most = _enough(client)
            for item in islice(waiting, max(0, most - running.count())):
                running.add(_submit(client, function, item))
    finally:
        client.cancel(list(running.futures), force=True)


def _submit(client: Client, function: Callable[[Item], Result], item: Item) -> Any:
    # pure=False: a task writes to a store, so two equal calls are two tasks.
    return client.submit(_in_turn, function, item, pure=False)


def _in_turn(function: Callable[[Item], Result], item: Item) -> Result:
    """One task at a time in a worker process, also where it has several threads: its memory is for one partition."""
    with TURN:
        return function(item)


def _raise(future: Any) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise InputError(
            f"One task ended several worker processes ({error}). Most often that is memory: raise "
            "compute.memory_limit, take fewer workers (compute.n_workers) or smaller partitions (graph.partition_rows)."
        ) from error


def _enough(client: Client) -> int:
    return max(LEAST_IN_FLIGHT, 3 * sum(client.nthreads().values()))
