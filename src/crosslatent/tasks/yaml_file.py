"""Reading YAML so that every mistake can be reported with its file and line, includes merged in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.sources import read_text

if TYPE_CHECKING:
    import yaml

INCLUDE = "include"
MOST_FIELDS = 100_000
Place = tuple[str, ...]
"""Path of a field: ``("languages", "sw", "labels")``."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The fields of a YAML file and of those that it includes.

    Attributes:
        path: the file itself.
        data: its fields, over those of the included files.
        lines: "file:line" of every field by its place.
    """

    path: Traversable
    data: Mapping[str, Any]
    lines: Mapping[Place, str]

    def where(self, *place: str) -> str:
        """File and line of a field, for a message; of what it is missing in, if it is missing."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return self.lines[place[:end]]
        return str(self.path)


def read_yaml(path: Traversable, folder: Traversable) -> YamlFile:
    """Read a YAML file whose top level is a mapping, and the files that its `include` names.

    A field of the file overrides the same field of an included one; mappings are merged.

    Args:
        path: the file.
        folder: where included files lie.

    Raises:
        TaskError: a file cannot be read, is no such YAML, names a field twice, or includes itself.
    """
    return _read(path, folder, (path.name,))


def _read(path: Traversable, folder: Traversable, including: tuple[str, ...]) -> YamlFile:
    own = _parse(path)
    data: dict[str, Any] = {}
    lines: dict[Place, str] = {}
    for name in _included(own):
        if name in including:
            raise TaskError(f"{own.where(INCLUDE)}: {name!r} includes itself.")
        other = folder.joinpath(name)
        if not other.is_file():
            raise TaskError(
                f"{own.where(INCLUDE)}: the field 'include' names {name!r}, but {other} is no file."
            )
        base = _read(other, folder, (*including, name))
        data = _merged(data, base.data)
        lines.update(base.lines)
    fields = {name: value for name, value in own.data.items() if name != INCLUDE}
    return YamlFile(path, _merged(data, fields), {**lines, **own.lines})


def _included(file: YamlFile) -> list[str]:
    given = file.data.get(INCLUDE) or []
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) for name in names):
        raise TaskError(
            f"{file.where(INCLUDE)}: the field 'include' is {given!r}, but a file's name or a list "
            "of them belongs there."
        )
    return names


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        before = merged.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return merged


def _parse(path: Traversable) -> YamlFile:
    import yaml

    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise TaskError(f"{where}: this is not valid YAML ({problem}).") from error
    except ValueError as error:  # a date that there is not
        raise TaskError(f"{path}: a value cannot be read ({error}): write it in quotes.") from error
    except RecursionError as error:
        raise TaskError(f"{path}: an alias is part of what it names.") from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise TaskError(f"{path}: a task file holds fields such as 'name: ...' at its top level.")
    lines: dict[Place, str] = {}
    for place, line in _places(node, (), path, ()):
        if len(lines) == MOST_FIELDS:
            # Aliases of aliases of aliases: a page of YAML can name more fields than memory holds.
            raise TaskError(f"{path}: there are more than {MOST_FIELDS:,} fields, with aliases.")
        if place in lines:
            raise TaskError(f"{path}:{line}: the field {'.'.join(place)!r} is repeated here.")
        lines[place] = f"{path}:{line}"
    return YamlFile(path, data, lines)


def _places(
    node: yaml.MappingNode, above: Place, path: Traversable, within: tuple[int, ...]
) -> Iterator[tuple[Place, int]]:
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            # YAML reads no, on and yes as truth values: the language code "no" is Norwegian.
            raise TaskError(
                f"{path}:{line}: the name of a field is {key.value!r}, which YAML does not read as "
                f"a text: write it in quotes, '{key.value}'."
            )
        place = (*above, key.value)
        yield place, line
        if id(value) in within:
            raise TaskError(f"{path}:{line}: the alias at {key.value!r} is part of what it names.")
        yield from _places_within(value, place, path, (*within, id(node)))


def _places_within(
    node: yaml.Node, place: Place, path: Traversable, within: tuple[int, ...]
) -> Iterator[tuple[Place, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        yield from _places(node, place, path, within)
    elif isinstance(node, yaml.SequenceNode):
        for at, part in enumerate(node.value):
            if id(part) in within:
                raise TaskError(f"{path}: an alias is part of what it names.")
            yield from _places_within(part, (*place, str(at)), path, (*within, id(node)))
