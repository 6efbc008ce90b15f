"""Names of files that hold places such as ``{code}``."""

from __future__ import annotations

from string import Formatter

from crosslatent.core.errors import TaskError


def formatted(pattern: str, where: str, **values: str | None) -> str:
    """A pattern with its places filled in.

    Args:
        pattern: such as ``split/{code}.json``.
        where: file and line of the pattern, for the message of a mistake.
        values: what may stand in it.

    Raises:
        TaskError: it names something else, or is no pattern.
    """
    known = ", ".join(f"{{{name}}}" for name in values)
    problem = f"{where}: the pattern {pattern!r} cannot be filled in ("
    try:
        # "{code.__class__}" is a place for Python too, but not one of a file's name.
        asked = [name for _, name, *_ in Formatter().parse(pattern) if name is not None]
        strange = [name for name in asked if name not in values]
        filled = "" if strange else pattern.format(**values)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise TaskError(f"{problem}{error}): it may contain only {known}.") from error
    if strange:
        raise TaskError(f"{problem}{strange[0]!r}): it may contain only {known}.")
    return filled
