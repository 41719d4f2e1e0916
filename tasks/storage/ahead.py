"""Reading ahead: what comes next is fetched while what came is worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(read: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """`read` of each of the items, in their order, by threads that are at most `most` results ahead."""
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(most) as readers:
        for item in items:
            waiting.append(readers.submit(read, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
