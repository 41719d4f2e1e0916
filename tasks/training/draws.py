"""The training room's draws: every row has a lot of its own, so appended rows leave most draws as they were."""

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 2**20
HELD_OUT, FIRST_MEDOIDS, SAMPLE, AXES, FAR = 0, 3, 4, 5, 6  # what is drawn; 1 and 2 are the keys of other draws


def draw(among: NDArray[np.bool_], count: int, seed: int, purpose: int) -> NDArray[np.int64]:
    """Draw `count` of the rows that `among` has: those with the smallest lots.

    A row's lot is the number at its place in a random stream. It depends on its id, `seed` and `purpose` alone, so of
    the rows drawn before m were appended to n all but about a share of m / (n + m) are drawn again.

    Parameters
    ----------
    among : bool (n_rows,)

    Returns
    -------
    int64 (count,), or all rows of `among` where it has fewer
        Ascending.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, purpose]))
    drawn, lots = np.empty(0, np.int64), np.empty(0)
    for start in range(0, len(among), BLOCK_ROWS):
        some = among[start : start + BLOCK_ROWS]
        drawn = np.append(drawn, start + np.flatnonzero(some))
        lots = np.append(lots, generator.random(len(some))[some])
        kept = np.argsort(lots, kind="stable")[:count]
        drawn, lots = drawn[kept], lots[kept]
    return np.sort(drawn)
