"""float16 as float32: every value there is, by the instruction and without it."""

import numpy as np
import pytest

from pumascale.tasks.graph import floats


@pytest.mark.parametrize("has_instruction", [True, False])
def test_every_half_becomes_the_float_that_numpy_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, has_instruction: bool
) -> None:
    if not has_instruction:
        monkeypatch.setattr(floats, "_has_instruction", lambda: False)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    for some in (halves, halves[:, ::2]):
        np.testing.assert_array_equal(floats.as_floats(some), some.astype(np.float32))


def test_floats_are_not_copied() -> None:
    values = np.ones((3, 2), np.float32)
    assert floats.as_floats(values) is values
