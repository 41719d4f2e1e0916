"""The graph room's entry: partitions, local neighbours, merge, recall, repair, memberships, union.

Every task is a function of one small item, opens its stores itself, writes whole objects and returns counts; its
receipt makes a restart skip it. Results do not depend on who runs the tasks, nor on how many at once.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from pumascale.tasks.graph import connectivity, duplicates, partitions, pivots, recall, repair, steps, target, union
from pumascale.tasks.graph.plan import Plan, block_tasks, create_store, gather, make_plan, partition_tasks, read
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, manifests, urls
from pumascale.tasks.storage.errors import InputError

logger = logging.getLogger("pumascale.graph")

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
OnProgress = Callable[[str, int, int], None]
Results = list[dict[str, Any]]
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
    n_workers: int = 1,
    on_progress: OnProgress = _silent,
) -> dict[str, Any]:
    """Write the whole graph of `source` at `place`, all but the commit.

    Parameters
    ----------
    run : callable
        ``run(function, items)`` yields results in any order: the builtin `map`, or a cluster's.
    worker_memory : int, optional
        Bytes that one task may use: bounds the rows per partition.
    n_workers : int
        How many share a host's cores; the graph is the same for any number.

    Returns
    -------
    dict
        The manifest: counts, measured recall with its 95 % interval, seconds per step.

    Raises
    ------
    ValuesError
        When rows hold NaN or inf (unless they are skipped), or values that the metric has no meaning for.
    """
    done = Steps(place, run, on_progress)
    if (finished := done.finished()) is not None:
        urls.remove_tree(urls.join(place, "scratch"))
        return finished
    plan = as_begun(make_plan(source, place, parameters, worker_memory, n_workers), done)
    create_store(plan)
    plan = partition(plan, done)
    recall.write_sample(plan)
    if parameters.precomputed_knn:
        done.run("collect", steps.collect_partition, partition_tasks(plan))
        merged = done.run("precomputed", steps.take_precomputed, block_tasks(plan))
    else:
        done.run("neighbours", steps.local_neighbors, partition_tasks(plan))
        merged = done.run("merge", steps.merge_neighbors, block_tasks(plan))
    urls.remove_tree(plan.scratch("runs"))
    merged, measured = repair_until(plan, done, merged)
    edges, isolated = join(plan, done, merged, worker_memory)
    weights = {"n_edges": sum(one["n_edges"] for one in edges), "heaviest": max(one["heaviest"] for one in edges)}
    counts = {"n_rows": plan.n_rows} | weights | isolated
    asked = parameters.model_dump(include={"n_neighbors", "metric", "target_recall"})
    manifest = counts | {"n_partitions": plan.n_partitions} | asked | measured | {"seconds_per_step": done.seconds}
    # Before scratch goes: a run killed from here on must not look for it again.
    manifests.write_receipt(place, manifests.FINISHED, manifest)
    urls.remove_tree(plan.scratch())
    return manifest


class Steps:
    """Runs the tasks of one step after the other, those with a receipt not again, and keeps the time."""

    def __init__(self, place: str, run: Runner, on_progress: OnProgress) -> None:
        self._place, self.runner, self._on_progress = place, run, on_progress
        self._receipts = manifests.read_receipts(place)
        self.seconds: dict[str, float] = {}

    def run(self, step: str, function: Callable[[Any], dict[str, Any]], tasks: Sequence[Any]) -> Results:
        """Results of all tasks of a step, in no particular order."""
        before = [self._receipts[name] for task in tasks if (name := f"{step}-{task.name}") in self._receipts]
        todo = [task for task in tasks if f"{step}-{task.name}" not in self._receipts]
        return before + self._timed(step, Noted(self._place, step, function), todo)

    def finished(self) -> dict[str, Any] | None:
        """The manifest, where an earlier run did all but the door's commit."""
        return self._receipts.get(manifests.FINISHED)

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `work`, done here; after a restart the one noted before, since what it read has changed."""
        if name not in self._receipts:
            self._receipts[name] = work()
            manifests.write_receipt(self._place, name, self._receipts[name])
        return self._receipts[name]

    def _timed(self, step: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        started, results = time.perf_counter(), []
        for result in self.runner(function, tasks):
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


def as_begun(plan: Plan, done: Steps) -> Plan:
    """The plan with the partitions that its first run saw fit: a later one may have workers of another memory."""
    begun = done.once("plan", lambda: {"n_partitions": plan.n_partitions, "most_rows": plan.most_rows})
    return replace(plan, **begun)


def partition(plan: Plan, done: Steps) -> Plan:
    """Assign rows to partitions, more of them until none is above its bound."""
    if plan.parameters.unique:
        done.run("hashes", duplicates.hash_block, block_tasks(plan))
        done.run("duplicates", duplicates.find_duplicates, duplicates.bucket_tasks(plan))
    for _ in range(MOST_ATTEMPTS):
        if plan.n_partitions > 1:
            done.run(f"pivots-{plan.n_partitions}", pivots.choose_pivots, partition_tasks(plan)[:1])
        results = done.run(f"assign-{plan.n_partitions}", partitions.assign_block, block_tasks(plan))
        partitions.check_finite(plan, results)
        partitions.check_joined(plan, results)
        sizes = np.sum([result["sizes"] for result in results], axis=0)
        too_large = sizes.max() / plan.most_rows
        if too_large <= 1 or plan.parameters.n_partitions:
            break
        plan = replace(plan, n_partitions=int(plan.n_partitions * too_large) + 1)
    partitions.check_sizes(plan, sizes)
    return plan


def repair_until(plan: Plan, done: Steps, merged: Results) -> tuple[Results, dict[str, Any]]:
    """Measure the recall, and repair while it is below the target and passes are left."""
    measure = partial(measure_recall, plan, recall.exact_neighbors(plan))
    measured, turn = [done.once("measured-0", measure)], 0
    passes = 0 if plan.parameters.precomputed_knn else plan.parameters.repair_passes
    while measured[-1]["knn_recall"] < plan.parameters.target_recall and turn < passes:
        turn += 1
        done.run(f"repair-{turn}", repair.repair_partitions, repair.repair_tasks(plan, turn))
        merged = done.run(f"merge-{turn}", repair.merge_repaired, block_tasks(plan, turn))
        measured.append(done.once(f"measured-{turn}", measure))
    recalls = [one["knn_recall"] for one in measured]
    if recalls[-1] < plan.parameters.target_recall:
        logger.warning(
            "kNN recall %.3f is below graph.target_recall=%.3f after %d repair passes: allow more "
            "(graph.repair_passes), or a larger graph.overlap or graph.partition_rows.",
            recalls[-1], plan.parameters.target_recall, turn,
        )  # fmt: skip
    return merged, measured[-1] | {"repair_passes": turn, "knn_recall_by_pass": recalls}


def measure_recall(plan: Plan, exact: recall.Nearest) -> dict[str, Any]:
    """Mean recall of the sampled rows with its 95 % interval."""
    ids = read(plan.scratch("sample_ids"))
    indices, distances = gather(plan.member("knn_indices"), ids), gather(plan.member("knn_dists"), ids)
    mean, interval = recall.mean_and_interval(recall.recall_per_row(exact, indices, distances))
    return {"knn_recall": mean, "knn_recall_interval": list(interval), "knn_recall_sample": len(ids)}


def join(plan: Plan, done: Steps, merged: Results, worker_memory: int | None) -> tuple[Results, dict[str, Any]]:
    """Memberships by block, then the fuzzy union by partition, and what the labels make of it."""
    mean = sum(result["distance_sum"] for result in merged) / max(1, sum(one["distance_count"] for one in merged))
    members = done.run("memberships", union.memberships, block_tasks(plan, mean_distance=mean))
    is_noted = plan.parameters.labels is not None or any(result["n_unsure"] for result in members)
    edges = done.run("edges", union.join_partitions, union.join_tasks(plan, is_noted=is_noted))
    if plan.parameters.labels is None:
        return edges, name_isolated(plan, done) if is_noted else {"n_isolated": 0, "isolated": []}
    if plan.parameters.target_metric == target.CATEGORICAL:
        done.run("categories", target.meet_categories, partition_tasks(plan))
    else:
        meet_target(plan, done, edges, worker_memory)
    isolated = name_isolated(plan, done)
    return done.run("restore", target.restore_partition, partition_tasks(plan)), isolated


def meet_target(plan: Plan, done: Steps, edges: Results, worker_memory: int | None) -> None:
    """Build the graph of a continuous target, and let every partition meet its edges."""
    rows, place = plan.scratch("target"), plan.scratch("target_graph")
    n_values = int(np.prod(target.open_target(plan.parameters).shape[1:]))
    arrays.create_array(rows, shape=(plan.n_rows, n_values), dtype=np.float32, shard_rows=plan.block_rows)
    done.run("target", target.copy_target, block_tasks(plan))
    asked = target.target_parameters(plan.parameters)
    build(rows, place, asked, run=done.runner, worker_memory=worker_memory, n_workers=plan.n_at_once)
    scattered = done.run("scatter-target", target.scatter_target, block_tasks(plan))
    least, of_target = (min(result["least"] for result in results) for results in (edges, scattered))
    tasks = [
        target.MeetTask(plan, partition, least=least, least_of_target=of_target)
        for partition in range(plan.n_partitions)
    ]
    done.run("meet", target.meet_target, tasks)


def name_isolated(plan: Plan, done: Steps) -> dict[str, Any]:
    """Count the rows that are left without edges, name some, and warn or stop as the policy says."""
    found = sorted(done.run("isolated", connectivity.find_isolated, block_tasks(plan)), key=itemgetter("start"))
    count = sum(result["n_isolated"] for result in found)
    first = [row for result in found for row in result["isolated"]][: connectivity.MOST_NAMED]
    if count:
        message = (
            f"{count} rows of {plan.source} have no edge, first {first}: their neighbours are at or beyond the "
            "disconnection distance, or not mutual under graph.set_op_mix_ratio. They are trained on by nothing."
        )
        if plan.parameters.isolated == "error":
            raise InputError(f"{message} Change either of them, or allow such rows (graph.isolated=warn).")
        logger.warning(message)
    return {"n_isolated": count, "isolated": first}
