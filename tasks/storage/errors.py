"""The error for what the user can mend, and its kinds that have to be told from the others."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says what came, what was expected and what to change."""


class ValuesError(InputError):
    """Rows hold values that nothing can be made of: they would stop every later run as well."""


class NonFiniteError(ValuesError):
    """Rows hold NaN or inf, and the policy is to stop."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' for a misspelt `name`; empty when none of the `known` is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
