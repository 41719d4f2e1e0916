"""What every door shares: a stage whose work meets the end of the disk says what stays and what to do."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pumascale.tasks.stage import make_or_reuse
from pumascale.tasks.storage import manifests
from pumascale.tasks.storage.errors import InputError


def failing(number: int) -> Any:
    def work() -> dict[str, Any]:
        raise OSError(number, os.strerror(number))

    return work


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match="make room and run the same again"):
        make_or_reuse.fn(str(tmp_path), failing(number))
    assert manifests.read_manifest(str(tmp_path)) is None


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        make_or_reuse.fn(str(tmp_path), failing(errno.ECONNRESET))
