"""`Translator`: the interface for translating plain text from one language into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

BUDGET = (3, 16)
"""New tokens for a text of n tokens: 3 n + 16, since tokenizers cut some languages much finer."""


def new_tokens(tokens: int) -> int:
    """How many tokens a translation of a text may take."""
    factor, more = BUDGET
    return factor * tokens + more


class Translator(Protocol):
    """Translates texts without line breaks, option marks or closing colons (see `segments`).

    Attributes:
        name: for people.
        identity: plain data that decides what comes out, such as model and settings: two
            translators of the same identity share what the cache holds.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that decides what comes out."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate texts between two languages (ISO 639 codes or BCP 47 tags).

        Returns:
            One translation a text, in their order; empty for a text that could not be translated.

        Raises:
            CrosslatentError: nothing can be translated, for example because the translator does
                not know one of the languages.
        """
        ...
