"""The training room's objective: the cross-entropy of UMAP over pairs of embedded rows, in squared distances.

A root has no gradient at 0, so duplicates turn `norm` into NaN. Squared distances need none: `s = a (d^2 + tiny)^b`.
Everything here is float32 whatever the network computes in, since bfloat16 cannot tell near neighbours apart.

=============  =====================  ==============================
kernel         attraction             repulsion
=============  =====================  ==============================
`umap`         log(1 + s)             log(1 + s) - log(s + 1e-4)
`umap-learn`   log(2 + s)             log(1 + 1 / (1 + s)) <= log 2
=============  =====================  ==============================

The second row is what `ParametricUMAP` optimises (`umap/parametric_umap.py`, `convert_distance_to_log_probability` fed
to a log-sigmoid): its repulsion is bounded, which trains fast and steadily. The first is the definition of UMAP
(McInnes et al. 2018, section 3.2), with umap-learn's floor of 1e-4 on the probability that a pair is apart.
"""

from typing import Any

from keras import ops

Tensor = Any  # a tensor of whichever backend runs

TINY = 1e-12  # keeps the power's gradient finite at d = 0
FLOOR = 1e-4  # as umap-learn's EPS


def squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """Squared euclidean distances of paired rows, float32 (m,), of two (m, n_components) tensors."""
    difference = ops.cast(one, "float32") - ops.cast(other, "float32")
    return ops.sum(ops.square(difference), axis=-1)


def attraction(squared: Tensor, a: float, b: float, kernel: str) -> Tensor:
    """Loss of pairs that belong together, by squared distance, float32 (m,)."""
    return ops.log(_offset(kernel) + _similarity_odds(squared, a, b))


def repulsion(squared: Tensor, a: float, b: float, kernel: str) -> Tensor:
    """Loss of pairs drawn at random, by squared distance, float32 (m,)."""
    odds = _similarity_odds(squared, a, b)
    if kernel == "umap":
        return ops.log1p(odds) - ops.log(odds + FLOOR)
    return ops.log1p(1.0 / (1.0 + odds))


def _similarity_odds(squared: Tensor, a: float, b: float) -> Tensor:
    return a * ops.power(squared + TINY, b)


def _offset(kernel: str) -> float:
    return 1.0 if kernel == "umap" else 2.0
