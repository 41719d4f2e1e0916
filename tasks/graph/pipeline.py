"""The graph room's entry: partitions, local neighbours, merge, recall, repair, memberships, union.

Every task is a function of one small item, opens its stores itself, writes whole objects and returns counts; its
receipt makes a restart skip it. Results do not depend on who runs the tasks, nor on how many at once.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pumascale.tasks.graph import partitions, recall, repair, steps, union
from pumascale.tasks.graph.plan import Plan, block_tasks, create_store, gather, make_plan, partition_tasks
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, manifests, urls

logger = logging.getLogger("pumascale.graph")

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
OnProgress = Callable[[str, int, int], None]
Results = list[dict[str, Any]]
FINISHED = "finished"  # the receipt of the whole build: its manifest
MOST_ATTEMPTS = 4  # to bring every partition below its bound


def _silent(step: str, done: int, total: int) -> None:
    """No progress is shown."""


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
    done = Steps(place, run, on_progress)
    if (finished := done.finished()) is not None:
        urls.remove_tree(urls.join(place, "scratch"))
        return finished
    plan = make_plan(source, place, parameters, worker_memory)
    create_store(plan)
    plan = partition(plan, done)
    if parameters.precomputed_knn:
        merged = done.run("precomputed", steps.take_precomputed, block_tasks(plan))
    else:
        done.run("neighbours", steps.local_neighbors, partition_tasks(plan))
        merged = done.run("merge", steps.merge_neighbors, block_tasks(plan))
    merged, measured = repair_until(plan, done, merged)
    edges = join(plan, done, merged)
    counts = {"n_rows": plan.n_rows, "n_edges": sum(result["n_edges"] for result in edges)}
    asked = parameters.model_dump(include={"n_neighbors", "metric", "target_recall"})
    manifest = counts | {"n_partitions": plan.n_partitions} | asked | measured | {"seconds_per_step": done.seconds}
    # Before scratch goes: a run killed from here on must not look for it again.
    manifests.write_receipt(place, FINISHED, manifest)
    urls.remove_tree(plan.scratch())
    return manifest


class Steps:
    """Runs the tasks of one step after the other, those with a receipt not again, and keeps the time."""

    def __init__(self, place: str, run: Runner, on_progress: OnProgress) -> None:
        self._place, self._run, self._on_progress = place, run, on_progress
        self._receipts = manifests.read_receipts(place)
        self.seconds: dict[str, float] = {}

    def run(self, step: str, function: Callable[[Any], dict[str, Any]], tasks: Sequence[Any]) -> Results:
        """Results of all tasks of a step, in no particular order."""
        before = [self._receipts[name] for task in tasks if (name := f"{step}-{task.name}") in self._receipts]
        todo = [task for task in tasks if f"{step}-{task.name}" not in self._receipts]
        return before + self._timed(step, Noted(self._place, step, function), todo)

    def finished(self) -> dict[str, Any] | None:
        """The manifest, where an earlier run did all but the door's commit."""
        return self._receipts.get(FINISHED)

    def ask(self, step: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Results of tasks that write nothing, so there is nothing to resume."""
        return self._timed(step, function, tasks)

    def _timed(self, step: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        started, results = time.perf_counter(), []
        for result in self._run(function, tasks):
            results.append(result)
            self._on_progress(step, len(results), len(tasks))
        self.seconds[step] = round(self.seconds.get(step, 0) + time.perf_counter() - started, 3)
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


def partition(plan: Plan, done: Steps) -> Plan:
    """Assign rows to partitions, more of them until none is above its bound, and bring each one's rows together."""
    for _ in range(MOST_ATTEMPTS):
        if plan.n_partitions > 1:
            partitions.choose_pivots(plan)
        results = done.run(f"assign-{plan.n_partitions}", partitions.assign_block, block_tasks(plan))
        sizes = np.sum([result["sizes"] for result in results], axis=0)
        too_large = sizes.max() / (plan.parameters.partition_rows or np.inf)
        if too_large <= 1 or plan.parameters.n_partitions:
            break
        plan = replace(plan, n_partitions=int(plan.n_partitions * too_large) + 1)
    partitions.check_sizes(plan, sizes)
    arrays.write_whole(plan.scratch("sizes"), sizes)
    if plan.n_partitions > 1:
        done.run("scatter", partitions.scatter_block, block_tasks(plan))
    done.run("collect", partitions.collect_partition, partition_tasks(plan))
    urls.remove_tree(plan.scratch("runs"))
    return plan


def repair_until(plan: Plan, done: Steps, merged: Results) -> tuple[Results, dict[str, Any]]:
    """Measure the recall, and repair while it is below the target and passes are left."""
    exact, ids = exact_neighbors(plan, done)
    recalls, turn = [measure_recall(plan, exact, ids)], 0
    passes = 0 if plan.parameters.precomputed_knn else plan.parameters.repair_passes
    while recalls[-1][0] < plan.parameters.target_recall and turn < passes:
        turn += 1
        done.run(f"repair-{turn}", repair.repair_partition, partition_tasks(plan, turn))
        merged = done.run(f"merge-{turn}", repair.merge_repaired, block_tasks(plan, turn))
        recalls.append(measure_recall(plan, exact, ids))
    mean, interval = recalls[-1]
    if mean < plan.parameters.target_recall:
        logger.warning(
            "kNN recall %.3f is below graph.target_recall=%.3f after %d repair passes: allow more "
            "(graph.repair_passes), or a larger graph.overlap or graph.partition_rows.",
            mean, plan.parameters.target_recall, turn,
        )  # fmt: skip
    found = {"knn_recall": mean, "knn_recall_interval": list(interval), "knn_recall_sample": len(ids)}
    return merged, found | {"repair_passes": turn, "knn_recall_by_pass": [recall_ for recall_, _ in recalls]}


def exact_neighbors(plan: Plan, done: Steps) -> tuple[recall.Nearest, np.ndarray[Any, np.dtype[np.int64]]]:
    """The exact neighbours of sampled rows, and the rows' ids."""
    parameters = plan.parameters
    ids = recall.draw_sample(plan.n_rows, parameters.recall_sample, parameters.random_state)
    ids = ids[gather(plan.scratch("partitions_of"), ids)[:, 0] >= 0]  # rows with NaN have no neighbours
    kwds = tuple(parameters.metric_kwds.items())
    tasks = [
        recall.Candidates(plan.source, block, tuple(ids.tolist()), parameters.n_neighbors, parameters.metric, kwds)
        for block in arrays.row_blocks(plan.n_rows, recall.block_rows(plan.n_features))
    ]
    parts = done.ask("recall", recall.block_candidates, tasks)
    return recall.merge_candidates(parts, parameters.n_neighbors), ids


def measure_recall(
    plan: Plan, exact: recall.Nearest, ids: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[float, tuple[float, float]]:
    """Mean recall of the sampled rows with its 95 % interval."""
    indices, distances = gather(plan.member("knn_indices"), ids), gather(plan.member("knn_dists"), ids)
    return recall.mean_and_interval(recall.recall_per_row(exact, indices, distances))


def join(plan: Plan, done: Steps, merged: Results) -> Results:
    """Memberships by block, then the fuzzy union by partition."""
    mean = sum(result["distance_sum"] for result in merged) / max(1, sum(one["distance_count"] for one in merged))
    done.run("memberships", steps.memberships, block_tasks(plan, mean_distance=mean))
    if plan.n_partitions > 1:
        done.run("strays", union.stray_edges, block_tasks(plan))
    return done.run("edges", union.partition_edges, partition_tasks(plan))
