"""Tables of data/culture: countries, phrases of refusal, options that are no opinion."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml


@lru_cache(maxsize=8)
def culture_table(name: str) -> dict[str, Any]:
    """A table of this package by the name of its file, without the ending."""
    file = files("crosslatent") / "data" / "culture" / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found
