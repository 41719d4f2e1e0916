"""Is this store one that the commits can be trusted to? Asked once, before any work."""

import re
import secrets

import fsspec
from botocore.exceptions import BotoCoreError  # no credentials, no endpoint: not an OSError

from pumascale.tasks.storage import s3, urls
from pumascale.tasks.storage.errors import InputError

PROBE = ".probe-"  # a killed one may be left
_answered = set[str]()  # buckets that were there for this process: from then on one that is away is waited for


def check_reachable(url: str) -> None:
    """Refuse a store that does not answer, or not to these credentials, within seconds.

    The work itself waits a minute for a store that is away; a misspelt endpoint should not have to. One that has
    answered once is asked no more, since a run opens its source in the middle of its work too.
    """
    urls.check_secret(url)
    if not urls.is_s3(url):
        _check_protocol(url)
    elif (bucket := url.split("/")[2]) not in _answered:
        _ask(url)
        _answered.add(bucket)


def _ask(url: str) -> None:
    settings = {"retries": {"max_attempts": 1}, "connect_timeout": 5, "read_timeout": 10}
    fs = fsspec.filesystem("s3", **{**s3.OPTIONS, "config_kwargs": settings})
    fs.retries = 5  # 2 s
    bucket, key, _ = fs.split_path(url)
    try:
        fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key or "", MaxKeys=1)
    except FileNotFoundError:
        raise InputError(f"There is no bucket {bucket!r} for {url}. Check the spelling and the endpoint.") from None
    except PermissionError as error:
        raise InputError(
            f"{url} refused these credentials: {error}. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
            "and the bucket's policy (listing must be allowed)."
        ) from None
    except BotoCoreError as error:
        raise InputError(
            f"The store of {url} does not answer: {type(error).__name__}: {error}. "
            "Check AWS_ENDPOINT_URL_S3 (or AWS_REGION), the credentials and the network."
        ) from None
    except OSError:
        return  # it answers, though not well: the work itself is patient with that


def _nearest_folder(workspace: str) -> str:
    """Where to ask: a folder that is not there yet is not made for the question."""
    if not urls.is_local(workspace):
        return workspace
    path = urls.local_path(workspace)
    return str(next(each for each in (path, *path.parents) if each.exists()))


def _check_protocol(url: str) -> None:
    if urls.is_local(url):
        return
    try:
        fsspec.get_filesystem_class(re.split("::|://", url)[0])
    except (ValueError, ImportError) as error:
        raise InputError(
            f"{url} is on no store that is known: {error}. Expected a path, s3://... or another URL of fsspec's: "
            "check the spelling, or install the package that it needs."
        ) from None


def check_workspace(workspace: str) -> None:
    """Refuse a workspace, or a target, that cannot be written, or whose store ignores create-only writes.

    Some S3 servers accept ``If-None-Match: *`` and overwrite all the same: two runs would then both believe they won.
    """
    check_reachable(workspace)
    probe = urls.join(_nearest_folder(workspace), f"{PROBE}{secrets.token_hex(6)}")
    try:
        urls.create_bytes(probe, b"1")  # refused where it was done at once and the answer was lost
        honoured = not urls.create_bytes(probe, b"2")
    except (OSError, BotoCoreError) as error:
        reason = getattr(error, "strerror", None) or error  # without the name of the probe
        raise InputError(
            f"{workspace} cannot be written: {type(error).__name__}: {reason}. "
            "Expected a writable folder or bucket: check the path, the credentials and the endpoint."
        ) from None
    urls.remove_object(probe)
    if not honoured:
        raise InputError(
            f"The store of {workspace} ignores create-only writes (If-None-Match). "
            "Expected a store that honours them, such as AWS S3, Ceph or a local disk: use another one."
        )
