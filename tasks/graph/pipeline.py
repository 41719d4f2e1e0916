"""The graph room's entry: local neighbours, merge, recall, memberships and union, as tasks that any runner may run.

Every task is a function of one small item, opens its stores itself, writes whole shards and returns counts; its receipt
makes a restart skip it. Results do not depend on who runs the tasks, nor on how many at once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pumascale.tasks.graph import recall, steps
from pumascale.tasks.graph.plan import Plan, block_tasks, create_store, make_plan, partition_tasks, write_whole
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, manifests, urls

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
OnProgress = Callable[[str, int, int], None]


def _silent(step: str, done: int, total: int) -> None:
    pass


def build(
    source: str,
    place: str,
    parameters: GraphParameters,
    *,
    run: Runner,
    worker_memory: int | None = None,
    on_progress: OnProgress = _silent,
) -> dict[str, Any]:
    """Write the whole graph of `source` at `place`, all but the commit.

    Parameters
    ----------
    run : callable
        ``run(function, items)`` yields results in any order: the builtin `map`, or a cluster's.
    worker_memory : int, optional
        Bytes that one task may use: bounds the rows per partition.

    Returns
    -------
    dict
        The manifest: counts, measured recall with its 95 % interval, seconds per step.
    """
    plan = make_plan(source, place, parameters, n_partitions=1)
    steps_ = Steps(place, run, on_progress)
    create_store(plan)
    write_whole(plan.member("partition_rows"), np.arange(plan.n_rows))
    write_whole(plan.member("partition_offsets"), np.array([0, plan.n_rows]))
    steps_.run("neighbours", steps.local_neighbors, partition_tasks(plan))
    merged = steps_.run("merge", steps.merge_neighbors, block_tasks(plan))
    measured = measure_recall(plan, steps_)
    mean = sum(result["distance_sum"] for result in merged) / sum(result["distance_count"] for result in merged)
    steps_.run("memberships", steps.memberships, block_tasks(plan, mean))
    steps_.run("edges", steps.partition_edges, partition_tasks(plan))
    n_edges = steps.join_edges(plan)
    urls.remove_tree(plan.scratch())
    counts = {"n_rows": plan.n_rows, "n_edges": n_edges, "n_partitions": plan.n_partitions}
    asked = parameters.model_dump(include={"n_neighbors", "metric", "target_recall"})
    return counts | asked | measured | {"seconds_per_step": steps_.seconds}


class Steps:
    """Runs the tasks of one step after the other, those with a receipt not again, and keeps the time."""

    def __init__(self, place: str, run: Runner, on_progress: OnProgress) -> None:
        self._place, self._run, self._on_progress = place, run, on_progress
        self._receipts = manifests.read_receipts(place)
        self.seconds: dict[str, float] = {}

    def run(self, step: str, function: Callable[[Any], dict[str, Any]], tasks: Sequence[Any]) -> list[dict[str, Any]]:
        """Results of all tasks of a step, in no particular order."""
        started = time.perf_counter()
        results = [self._receipts[name] for task in tasks if (name := f"{step}-{task.name}") in self._receipts]
        todo = [task for task in tasks if f"{step}-{task.name}" not in self._receipts]
        noted = Noted(self._place, step, function)
        for result in self._run(noted, todo):
            results.append(result)
            self._on_progress(step, len(results), len(tasks))
        self.seconds[step] = round(time.perf_counter() - started, 3)
        return results

    def run_all(self, step: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Results of tasks that write nothing, so there is nothing to resume."""
        started, results = time.perf_counter(), []
        for result in self._run(function, tasks):
            results.append(result)
            self._on_progress(step, len(results), len(tasks))
        self.seconds[step] = round(time.perf_counter() - started, 3)
        return results


class Noted:
    """A task function that writes its receipt behind its data."""

    def __init__(self, place: str, step: str, function: Callable[[Any], dict[str, Any]]) -> None:
        self._place, self._step, self._function = place, step, function

    def __call__(self, task: Any) -> dict[str, Any]:
        """Do the task and note that it is done."""
        result = self._function(task)
        manifests.write_receipt(self._place, f"{self._step}-{task.name}", result)
        return result


def measure_recall(plan: Plan, steps_: Steps) -> dict[str, Any]:
    """Recall of the merged neighbours against the exact ones of sampled rows."""
    parameters = plan.parameters
    ids = recall.draw_sample(plan.n_rows, parameters.recall_sample, parameters.random_state)
    kwds = tuple(parameters.metric_kwds.items())
    tasks = [
        recall.Candidates(plan.source, block, tuple(ids.tolist()), parameters.n_neighbors, parameters.metric, kwds)
        for block in arrays.row_blocks(plan.n_rows, recall.block_rows(plan.n_features))
    ]
    exact = recall.merge_candidates(list(steps_.run_all("recall", recall.block_candidates, tasks)), parameters.n_neighbors)
    found = arrays.open_array(plan.member("knn_indices")).oindex[ids], arrays.open_array(plan.member("knn_dists")).oindex[ids]
    mean, interval = recall.mean_and_interval(recall.recall_per_row(exact, np.asarray(found[0]), np.asarray(found[1])))
    return {"knn_recall": mean, "knn_recall_interval": list(interval), "knn_recall_sample": len(ids)}
