"""Arrays of users: rows, labels and texts. What is not there, or cannot be what it is taken for, is said at once."""

import warnings
from collections.abc import Callable
from typing import Any

import zarr
from botocore.exceptions import BotoCoreError

from pumascale.tasks.storage import arrays, probes, urls
from pumascale.tasks.storage.errors import InputError

MOST_LISTED = 20  # arrays of a group, in a message
Opener = Callable[[str], zarr.Array[Any]]


def open_source(url: str) -> zarr.Array[Any]:
    """Open the rows of a user: an array with rows along axis 0.

    Raises
    ------
    InputError
        When there is no array at `url`, or one whose shape or dtype cannot be rows of numbers.
    """
    array = find_array(url)
    if array.ndim < 2:
        raise InputError(
            f"{url} has shape {array.shape}. Rows of numbers are expected, so 2 or more dimensions: "
            "reshape it to (n_rows, n_features)."
        )
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{url} has dtype {array.dtype}. Floats, integers or booleans are expected: convert it before."
        )
    if 0 in array.shape:
        raise InputError(f"{url} has shape {array.shape}, so it holds no data. Write at least one row of one feature.")
    return array


def find_array(url: str, opened: Opener = arrays.open_array) -> zarr.Array[Any]:
    """Open an array of a user; InputError, saying what is there, where there is none."""
    probes.check_reachable(url)
    try:
        return opened(url)
    except InputError:
        raise
    except (FileNotFoundError, zarr.errors.ArrayNotFoundError, zarr.errors.NodeTypeValidationError):
        raise InputError(_describe_absence(url)) from None
    except PermissionError as error:
        raise InputError(
            f"{url} may not be read: {error}. Check the rights of the file, or the key, the secret and the policy."
        ) from None
    except (OSError, ValueError, BotoCoreError) as error:
        raise InputError(f"{url} cannot be opened as a Zarr array: {type(error).__name__}: {error}") from error


def _describe_absence(url: str) -> str:
    if urls.is_local(url) and urls.local_path(url).is_file():
        return f"{url} is a file. Expected a Zarr array, which is a folder: zarr.save_array(FOLDER, values) writes one."
    try:
        with warnings.catch_warnings(action="ignore"):  # Zarr's, of what else lies beside an embedding
            members = arrays.open_group(url).members(max_depth=None)
            names = sorted(name for name, member in members if isinstance(member, zarr.Array))
    except (FileNotFoundError, zarr.errors.GroupNotFoundError, zarr.errors.NodeTypeValidationError):
        return f"No Zarr array at {url}. Expected the URL of an array (v2 or v3): check the spelling and the bucket."
    if not names:
        return f"{url} is a Zarr group without arrays. Expected the URL of an array."
    listed = ", ".join(urls.join(url, name) for name in names[:MOST_LISTED])
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return f"{url} is a Zarr group. Expected one of the arrays inside it: {listed}{more}."


def open_labels(url: str) -> zarr.Array[Any]:
    """Open one label per row: a 1-D array of integers, floats or strings.

    A chunk that is not there reads as fill values: writers leave out the chunks of a sorted label array's first class.
    """
    array = find_array(url, arrays.open_filled)
    if array.ndim != 1:
        raise InputError(f"{url} has shape {array.shape}. Expected one label per row: a 1-D array.")
    if array.dtype.kind in "cV":
        raise InputError(f"{url} has dtype {array.dtype}. Expected integers, floats or strings: convert it before.")
    return array


def check_labels(source: str, labels: str) -> None:
    """Refuse labels (or texts) that are not one per row."""
    n_rows, n_labels = open_source(source).shape[0], open_labels(labels).shape[0]
    if n_rows != n_labels:
        raise InputError(f"{labels} has {n_labels} labels for {n_rows} rows. Expected one label per row.")
