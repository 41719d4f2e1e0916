"""How S3 is asked: how long an answer is waited for, and what is tried again."""

import functools
from typing import Any

from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

# One retry is botocore's, the others are s3fs's (see `_be_patient`): their product is what a hung server costs.
OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 2}, "connect_timeout": 5},
}
ATTEMPTS = 13  # with s3fs's waits of 0.1 s x 1.7^i, 15 s at most: an outage of a minute is waited out


def options() -> dict[str, Any]:
    """What opens a file system on S3; the first call sets what is tried again."""
    _be_patient()
    return OPTIONS


@functools.cache
def _be_patient() -> None:
    """Make s3fs retry what it gives up on by default: 500, 502 and 504, and a server that is not there for a while.

    Both settings are the process's, so Zarr's stores have them as well.
    """
    import s3fs

    s3fs.S3FileSystem.retries = ATTEMPTS
    s3fs.core.set_custom_error_handler(_is_passing)


def _is_passing(error: Exception) -> bool:
    if isinstance(error, ConnectionError | ConnectionClosedError | EndpointConnectionError):
        return True
    response = getattr(error, "response", None) or {}
    # Another conditional write of the same object is in flight: the next answer tells who won.
    in_flight = response.get("Error", {}).get("Code") == "ConditionalRequestConflict"
    return in_flight or response.get("ResponseMetadata", {}).get("HTTPStatusCode") in {500, 502, 503, 504}
