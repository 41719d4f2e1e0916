"""Kills: the real command ended with all its processes at random moments, and started again until it is done.

    uv run python -m tests.flows.kills [--kills 21] [--seed 0]

The same commands run once without kills, in a workspace of their own, to compare with and to see how long each stage
takes: from its first line of progress to the next stage's, or to the end. A moment is drawn from what is left of that:
kills land anywhere in the stages, in their commits and publishing too, and not in the 20 s of imports before.
Each run is a process group of its own, with its Prefect server and Dask workers, and SIGKILL goes to the group. What a
process has written outlives it in the system's cache: a power cut may lose that, and is not tried here. Prints a table
in Markdown.
"""

import argparse
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Self

import numpy as np
import psutil
from sklearn.datasets import load_digits

from pumascale.tasks.storage import arrays, disk, targets, urls

ROOT = Path(__file__).parents[2]
SHELL = [sys.executable, "-m", "pumascale.flows.shell"]
MARK = "PUMASCALE_KILLS"
LAYOUT = ("n_prototypes=300", "n_epochs=1000", "checkpoint_minutes=0")
GRADIENTS = (
    "encoder=mlp",
    "hidden_units=[32]",
    "n_epochs=150",
    "batch_size=32",
    "checkpoint_minutes=0",
    "early_stopping=false",
)

STAGES = ("build_graph", "train_encoder", "write_embedding")
Slot = tuple[str, str]  # which command is killed, in which stage
SLOTS: tuple[Slot, ...] = (
    ("layout", "build_graph"),
    ("layout", "train_encoder"),
    ("gradients", "train_encoder"),
    ("shards", "write_embedding"),
)


@dataclass
class Count:
    """What was seen of the kills of one slot."""

    seconds: list[float] = field(default_factory=list)  # from the start to each kill; a run may end before its own
    finished: int = 0  # receipts and their shards that were there when the kills came
    done_again: int = 0  # of them, by the end
    went_back: int = 0  # runs whose training began before the last step that the killed one had told


class Run:
    """One run of a command, in a process group of its own, its lines of progress being read."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.mark, self.lines, self.began = uuid.uuid4().hex, list[str](), time.monotonic()
        self.first = dict[str, float]()  # when each stage told something first
        self.seconds = 0.0
        self.output = folder / "output.txt"
        places = {"PREFECT_HOME": str(folder / "prefect"), "TMPDIR": str(folder / "tmp"), MARK: self.mark}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*SHELL, *words], cwd=ROOT, env=os.environ | places, stdout=output, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            for stage in STAGES:
                if f"  {stage}: " in line:
                    self.first.setdefault(stage, time.monotonic())

    def positions(self, stage: str) -> list[int]:
        """How far the last step of a stage was, line by line."""
        found = [re.search(rf"  {stage}: (\w+) (\d+)/", line) for line in list(self.lines)]
        steps = [(match[1], int(match[2])) for match in found if match]
        return [done for step, done in steps if step == steps[-1][0]]

    def durations(self) -> dict[str, float]:
        """Seconds of each stage of a run that has ended."""
        told = sorted(self.first.items(), key=itemgetter(1))
        ends = [*(moment for _, moment in told), self.began + self.seconds][1:]
        return {stage: end - moment for (stage, moment), end in zip(told, ends, strict=True)}

    def is_at(self, stage: str, delay: float) -> str | None:
        """Wait until so long behind the first line of a stage, or of a later one where it was done before.

        Which one tells now; None where the run ended before.
        """
        wanted, moment = STAGES[STAGES.index(stage) :], math.inf
        while time.monotonic() < moment:
            if self.process.poll() is not None:
                self.end()
                return None
            moment = min((self.first[each] for each in wanted if each in self.first), default=math.inf) + delay
            time.sleep(0.01)
        return max(dict(self.first).items(), key=itemgetter(1))[0]

    def kill(self) -> None:
        """End every process of the group."""
        assert self.process.poll() is None, "the run ended before its kill"
        os.killpg(self.process.pid, signal.SIGKILL)
        self.seconds = time.monotonic() - self.began
        self.process.wait()
        deadline = time.monotonic() + 10
        while self._survivors():
            assert time.monotonic() < deadline, f"processes outlived the kill of their group: {self._survivors()}"
            time.sleep(0.05)

    def _survivors(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def end(self) -> list[str]:
        """Wait for a good end; what it printed."""
        code = self.process.wait(900)
        self.seconds = time.monotonic() - self.began
        self.reader.join(10)
        assert code == 0, "\n".join(self.lines[-20:])
        return self.output.read_text().splitlines()


class Reader(threading.Thread):
    """Looks at a target all the time: nothing, or a whole map."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.target, self.n_looks, self.whole, self.ended = target, 0, dict[str, int](), threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Look until told to end."""
        try:
            while not self.ended.wait(0.05):
                self._look()
        except Exception as error:
            self.failure = error

    def _look(self) -> None:
        self.n_looks += 1
        version = targets.newest(self.target)
        if version is not None and version["embedding"] not in self.whole:
            points = np.asarray(arrays.open_array(f"{version['embedding']}/embedding")[:])
            assert np.isfinite(points).all()
            self.whole[version["embedding"]] = len(points)


@contextmanager
def watching(target: str) -> Iterator[Reader]:
    """A reader for the length of a `with` block; what it met is raised at its end."""
    reader = Reader(target)
    reader.start()
    yield reader
    reader.ended.set()
    reader.join()
    if reader.failure is not None:
        raise reader.failure


def write_sources(folder: Path, n_shards: int) -> tuple[str, str]:
    """Digits as 4 x 4 thumbnails, and millions of copies, block by block shifted: several whole shards of a map."""
    rows = load_digits().data.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    few, many = str(folder / "few"), str(folder / "many")
    arrays.create_array(few, shape=rows.shape, dtype=np.float32)[:] = rows
    array = arrays.create_array(many, shape=(n_shards * 2**20, 16), dtype=np.uint8)
    for start, stop in arrays.row_blocks(n_shards * 2**20, 2**20):
        generator = np.random.default_rng(start)
        array[start:stop] = rows[generator.integers(0, len(rows), stop - start)] + generator.integers(0, 3, (1, 16))
    return few, many


def receipts(folder: Path) -> dict[Path, int]:
    """When every receipt was written, and every shard of a map that has one."""
    noted = [*folder.glob("work/*/*/receipts/*.json"), *folder.glob("work/*/*/embedding/receipts/*.json")]
    shards = [path.parents[1] / f"c/{int(path.stem[5:]) // 2**20}/0" for path in noted if path.stem.startswith("rows-")]
    return {path: path.stat().st_mtime_ns for path in [*noted, *shards]}


class Series:
    """Commands run one after the other, killed in between, and what was counted."""

    def __init__(self, folder: Path, n_kills: int, seed: int, durations: dict[str, dict[str, float]]) -> None:
        self.folder, self.chance, self.durations = folder, random.Random(seed), durations
        self.counts = {slot: Count() for slot in SLOTS}
        self.left = {slot: len(range(index, n_kills, len(SLOTS))) for index, slot in enumerate(SLOTS)}
        (folder / "tmp").mkdir(parents=True)

    def run(self, name: str, *words: str) -> list[str]:
        """Run a command to its end, killed as often as its slots have kills; what it printed at last."""
        command = [*words, "--workspace", str(self.folder / "work")]
        stages = [slot[1] for slot in SLOTS if slot[0] == name for _ in range(self.left[slot])]
        rest = dict(self.durations.get(name, {}))
        left = [stages[at:].count(stage) for at, stage in enumerate(stages)]
        tried = [self._kill(command, *kill, rest) for kill in zip(stages, left, strict=True)]
        killed = [found for found in tried if found is not None]
        with Run(command, self.folder) as last:
            printed, now = last.end(), receipts(self.folder)
        self.durations.setdefault(name, last.durations())
        following = [*(run for _, run, _ in killed), last][1:]
        for (stage, run, before), next_run in zip(killed, following, strict=True):
            count = self.counts.setdefault((name, stage), Count())
            count.seconds.append(run.seconds)
            count.finished += len(before)
            count.done_again += sum(now.get(path) != written for path, written in before.items())
            if stage == "train_encoder":  # it has no receipts but checkpoints
                ahead = [*next_run.positions(stage), math.inf][0]
                count.went_back += ahead < run.positions(stage)[-1]
        return printed

    def _kill(
        self, command: list[str], stage: str, left: int, rest: dict[str, float]
    ) -> tuple[str, Run, dict[Path, int]] | None:
        # On average the kills that are left part the rest evenly; a command that ends before its kill gets no more.
        delay = self.chance.uniform(0, 2 * rest[stage] / (left + 1))
        rest[stage] -= delay
        with Run(command, self.folder) as run:
            reached = run.is_at(stage, delay)
            if reached is None:
                return None
            run.kill()
        print(f"killed after {run.seconds:.0f} s: {run.lines[-1]}", file=sys.stderr)
        return reached, run, receipts(self.folder)


def make_maps(series: Series, few: str, many: str) -> tuple[str, list[str]]:
    """A graph in partitions, a layout and its map; training by gradients; a map of many shards: graph, embeddings."""
    graph = ("--set=graph.n_partitions=4", "--set=graph.recall_sample=200", "--set=compute.n_workers=2")
    layout, gradients = ([f"--set=training.{word}" for word in words] for words in (LAYOUT, GRADIENTS))
    target = str(series.folder / "map")
    with watching(target) as reader:
        first = json.loads(series.run("layout", "fit-transform", few, "--target", target, *graph, *layout)[-1])
        model = series.run("gradients", "fit", few, *graph, *gradients)[0]
        second = json.loads(series.run("shards", "transform", many, "--model", model, "--target", target)[-1])
    assert list(reader.whole) == [first["embedding"], second["embedding"]]
    return first["graph"], [first["embedding"], second["embedding"]]


def unfinished(folder: Path) -> list[str]:
    """What no finished workspace holds."""
    names = {"scratch", "checkpoints", "lease.json"}
    paths = [path for place in ("work", "map") for path in (folder / place).rglob("*")]
    return [str(path) for path in paths if path.name in names or disk.is_part(path.name)]


def content(graph: str) -> dict[str, bytes]:
    """Every object of the arrays of a graph."""
    names = [name for name in urls.list_objects(graph) if "/c/" in name or name.startswith("c/")]
    return {name: urls.read_bytes(urls.join(graph, name)) or b"" for name in names}


def compare(folder: Path, n_kills: int, seed: int) -> dict[Slot, Count]:
    """Make the maps without kills and with them, and see that they are the same; what was counted."""
    few, many = write_sources(folder, n_shards=2 + n_kills)  # a kill in a map may leave four shards finished
    unkilled = Series(folder / "unkilled", 0, seed, {})
    graph, embeddings = make_maps(unkilled, few, many)
    series = Series(folder / "killed", n_kills, seed, unkilled.durations)
    killed_graph, killed_embeddings = make_maps(series, few, many)
    assert content(killed_graph) == content(graph)
    for one, other in zip(killed_embeddings, embeddings, strict=True):
        assert content(f"{one}/embedding") == content(f"{other}/embedding")
    assert unfinished(folder / "killed") == []
    print("left in TMPDIR:", sorted(path.name for path in (folder / "killed" / "tmp").iterdir()), file=sys.stderr)
    return series.counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=21)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = compare(Path(folder), arguments.kills, arguments.seed)
    print("| command | stage | kills | after (s) | finished objects | done again | trainings that went back |")
    print("|---|---|---|---|---|---|---|")
    for (command, stage), count in counts.items():
        times = " ".join(f"{seconds:.0f}" for seconds in count.seconds)
        print(
            f"| {command} | {stage} | {len(count.seconds)} | {times} | {count.finished} | {count.done_again} "
            f"| {count.went_back} |"
        )
    assert all(count.done_again == count.went_back == 0 for count in counts.values())


if __name__ == "__main__":
    main()
