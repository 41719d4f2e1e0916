"""A store that fails in the middle of the work: what ended it, what stays, and what to do, in one line."""

import errno
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError

from pumascale.tasks.storage.errors import InputError

Result = TypeVar("Result")
FULL = (errno.ENOSPC, errno.EDQUOT)


def with_a_store(place: str, work: Callable[[], Result]) -> Result:
    """Do the work; where the store ends it, say what stays and what to do. An `InputError` says so itself."""
    try:
        return work()
    except (OSError, BotoCoreError) as error:
        raise InputError(
            f"{_what_ended(error)} while {place} was written ({type(error).__name__}: {error}). What is finished there "
            f"stays and nothing is published: {_what_to_do(error)} and run the same again."
        ) from error


def _what_ended(error: Exception) -> str:
    if getattr(error, "errno", None) in FULL:
        return "No space was left"
    return "The store refused these credentials" if isinstance(error, PermissionError) else "The store failed"


def _what_to_do(error: Exception) -> str:
    if getattr(error, "errno", None) in FULL:
        return "make room there and for temporary files (TMPDIR), or name another place,"
    if isinstance(error, PermissionError):
        return "renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile, role or file rights)"
    return "see that it is there again"
