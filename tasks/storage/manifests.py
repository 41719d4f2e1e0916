"""The commit: one create-only object that makes a place whole, and the receipts of the work before it.

A place (a graph, a model, an embedding) is absent until `manifest.json` is there, and final afterwards. Of two runs one
wins and the other adopts its result. Receipts say which tasks have finished, so a killed run goes on where it was.
"""

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError

from pumascale.tasks.storage import ranges, urls

MANIFEST = "manifest.json"
RECEIPTS = "receipts"
FINISHED = "finished"  # the receipt of all the work: the manifest before the door's commit


def commit(place: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Make `place` whole: write its manifest, unless another run has done so.

    Returns
    -------
    dict
        The manifest that won: this one, or the other run's.
    """
    return commit_object(urls.join(place, MANIFEST), manifest)


def commit_object(url: str, content: dict[str, Any]) -> dict[str, Any]:
    """Create the JSON object `url` with a random token; read it back on any error or conflict.

    A create that was applied while its answer was lost is refused at the retry. The token tells it from a conflict.
    """
    signed = content | {"token": secrets.token_hex(16), "committed": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        if urls.create_bytes(url, encode_json(signed)):
            return signed
    except (OSError, BotoCoreError):
        found = read_json(url)
        if found is None:
            raise
        return found
    found = read_json(url)
    if found is None:
        raise OSError(
            f"{url} refused to be created, yet there is nothing to read: does the store honour If-None-Match?"
        )
    return found


def read_manifest(place: str) -> dict[str, Any] | None:
    """The manifest of a finished place; None where there is none yet."""
    return read_json(urls.join(place, MANIFEST))


def read_json(url: str) -> dict[str, Any] | None:
    """The JSON object at `url`, or None."""
    data = urls.read_bytes(url)
    return None if data is None else dict(json.loads(data))


def write_receipt(place: str, name: str, receipt: dict[str, Any]) -> None:
    """Note that the task `name` of `place` has finished; written after its data."""
    urls.write_bytes(urls.join(place, RECEIPTS, f"{name}.json"), encode_json(receipt))


def read_receipts(place: str) -> dict[str, dict[str, Any]]:
    """The receipts of `place` by task name."""
    folder = urls.join(place, RECEIPTS)
    names = [name for name in urls.list_objects(folder) if name.endswith(".json")]
    found = zip(names, ranges.read_small([urls.join(folder, name) for name in names]), strict=True)
    return {name.removesuffix(".json"): dict(json.loads(data)) for name, data in found if data is not None}


def encode_json(content: dict[str, Any]) -> bytes:
    """`content` as a JSON object to store."""
    return json.dumps(content, indent=1, allow_nan=False).encode()
