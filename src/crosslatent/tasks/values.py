"""Values of rows, and the texts that they become.

A table tool keeps a column of whole numbers as floats as soon as one of them is missing: 1963 is
1963.0 then, and what is missing is NaN. Here both are what they were before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

EXACT = 2**53
"""From here on, a float cannot tell a whole number from the next one."""


class KeptAsFloat(str):
    """A text such as "1963.0", from a column of a text table in which every value ends in .0."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """A value without what its table did to it, also within lists and mappings.

    Whole numbers that are floats or decimals become whole numbers, NaN becomes None, and numbers of
    numpy become Python's.
    """
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    return _number(value) if is_number(value) else value


def is_number(value: Any) -> bool:
    """Whether a value is a number; truth values are none."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def written(value: Any) -> str:
    """The text that a value becomes in prompts, answers and keys: 1963 for 1963.0.

    Raises:
        ValueError: it is missing, has no text of its own (a method), or none that is sure: a float
            too large to be exact, whole numbers of a text table that were kept as floats.
    """
    number = plain(value)
    # Of a value that is not defined, this raises the error that says so.
    text = str(number)
    reason = _unsure(number, text)
    if reason:
        raise ValueError(reason)
    return text


def _unsure(value: Any, text: str) -> str | None:
    """Why a value has no text that is sure to be meant."""
    if value is None:
        return "a value that is to be written is missing"
    if isinstance(value, KeptAsFloat):
        return (
            f"{text!r} is of a column whose values all end in .0: write COLUMN | int if they are "
            "whole numbers that were kept as floats, COLUMN | trim if they are texts"
        )
    if isinstance(value, float) and not abs(value) < EXACT:
        return (
            f"{text} is no number to write: floats are exact below {EXACT:,} only, so keep larger "
            "whole numbers as such, or as texts"
        )
    return f"{text} is a method or function, and no column" if callable(value) else None


def _number(value: Any) -> Any:
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        return int(value) if value.is_finite() and value == value.to_integral_value() else value
    # What numpy's float32 shows as 0.1 would be 0.10000000149011612.
    number = value if isinstance(value, float) else float(str(value))
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() and abs(number) < EXACT else float(number)
