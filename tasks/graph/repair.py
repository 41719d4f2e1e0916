"""Repair: neighbours of neighbours, across the borders of partitions.

A row at a border has near rows in a partition that it did not join; one of its neighbours mostly did, or one of the
rows whose neighbour it is. So each row looks at the neighbours of both (the local join of NN-descent, Dong et al. 2011,
section 2.3), some thousand rows at a time, in the order of partitions: most candidates are then near each other, and
read together.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pumascale.tasks.graph import exact
from pumascale.tasks.graph.metrics import distances_of_squares, points_of_squares
from pumascale.tasks.graph.pairs import places_in
from pumascale.tasks.graph.partitions import flat, gather_data
from pumascale.tasks.graph.plan import BlockTask, Plan, gather, partition_groups, scratch_of, write
from pumascale.tasks.graph.runs import read_runs
from pumascale.tasks.graph.steps import best_neighbors, write_block, write_neighbors

JOINED_AT_ONCE, BYTES_AT_ONCE = 16384, 2**25  # rows, and of them; with each some four others are read
CANDIDATES_AT_ONCE = 2**23  # 32 MB of ids, most of them none


@dataclass(frozen=True)
class RepairTask:
    """Better neighbours for the rows of some partitions; `turn` tells the passes apart."""

    plan: Plan
    partitions: tuple[int, ...]
    turn: int

    @property
    def name(self) -> str:
        """Names the task's receipt."""
        return f"{self.partitions[0]:06d}"


def repair_tasks(plan: Plan, turn: int) -> list[RepairTask]:
    """Tasks of several partitions where these are small."""
    return [RepairTask(plan, some, turn) for some in partition_groups(plan, JOINED_AT_ONCE)]


def repair_partitions(task: RepairTask) -> dict[str, Any]:
    """Better neighbours of the rows whose first partition is one of these, into scratch; the old ones stay."""
    plan = task.plan
    (ids,) = read_runs([plan.part(partition) for partition in task.partitions], 0, ("rows",))
    k = plan.parameters.n_neighbors
    most = max(1, min(JOINED_AT_ONCE, BYTES_AT_ONCE // (4 * plan.n_features), CANDIDATES_AT_ONCE // (2 * k * k)))
    parts = [_join(task, some) for some in np.array_split(ids, max(1, -(-len(ids) // most)))]
    indices, distances, settled = (np.concatenate(part) for part in zip(*parts, strict=True))
    write_neighbors(plan, plan.scratch(f"repair-{task.turn}", task.name), ids, indices, distances, settled=settled)
    return {"n_improved": int((~settled & (indices >= 0)).any(axis=1).sum())}


def _join(task: RepairTask, ids: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """The rows' best neighbours after a look at their neighbours' ones, and which of them were theirs before."""
    plan = task.plan
    known, distances = gather(plan.member("knn_indices"), ids), gather(plan.member("knn_dists"), ids)
    near = np.unique(known[known >= 0])
    further = gather(plan.member("knn_indices"), near)
    met = np.unique(further[further >= 0])  # every row is among its own neighbours, so all of `near` and `ids`
    rows, cells = _places(met, ids), gather(plan.scratch("cells_of"), met)
    lines_of, places = _places(near, known), _places(met, further)
    settled = _settled(task, near)
    lines = _with_reverse(rows, lines_of, _settled(task, ids), places, settled, len(met))
    strangers = _strangers(rows, _places(met, known), places, settled, *lines, cells, plan.n_cells)
    found = pair_distances(plan, met, rows, strangers)
    both = np.concatenate([known, np.where(strangers < 0, -1, met[strangers])], axis=1)
    better = best_neighbors(ids, both, np.concatenate([distances, found], axis=1), known.shape[1])
    return *better, (better[0][:, :, None] == known[:, None, :]).any(axis=2)


def _settled(task: RepairTask, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which neighbours of the rows were there before the last pass, bool (m, k): two such steps lead to nobody new."""
    if task.turn == 1:
        return np.zeros((len(ids), task.plan.parameters.n_neighbors), bool)
    return np.asarray(gather(task.plan.scratch("settled"), ids))


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    return places_in(ids, wanted.ravel()).reshape(wanted.shape).astype(np.int32)


@njit(cache=True)
def _with_reverse(
    rows: NDArray[np.int32],
    near: NDArray[np.int32],
    settled: NDArray[np.bool_],
    further: NDArray[np.int32],
    further_settled: NDArray[np.bool_],
    n_places: int,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """To each row's neighbours `near` (m, k) up to k rows that it is a neighbour of, int32 (m, 2 k).

    All are lines of `further`, whose entries are places, as the `rows` are; and with each goes whether it is settled.
    """
    n_rows, k = near.shape
    both, count = np.full((n_rows, 2 * k), -1, np.int32), np.full(n_rows, k)
    are_settled = np.zeros(both.shape, np.bool_)
    both[:, :k], are_settled[:, :k] = near, settled
    row_of = np.full(n_places, -1, np.int32)
    row_of[rows] = np.arange(n_rows)
    for line in range(len(further)):
        for at in range(1, k):
            place = further[line, at]
            row = row_of[place] if place >= 0 else -1
            if row >= 0 and count[row] < 2 * k:
                both[row, count[row]], are_settled[row, count[row]] = line, further_settled[line, at]
                count[row] += 1
    return both, are_settled


@njit(cache=True)
def _strangers(
    rows: NDArray[np.int32],
    known: NDArray[np.int32],
    further: NDArray[np.int32],
    further_settled: NDArray[np.bool_],
    near: NDArray[np.int32],
    near_settled: NDArray[np.bool_],
    cells: NDArray[np.int32],
    n_cells: int,
) -> NDArray[np.int32]:
    """Neighbours of neighbours that are none yet, and have met the row neither in a cell nor in an earlier pass.

    Parameters
    ----------
    rows, known, further : int32 (m,), (m, k), (f, k)
        The rows, their neighbours, and the neighbours' neighbours, as places in `cells`; -1: none.
    near : int32 (m, l)
        Whose neighbours are looked at, as lines of `further`; -1: nobody's.
    further_settled, near_settled : bool (f, k), (m, l)
        Which of these steps an earlier pass could take.

    Returns
    -------
    int32 (m, s)
        Places in `cells`, filled up with -1.
    """
    found = np.full((len(rows), further.shape[1] * near.shape[1]), -1, np.int32)
    seen, most = np.full(len(cells), -1, np.int32), 0
    for i in range(len(rows)):
        count = 0
        for place in known[i]:
            if place >= 0:
                seen[place] = i
        for way in range(near.shape[1]):
            line = near[i, way]
            for at in range(further.shape[1] if line >= 0 else 0):
                place, is_settled = further[line, at], near_settled[i, way] and further_settled[line, at]
                if place >= 0 and seen[place] != i and not is_settled:
                    seen[place] = i
                    if not _met(cells[place], cells[rows[i]], n_cells):
                        found[i, count] = place
                        count += 1
        most = max(most, count)
    return found[:, :most].copy()


@njit(cache=True)
def _met(one: NDArray[np.int32], other: NDArray[np.int32], n_cells: int) -> bool:
    """Whether a home of one row, the first of its cells in each partition, is among the cells of the other."""
    is_met = False
    for home in range(0, len(one), n_cells):
        for at in range(len(one)):  # to the end, since without branches these are vector instructions
            is_met |= (one[home] >= 0) & (one[home] == other[at]) | (other[home] >= 0) & (other[home] == one[at])
    return is_met


def pair_distances(
    plan: Plan, ids: NDArray[np.int64], rows: NDArray[np.int32], others: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Distances of `rows` to `others`, both places in `ids`, float32 as `others`; inf where it has -1."""
    needed = np.zeros(len(ids), bool)
    needed[rows], needed[others[others >= 0]] = True, True
    line = (np.cumsum(needed) - 1).astype(np.int32)  # of each place among what is needed
    data = flat(gather_data(plan, ids[needed]))
    pairs = line[rows], np.where(others < 0, -1, line[others])
    points = points_of_squares(plan.parameters.metric, data)
    if points is not None:
        return distances_of_squares(exact.squared_pairs(points[0], *pairs), plan.parameters.metric)
    arguments = tuple(float(value) for value in plan.parameters.metric_kwds.values())
    return np.asarray(_distances(plan.parameters.metric)(data, *pairs, arguments))


@cache
def _distances(metric: str) -> Any:
    """A compiled loop of pynndescent's own distance over given pairs; inf where there is no candidate."""
    from pynndescent.distances import named_distances

    distance = named_distances[metric]

    @njit(parallel=True)
    def pairs(data: Any, rows: Any, candidates: Any, arguments: Any) -> Any:
        result = np.full(candidates.shape, np.inf, np.float32)
        for i in prange(candidates.shape[0]):
            for j in range(candidates.shape[1]):
                if candidates[i, j] >= 0:
                    result[i, j] = distance(data[rows[i]], data[candidates[i, j]], *arguments)
        return result

    return pairs


def merge_repaired(task: BlockTask) -> dict[str, Any]:
    """Put a block's repaired neighbours in place."""
    plan = task.plan
    indices = np.full((task.stop - task.start, plan.parameters.n_neighbors), -1, np.int64)
    distances, settled = np.full(indices.shape, np.inf, np.float32), np.ones(indices.shape, bool)
    targets: list[NDArray[Any]] = [indices, distances, settled]
    runs = scratch_of(plan, f"repair-{task.turn}", repair_tasks(plan, task.turn))
    rows, *found = read_runs(runs, task.block, ("rows", "indices", "distances", "settled"))
    for values, new in zip(targets, found, strict=True):
        values[rows - task.start] = new
    write(plan.scratch("settled"), task.start, settled)
    return write_block(task, indices, distances)
