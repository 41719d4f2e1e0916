"""Where an export may be written: where nothing is, or an older export of its kind."""

from pathlib import PurePosixPath

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

# Of each format that is one file: how its name ends, and where in it stands what tells it from others.
ENDINGS = {"parquet": ".parquet", "onnx": ".onnx", "litert": ".tflite"}
MARKS = {"parquet": (0, b"PAR1"), "onnx": (0, b"\x08"), "litert": (4, b"TFL3")}
FOLDERS = {"saved_model": "saved_model.pb"}
OTHERS = {
    ".csv",
    ".tsv",
    ".json",
    ".h5ad",
    ".h5",
    ".zarr",
    ".npy",
    ".npz",
    ".feather",
    ".keras",
    ".pb",
    ".png",
    ".html",
}


def check_place(place: str, to: str) -> None:
    """Refuse a place where something else than an export in the format `to` is, or that is named like something else.

    Raises
    ------
    InputError
        With what is there, or how it is named, and what to change.
    """
    ending = PurePosixPath(place).suffix.lower()
    if ending in OTHERS | set(ENDINGS.values()) - {ENDINGS.get(to)}:
        raise InputError(
            f"{place} ends in {ending}, and {to} is what is written there. Expected a name such as "
            f"{place.removesuffix(ending)}{ENDINGS.get(to, '')}, or another format (--to)."
        )
    if to in FOLDERS:
        _check_folder(place, FOLDERS[to], to)
    else:
        _check_file(place, to)


def _check_file(place: str, to: str) -> None:
    if urls.is_local(place) and urls.local_path(place).is_dir():
        raise InputError(
            f"{place} is a folder. Expected the name of a file, such as {urls.join(place, f'export{ENDINGS[to]}')}."
        )
    start, mark = MARKS[to]
    is_long = urls.is_object(place) and urls.object_info(place).size > start  # S3 refuses to read behind the end
    if is_long and urls.read_range(place, start, start + len(mark)) != mark:
        raise InputError(_describe(place, to, "another file"))


def _check_folder(place: str, first: str, to: str) -> None:
    if urls.is_object(place):
        raise InputError(_describe(place, to, "a file"))
    found = urls.list_objects(place)
    if found and first not in found:
        raise InputError(_describe(place, to, f"a folder with other things, such as {min(found)}"))


def _describe(place: str, to: str, found: str) -> str:
    return f"{place} is {found}. Expected nothing there, or an older export to {to}: choose another place, or move it."
