"""A map over a cluster that holds only a bounded number of tasks.

10,000 blocks never become a task graph: as one result comes in, one more item goes out. A lost worker costs the task
that it was at, which Dask gives to another one.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from distributed import Client, as_completed

Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    client: Client, function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int | None = None
) -> Iterator[Result]:
    """Results of `function` over `items`, in the order of completion.

    Parameters
    ----------
    in_flight : int, optional
        Tasks held at once; by default three per worker thread, at least two.

    Raises
    ------
    Exception
        The first exception of any task; the tasks in flight are cancelled.
    """
    waiting = iter(items)
    first = islice(waiting, in_flight or _enough(client))
    running = as_completed((_submit(client, function, item) for item in first), loop=client.loop)
    try:
        for future in running:
            yield future.result()
            future.release()
            for item in islice(waiting, 1):
                running.add(_submit(client, function, item))
    finally:
        client.cancel(list(running.futures), force=True)


def _submit(client: Client, function: Callable[[Item], Result], item: Item) -> object:
    # pure=False: a task writes to a store, so two equal calls are two tasks.
    return client.submit(function, item, pure=False)


def _enough(client: Client) -> int:
    return max(2, 3 * sum(client.nthreads().values()))
