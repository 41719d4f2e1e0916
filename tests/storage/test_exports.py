"""Where an export may go, by what lies there."""

import pytest

from pumascale.tasks.storage import exports, urls
from pumascale.tasks.storage.errors import InputError


@pytest.mark.parametrize(("to", "name"), [("parquet", "map.parquet"), ("onnx", "net.onnx"), ("litert", "net.tflite")])
def test_an_older_export_and_an_empty_file_are_written_over_and_others_are_not(
    workspace: str, to: str, name: str
) -> None:
    place, (start, mark) = f"{workspace}/{name}", exports.MARKS[to]
    exports.check_place(place, to)
    for content in (b"", b"1234"[:start] + mark + b"more"):
        urls.write_bytes(place, content)
        exports.check_place(place, to)
    urls.write_bytes(place, b"a stranger's")
    with pytest.raises(InputError, match="is another file"):
        exports.check_place(place, to)
