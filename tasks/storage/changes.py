"""What became of a source since its rows were embedded: nothing, rows appended, or rows changed in place.

Beside an embedding lies a record of the source's chunk objects: a digest of the sizes and ETags (on a disk times of
writing) of those under every `step` rows, at most 4,096 digests. Appending rewrites the last, partly filled chunk, so
only whole steps are compared.
"""

from typing import Any

import zarr

from pumascale.tasks.storage import chunk_objects, fingerprints, manifests, sources, urls
from pumascale.tasks.storage.errors import InputError

RECORD = "source.json"
MOST_DIGESTS = 4096
REMEDY = "An update embeds appended rows only. Use --force (force=true) to embed every row anew, beside the old map."

Record = dict[str, Any]


def record_source(source: str) -> Record:
    """The record of `source` as it is now."""
    array = sources.open_source(source)
    rows = chunk_objects.object_rows(array)
    n_objects = -(-array.shape[0] // rows)
    return _describe(source, array, rows * -(-n_objects // MOST_DIGESTS))


def write_record(place: str, record: Record) -> None:
    """Keep `record` beside the embedding at `place`."""
    urls.write_bytes(urls.join(place, RECORD), manifests.encode_json(record))


def read_record(place: str) -> Record | None:
    """The record kept at `place`; None where it was written by a version that kept none."""
    return manifests.read_json(urls.join(place, RECORD))


def unchanged_rows(source: str, record: Record) -> int:
    """How many rows, from the first on, lie in chunk objects that were whole at `record` and are the same now.

    Raises
    ------
    InputError
        When rows of `record` are gone, have another shape or dtype, or lie in chunks that were written again.
    """
    array = sources.open_source(source)
    _check_array(source, array, record)
    step, before = record["step"], record["digests"]
    now = _describe(source, array, step)["digests"]
    for index, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            raise InputError(
                f"{source} changed in place: the chunks of rows {index * step} to {(index + 1) * step} were written "
                f"again since these rows were embedded (another size, ETag or time of writing). {REMEDY}"
            )
    return len(before) * int(step)


def _check_array(source: str, array: zarr.Array[Any], record: Record) -> None:
    now = _geometry(array)
    for name, what in (("dtype", "dtype"), ("row_shape", "rows of shape"), ("object_rows", "rows per chunk object")):
        if now[name] != record[name]:
            raise InputError(f"{source} changed: its {what} was {record[name]} and is {now[name]} now. {REMEDY}")
    if array.shape[0] < record["n_rows"]:
        raise InputError(
            f"{source} shrank: it has {array.shape[0]} rows, and {record['n_rows']} are embedded. {REMEDY}"
        )


def _geometry(array: zarr.Array[Any]) -> dict[str, Any]:
    return {
        "dtype": str(array.dtype),
        "row_shape": list(array.shape[1:]),
        "object_rows": chunk_objects.object_rows(array),
    }


def _describe(source: str, array: zarr.Array[Any], step: int) -> Record:
    found = urls.list_objects(source)
    objects = {name: (info.size, info.etag) for name, info in found.items()}
    whole = array.shape[0] // step
    digests = [_digest(array, objects, index * step, (index + 1) * step) for index in range(whole)]
    return _geometry(array) | {"n_rows": array.shape[0], "step": step, "digests": digests}


def _digest(array: zarr.Array[Any], objects: dict[str, tuple[int, str]], start: int, stop: int) -> str:
    """A digest of every object that holds a value of rows `start` to `stop`."""
    return fingerprints.digest([objects.get(name) for name, _ in chunk_objects.objects(array, start, stop)])[:16]
