"""Wide numbers that float32 would make one are refused, and no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.precision import check_precision

ROWS = np.random.default_rng(0).normal(size=(300, 4, 2))
HOLES = np.where(np.arange(300)[:, None, None] % 3, ROWS, np.nan)


def stored(place: Path, values: NDArray[Any]) -> str:
    zarr.create_array(str(place / "rows"), data=values)
    return str(place / "rows")


@pytest.mark.parametrize("values", [ROWS + 1e7, HOLES + 1e7, (ROWS * 10).astype(np.int64) + 2**31])
def test_differences_that_float32_rounds_away(values: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rounds away \d+% of what rows differ by"):
        check_precision(stored(tmp_path, values))


FINE = {
    "centered": ROWS,
    "large": ROWS * 1e30,
    "with an offset": ROWS + 1e3,
    "as float32 already": (ROWS + 1e7).astype(np.float32),
    "constant": np.full((300, 2), 1e9 + 0.1),
    "hashes": np.random.default_rng(0).integers(0, 2**63, (300, 4)),
    "nothing finite": np.full((300, 2), np.nan),
    "too large": ROWS * 1e300,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", FINE)
def test_all_others(kind: str, tmp_path: Path) -> None:
    check_precision(stored(tmp_path, FINE[kind]))
