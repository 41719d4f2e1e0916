"""The training room's stream: data larger than memory, a window of pieces on the device and the next one loading.

A report is some passes over all edges, each dealt anew into windows of many small pieces from everywhere. A window gets
steps by the weight of its edges, so an edge is drawn as often as if all were resident.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training.checkpoints import KeepCheckpoint
from pumascale.tasks.training.parts import Part, Parts
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.sampling import Edges, joined
from pumascale.tasks.training.window import Tables, Window

EDGE_BYTES = 100  # in the window, in the one that loads, and while its alias table is made
ROW_COPIES = 3  # the same of a row
PARTS_PER_WINDOW = 32  # at least, see `pieces`
DRAWS_PER_STAY = 0.5  # of an edge before the next window comes: what is elsewhere is forgotten meanwhile
LEAST_EXECUTIONS = 2  # per stay

Deal = list[list[Part]]  # the windows of a report


def projected_memory(n_rows: int, n_edges: int, problem: Problem) -> int:
    """Bytes that `n_rows` rows and `n_edges` edges take at once in training by gradients."""
    row_nbytes = problem.row_dtype.itemsize * math.prod(problem.row_shape)
    return ROW_COPIES * row_nbytes * n_rows + EDGE_BYTES * n_edges


def _taken(edges: Edges, problem: Problem) -> int:
    """The same of these edges and the rows at their ends."""
    return projected_memory(len(np.unique(np.append(edges.head, edges.tail))), len(edges), problem)


def is_resident(problem: Problem) -> bool:
    """Whether all rows and edges fit the limit at once."""
    return projected_memory(problem.n_rows, problem.n_training_edges, problem) <= problem.memory_limit


class Stream:
    """The windows of a problem that does not fit its memory limit.

    Raises
    ------
    InputError
        When the limit is too small for one partition; what would do is said.
    """

    def __init__(self, problem: Problem, batch_size: int, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self._check()
        self.stored = Parts(problem, lambda edges: _taken(edges, problem) <= problem.memory_limit / PARTS_PER_WINDOW)
        self.parts = self.stored.parts
        n_rows, n_edges = sum(part.n_rows for part in self.parts), sum(part.n_edges for part in self.parts)
        share = min(1.0, problem.memory_limit / projected_memory(n_rows, n_edges, problem))
        self.capacity = math.ceil(share * n_rows), math.ceil(share * n_edges)
        self.n_passes = max(1, round(problem.steps_per_report * batch_size / (DRAWS_PER_STAY * n_edges)))
        self.steps_per_execution = _divisor(problem, len(self.deal(0)))

    def _check(self) -> None:
        """Refuse a limit that a single partition passes: its rows are read at once when they are copied."""
        sizes = [_taken(edges, self.problem) for edges in self.problem.edges.training()]
        if max(sizes) > self.problem.memory_limit or len(sizes) == 1:
            raise InputError(
                f"training.memory_limit allows {self.problem.memory_limit / 2**20:.0f} MiB, and training by gradients "
                f"needs {math.ceil(max(sizes) / 2**20)} MiB for the largest of {len(sizes)} partitions. Raise it, "
                "build the graph in smaller partitions (graph.partition_rows), or choose training.encoder=prototypes."
            )

    def deal(self, report: int) -> Deal:
        """Shuffle the parts into windows that fit, once for each pass of the report."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 5], counter=[0, 0, 0, report]))
        windows: Deal = []
        for _ in range(self.n_passes):
            windows.append([])
            for index in generator.permutation(len(self.parts)):
                if not self._fits([*windows[-1], self.parts[index]]):
                    windows.append([])
                windows[-1].append(self.parts[index])
        return windows

    def _fits(self, window: list[Part]) -> bool:
        rows, edges = self.capacity
        return sum(part.n_rows for part in window) <= rows and sum(part.n_edges for part in window) <= edges

    def ends(self, report: int, windows: Deal, n_steps: int) -> NDArray[np.int64]:
        """The step behind the last one of each window: whole executions by weight, their rounding drawn."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 6], counter=[0, 0, 0, report]))
        weight = np.cumsum([sum(part.weight for part in window) for window in windows])
        n_executions = n_steps // self.steps_per_execution
        ends = np.floor(weight / weight[-1] * n_executions + generator.random()).astype(np.int64)
        return np.asarray(np.minimum(ends, n_executions) * self.steps_per_execution)

    def read(self, window: list[Part]) -> tuple[NDArray[Any], Edges, NDArray[np.float32] | None]:
        """The rows of a window, as many as fit, its edges with ids into them, and the rows' landmarks."""
        rows = np.zeros((self.capacity[0], *self.problem.row_shape), self.problem.row_dtype)
        edges, ids, offset = list[Edges](), list[NDArray[np.int64]](), 0
        for part in window:
            some, found = self.stored.edges(part)
            self.stored.read_rows(part, rows[offset : offset + part.n_rows])
            edges.append(Edges(offset + found.head, offset + found.tail, found.weight))
            ids.append(some)
            offset += part.n_rows
        landmarks = self.problem.landmarks
        return rows, joined(edges), None if landmarks is None else landmarks[np.concatenate(ids)]


def _divisor(problem: Problem, n_windows: int) -> int:
    """Steps per execution: a divisor of the resident ones that leaves every window of a report a few executions."""
    most = max(1, problem.steps_per_report // (LEAST_EXECUTIONS * n_windows))
    whole = problem.steps_per_execution
    return max(count for count in range(1, min(whole, most) + 1) if whole % count == 0)


class FeedWindows(keras.callbacks.Callback):  # type: ignore[misc]
    """Puts the window on the device that the next step draws from, and reads the one after it meanwhile."""

    def __init__(self, stream: Stream, window: Window, keeper: KeepCheckpoint, steps_per_report: int) -> None:
        super().__init__()
        self.stream, self.window, self.keeper, self.n_steps = stream, window, keeper, steps_per_report
        self.reader = ThreadPoolExecutor(1)
        self.report = self.shown = -1
        self.ahead: tuple[list[Part], Future[Tables]] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Deal the windows of the report; a resumed one goes on within."""
        self.report, self.shown = epoch, -1
        self.windows = self.stream.deal(epoch)
        self.ends = self.stream.ends(epoch, self.windows, self.n_steps)
        self._show(self.keeper.before)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Change the window when its steps are done."""
        self._show(self.keeper.before + batch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Nothing is read any more."""
        self.reader.shutdown(cancel_futures=True)

    def _show(self, step: int) -> None:
        due = int(np.searchsorted(self.ends, step, side="right"))
        if step >= self.n_steps or due == self.shown:
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.window.put(self._take(self.windows[due]))
        self.shown = due
        following = self.windows[due + 1 :] or self.stream.deal(self.report + 1)
        self.ahead = following[0], self.reader.submit(self._prepare, following[0])

    def _take(self, wanted: list[Part]) -> Tables:
        if self.ahead and self.ahead[0] == wanted:
            return self.ahead[1].result()
        return self._prepare(wanted)

    def _prepare(self, parts: list[Part]) -> Tables:
        return self.window.prepare(*self.stream.read(parts))
