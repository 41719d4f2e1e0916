"""The demo's data: scikit-learn's bundled digits, written as Zarr arrays."""

import numpy as np

from pumascale.tasks.storage import arrays, urls


def write_digits(workspace: str) -> tuple[str, str]:
    """Write the digits (1,797 x 64) and their labels below `workspace`, once.

    Returns
    -------
    source, labels : str
        URLs of the rows, float32 (1797, 64), and of the labels, int64 (1797,).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    root = urls.absolute(workspace)
    rows = digits.data.astype(np.float32)
    return _write_once(urls.join(root, "digits", "rows"), rows), _write_once(
        urls.join(root, "digits", "labels"), digits.target.astype(np.int64)
    )


def _write_once(url: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    if not urls.list_objects(url):
        arrays.create_array(url, shape=values.shape, dtype=values.dtype)[:] = values
    return url
