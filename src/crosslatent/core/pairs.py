"""The grammar of ``--pairs``: which (source, target) layer pairs a sweep runs.

``all`` | ``none`` | ``target-first`` | ``source-last`` | ``preset:NAME`` | ``I:J,I:J`` | a JSON
file with a list of ``[source, target]`` or with one such pair (or list of pairs) per language, the
layout in which the authors of XTransplant published their pilot-tuned pairs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosslatent.core.errors import PairError
from crosslatent.core.specs import Pair, check_preset, resolve_layer
from crosslatent.core.untrusted import parse_json

PRESET = "preset:"
SHAPES = ("all", "target-first", "source-last")
NONE = "none"
_HELP = (
    "use all, none, target-first, source-last, preset:NAME, a list such as 0:3,7:-1, or a JSON file"
)


@dataclass(frozen=True, slots=True)
class PairPlan:
    """The pairs to run, resolved to 0-based layers; a language without its own gets the default.

    Without any there is no grid, and only conditions are run, or the unmodified model.
    """

    default: tuple[Pair, ...] = ()
    by_language: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)

    def for_language(self, lang: str) -> tuple[Pair, ...]:
        """The pairs of one language.

        Raises:
            PairError: the plan holds pairs by language only, and not for this one.
        """
        pairs = self.by_language.get(lang, self.default)
        if not pairs and self.by_language:
            known = ", ".join(sorted(self.by_language))
            raise PairError(f"The pairs file has no pair for language {lang!r}: it has {known}.")
        return pairs

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the grammar of this module: one text of pairs, or one for each language."""
        if not self.by_language:
            return {"all": _as_text(self.default)}
        return {lang: _as_text(pairs) for lang, pairs in sorted(self.by_language.items())}


def resolve_pairs(spec: str | Iterable[Pair], n_layers: int) -> PairPlan:
    """Resolve a pair specification for a model of `n_layers` blocks.

    Args:
        spec: the text described in the module's docstring, or (source, target) pairs.
        n_layers: number of decoder blocks.

    Raises:
        PairError: the text is not understood, or a layer is out of range.
    """
    if not isinstance(spec, str):
        return PairPlan(_resolve_all(spec, n_layers))
    if spec == NONE:
        return PairPlan(())
    if spec in SHAPES:
        return PairPlan(_shape(spec, n_layers))
    if spec.startswith(PRESET):
        preset = check_preset(spec.removeprefix(PRESET))
        return PairPlan(_resolve_all([(preset.source, preset.target)], n_layers))
    if re.fullmatch(r"\s*-?\d+:-?\d+\s*(,\s*-?\d+:-?\d+\s*)*", spec):
        return PairPlan(_resolve_all((_parse_pair(part) for part in spec.split(",")), n_layers))
    if spec.endswith(".json") or os.path.isfile(spec):  # noqa: PTH113 - no error on long texts
        return _from_file(Path(spec), n_layers)
    raise PairError(f"Cannot read the pairs {spec!r}: {_HELP}.")


def check_pairs(spec: str | Iterable[Pair], n_layers: int | None) -> None:
    """Refuse a pair specification before the model is loaded.

    Args:
        spec: as in `resolve_pairs`.
        n_layers: number of decoder blocks; None if that is not known yet.

    Raises:
        PairError: the text is not understood, or a layer is out of range.
    """
    if n_layers is not None or spec not in SHAPES:
        resolve_pairs(spec, n_layers or sys.maxsize)


def _as_text(pairs: Iterable[Pair]) -> str:
    return ",".join(f"{source}:{target}" for source, target in pairs)


def _shape(name: str, n_layers: int) -> tuple[Pair, ...]:
    layers = range(n_layers)
    if name == "target-first":
        return tuple((i, 0) for i in layers)
    if name == "source-last":
        return tuple((n_layers - 1, j) for j in layers)
    return tuple((i, j) for i in layers for j in layers)


def _parse_pair(text: str) -> Pair:
    source, target = text.strip().split(":")
    return int(source), int(target)


def _resolve_all(pairs: Iterable[Pair], n_layers: int) -> tuple[Pair, ...]:
    resolved = (
        (resolve_layer(i, n_layers, "source"), resolve_layer(j, n_layers, "target"))
        for i, j in pairs
    )
    unique = tuple(dict.fromkeys(resolved))
    if not unique:
        raise PairError(f"The list of pairs is empty: {_HELP}.")
    return unique


def _from_file(path: Path, n_layers: int) -> PairPlan:
    try:
        data = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PairError(f"Cannot read the pairs file {path} ({error.strerror}).") from error
    except ValueError as error:
        raise PairError(
            f"The pairs file {path} is not JSON ({error}): write a list of [source, target], "
            "or an object with such a pair for each language."
        ) from error
    if data == {}:
        raise PairError(f"The pairs file {path} has no language: it holds an empty object.")
    if isinstance(data, dict):
        return PairPlan(
            (), {lang: _pairs_of(value, path, n_layers) for lang, value in data.items()}
        )
    return PairPlan(_pairs_of(data, path, n_layers))


def _pairs_of(value: Any, path: Path, n_layers: int) -> tuple[Pair, ...]:
    items = [value] if _is_pair(value) else value
    if not isinstance(items, list) or not items or not all(_is_pair(item) for item in items):
        raise PairError(
            f"The pairs file {path} holds {value!r}, where a [source, target] pair of whole "
            "numbers, or a list of such pairs, belongs."
        )
    return _resolve_all(((int(i), int(j)) for i, j in items), n_layers)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(x) is int for x in value)
