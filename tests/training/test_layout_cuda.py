"""The layout on a CUDA device: in numba's simulator of one, where there is none, and on a real one where there is.

The simulator runs Python alone, in a process of its own, so the cores' code is Python there too (NUMBA_DISABLE_JIT).
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.training import layout
from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.sampling import Edges
from tests.training.conftest import adjacency_of

ROOT = Path(__file__).parents[2]
OPTIONS = layout.LayoutOptions(
    a=1.577, b=0.895, negative_sample_rate=2, repulsion_strength=1.0, learning_rate=1.0, n_epochs=4, seed=3
)
SIMULATED = """
import numpy as np
from pumascale.tasks.training import layout, layout_cuda
from tests.training.test_layout_cuda import OPTIONS, ring

def held(epoch, places):
    places[:10] = 0

adjacency, start = ring(80, block_rows=60)
layout.has_cuda = lambda: False
by_cores = layout.lay_out(start, adjacency, OPTIONS, held)
layout.has_cuda = lambda: True
layout.moved_by_cores = None
for kept in (True, False):
    layout_cuda.fits = lambda adjacency: kept
    np.testing.assert_array_equal(layout.lay_out(start, adjacency, OPTIONS, held), by_cores)
assert layout_cuda.compiled.cache_info().hits == 1
"""


def ring(n_rows: int, block_rows: int) -> tuple[Adjacency, NDArray[np.float32]]:
    """Rows with edges to a few of the next ones and of differing weight, and where they start in three dimensions."""
    generator = np.random.default_rng(0)
    head = np.repeat(np.arange(n_rows), 4)
    tail = (head + generator.integers(1, 20, len(head))) % n_rows
    edges = Edges(head, tail, generator.uniform(0.1, 1, len(head)).astype(np.float32))
    start = generator.normal(0, 5, (n_rows, 3)).astype(np.float32)
    return adjacency_of(n_rows, edges, block_rows=block_rows), start


def test_a_simulated_device_moves_rows_as_the_cores_do() -> None:
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", SIMULATED]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(layout.has_cuda(), reason="there is a device, which does not fail")
def test_a_device_that_fails_leaves_the_layout_to_the_cores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    adjacency, start = ring(200, block_rows=150)
    expected = layout.lay_out(start, adjacency, OPTIONS)
    monkeypatch.setattr(layout, "has_cuda", lambda: True)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(layout.lay_out(start, adjacency, OPTIONS), expected)
    assert "the GPU failed" in caplog.text


@pytest.mark.skipif(not layout.has_cuda(), reason="there is no CUDA device")
def test_a_device_differs_from_the_cores_by_rounding_alone() -> None:
    from pumascale.tasks.training.layout_cuda import mover

    adjacency, start = ring(10_000, block_rows=3_000)
    powers, step = layout.table_of_powers(OPTIONS.b), layout.step_of(2, OPTIONS, adjacency)
    by_cores = layout.moved_by_cores(start, step, adjacency, powers)
    assert np.abs(by_cores - start).mean() > 0.01
    np.testing.assert_allclose(mover(adjacency, powers, 3)(start, step), by_cores, atol=1e-3)
