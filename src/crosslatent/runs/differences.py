"""What differs between two runs, in words that can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_LONG: Final = 60
"""Characters above which a value is shortened."""

_HASHES: Final = {
    "config_hash": "another configuration",
    "weights_hash": "other weights",
    "tokenizer_hash": "another tokenizer or chat template",
    "hash": "other questions",
    "prompts": "the prompts give other token ids",
}


def differences(name: str, there: Any, asked: Any) -> list[str]:
    """What differs, one text for each value.

    Args:
        name: of the value, with dots between levels.
        there: the value that is there, as plain data.
        asked: the one that is asked for.
    """
    if there == asked:
        return []
    if isinstance(there, dict) and isinstance(asked, dict):
        keys = sorted({*there, *asked})
        return [d for k in keys for d in differences(f"{name}.{k}", there.get(k), asked.get(k))]
    said = _HASHES.get(name.rsplit(".", 1)[-1])
    if said is not None and isinstance(there, str) and isinstance(asked, str):
        return [f"{name}: {said} ({there} there, {asked} now)"]
    if isinstance(there, list) and isinstance(asked, list) and _is_long(there, asked):
        return [f"{name}: {_lists(there, asked)}"]
    return [f"{name}: {_short(there)} there, {_short(asked)} now"]


def _is_long(there: list[Any], asked: list[Any]) -> bool:
    return max(len(repr(there)), len(repr(asked))) > _LONG


def _lists(there: list[Any], asked: list[Any]) -> str:
    both = zip(there, asked, strict=False)
    at = next((at for at, (one, other) in enumerate(both) if one != other), None)
    if at is None:
        at = min(len(there), len(asked))
    first = [_short(values[at]) if at < len(values) else "none" for values in (there, asked)]
    return (
        f"{len(there):,} values there, {len(asked):,} now; the first that differs is number "
        f"{at + 1:,}, {first[0]} there, {first[1]} now"
    )


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) <= _LONG:
        return text
    if isinstance(value, list | Mapping):
        few = json.dumps(value, ensure_ascii=False)[: _LONG // 2]
        return f"{few}... ({len(value):,} values)"
    return f"{text[:_LONG]}... ({len(str(value)):,} characters)"
