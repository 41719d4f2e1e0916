"""The training room's curve 1 / (1 + a d^(2b)): how similar two points of the map are at distance d."""

import numpy as np
from scipy.optimize import curve_fit


def fit_curve(min_dist: float, spread: float) -> tuple[float, float]:
    """Fit `a` and `b` to a flat top of width `min_dist` and an exponential tail of scale `spread`.

    Returns
    -------
    tuple of float
        (a, b), as `umap.umap_.find_ab_params` gives them for a spread near 1.
    """
    distances, flat = np.linspace(0, 3, 300), min_dist / spread
    target = np.where(distances < flat, 1.0, np.exp(flat - distances))
    # In units of the spread, and scaled then: in others the fit ends at curves of no use, from a spread of 0.1 down.
    (a, b), _ = curve_fit(lambda x, a, b: 1.0 / (1.0 + a * x ** (2 * b)), distances, target)
    return float(a / spread ** (2 * b)), float(b)
