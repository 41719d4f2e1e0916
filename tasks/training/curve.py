"""The training room's curve 1 / (1 + a d^(2b)): how similar two points of the map are at distance d."""

import numpy as np
from scipy.optimize import curve_fit


def fit_curve(min_dist: float, spread: float) -> tuple[float, float]:
    """Fit `a` and `b` to a flat top of width `min_dist` and an exponential tail of scale `spread`.

    Returns
    -------
    tuple of float
        (a, b), as `umap.umap_.find_ab_params` gives them.
    """
    distances = np.linspace(0, spread * 3, 300)
    target = np.where(distances < min_dist, 1.0, np.exp(-(distances - min_dist) / spread))
    (a, b), _ = curve_fit(lambda x, a, b: 1.0 / (1.0 + a * x ** (2 * b)), distances, target)
    return float(a), float(b)
