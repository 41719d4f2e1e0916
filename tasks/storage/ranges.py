"""Parts of many small objects: side by side from a store, where each is a request to wait for.

From a disk one after the other: threads cost more there than they save.
"""

from collections.abc import Sequence

from pumascale.tasks.storage import urls

Range = tuple[str, int, int]  # URL, and the bytes from where to where
AT_ONCE = 64
MOST_BYTES = 2**24  # of an object that is small


def read_ranges(wanted: Sequence[Range]) -> list[bytes]:
    """The bytes of every range, in that order; an empty one is not asked for."""
    asked = [one for one in wanted if one[2] > one[1]]
    found = iter(_read(asked))
    return [_bytes(next(found)) if stop > start else b"" for _, start, stop in wanted]


def read_small(places: Sequence[str]) -> list[bytes | None]:
    """The objects at URLs, in that order; None where there is none. For a range the store is not asked for the size."""
    if not places or urls.is_local(places[0]):
        return [urls.read_bytes(place) for place in places]
    found = _read([(place, 0, MOST_BYTES) for place in places])
    return [None if isinstance(content, FileNotFoundError) else _bytes(content) for content in found]


def _bytes(content: bytes | Exception) -> bytes:
    if isinstance(content, Exception):
        raise content
    return content


def _read(wanted: Sequence[Range]) -> list[bytes | Exception]:
    if not wanted or urls.is_local(wanted[0][0]):
        return [_read_one(*one) for one in wanted]
    fs, _ = urls.filesystem(wanted[0][0])
    paths, starts, stops = (list(values) for values in zip(*wanted, strict=True))
    at_once = {"batch_size": AT_ONCE} if fs.async_impl else {}
    return list(fs.cat_ranges([urls.filesystem(url)[1] for url in paths], starts, stops, on_error="return", **at_once))


def _read_one(url: str, start: int, stop: int) -> bytes | Exception:
    try:
        return urls.read_range(url, start, stop)
    except OSError as error:
        return error
