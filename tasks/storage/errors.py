"""The error for what the user can mend, and its one kind that has to be told from the others."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says what came, what was expected and what to change."""


class NonFiniteError(InputError):
    """Rows hold NaN or inf, and the policy is to stop."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' for a misspelt `name`; empty when none of the `known` is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
