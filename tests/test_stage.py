"""What every door shares: a stage whose work meets the end of the disk says what stays and what to do."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from pumascale.tasks.stage import make_or_reuse
from pumascale.tasks.storage import manifests
from pumascale.tasks.storage.errors import InputError


def failing(number: int) -> Any:
    def work() -> dict[str, Any]:
        raise OSError(number, os.strerror(number))

    return work


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=r"No space was left.* make room .* and run the same again"):
        make_or_reuse.fn(str(tmp_path), failing(number))
    assert manifests.read_manifest(str(tmp_path)) is None


def test_a_server_that_does_not_answer_is_said_too(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    with pytest.raises(InputError, match=r"The store failed .*127\.0\.0\.1:9.* is there again and run the same again"):
        make_or_reuse.fn(str(tmp_path), work)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EACCES, "refused these credentials.* renew AWS"), (errno.ECONNRESET, "is there again")]
)
def test_a_store_that_ends_a_stage_is_said_with_what_to_do(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.* and run the same again"):
        make_or_reuse.fn(str(tmp_path), failing(number))
