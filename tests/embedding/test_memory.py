"""Memory does not grow with the number of rows, and a process killed at any moment loses nothing that was finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pumascale.tasks.storage import arrays, manifests, urls

ENCODE = """
import sys, time
from pumascale.tasks.embedding import blocks
from pumascale.tasks.embedding.encode import encode
from pumascale.tasks.storage import chunk_objects
chunk_objects.BLOCK_BYTES, blocks.MOST_SHARD_ROWS = 2**21, 2**15
source, target, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])

def network(rows):
    time.sleep(pause)
    return rows[:, :2] * 2

encode(source, network, target, row_shape=(64,), out_shape=(2,), batch_size=4096)
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(int(peak.split()[1]) // 1024)
"""


def start(source: str, target: str, pause: float = 0.0) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", ENCODE, source, target, str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ))


def write_rows(url: str, n_rows: int) -> str:
    array = arrays.create_array(url, shape=(n_rows, 64), dtype=np.float32, shard_rows=2**13)
    for begin, end in arrays.row_blocks(n_rows, 2**16):
        array[begin:end] = np.arange(begin, end, dtype=np.float32)[:, None] + np.zeros(64, np.float32)
    return url


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path) -> None:
    peaks = []
    for n_rows in (2**16, 2**20):  # 17 MB and 268 MB
        source = write_rows(str(tmp_path / f"rows-{n_rows}"), n_rows)
        peaks.append(int(start(source, str(tmp_path / f"map-{n_rows}")).communicate()[0]))
    assert peaks[1] - peaks[0] < 40  # MB


def test_killed_processes_lose_nothing_finished(workspace: str) -> None:
    source, target = write_rows(urls.join(workspace, "rows"), 2**17 + 5), urls.join(workspace, "map")
    for n_shards in (1, 3):
        process = start(source, target, 0.05)
        while len(manifests.read_receipts(target)) < n_shards:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = {name: info for name, info in urls.list_objects(target).items() if name.startswith("c/")}
    receipts = manifests.read_receipts(target)
    start(source, target).communicate()
    kept = [name for receipt in receipts.values() for name in [f"c/{receipt['rows'][0] // 2**15}/0"]]
    after = urls.list_objects(target)
    assert {name: after[name] for name in kept} == {name: finished[name] for name in kept}
    expected = 2 * np.arange(2**17 + 5, dtype=np.float32)[:, None] + np.zeros(2, np.float32)
    np.testing.assert_array_equal(arrays.open_array(target)[:], expected)
