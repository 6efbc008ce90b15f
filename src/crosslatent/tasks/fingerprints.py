"""How a question is recognised: by its normalised text, and by the fact that it asks.

Blanks and case do not count, nor what else `core.normal.unspaced` makes alike; shots and chat
templates are no part of a question's text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from crosslatent.core.normal import unspaced
from crosslatent.core.seen import Keys, among, hash_of
from crosslatent.tasks.item import Item


def text_key(text: str) -> int:
    """Hash of a normalised text; 0 if nothing is left of it."""
    left = unspaced(text)
    return hash_of(left.encode(errors="surrogatepass")) if left else 0


def fact_key(cluster: str, task: str | None = None) -> int:
    """Hash of a fact: a cluster of a task, or of a task whose name is not known."""
    return hash_of(json.dumps([task, cluster]).encode())


def fact_of(item: Item) -> str | None:
    """The fact that an item asks; None if none was named.

    An id alone names no fact: lines of two files may have the same number.
    """
    return item.cluster if item.cluster != item.id else None


def facts_in(items: Iterable[Item], texts: Keys, task: str | None) -> set[int]:
    """Hashes of the facts of items of which a prompt is among some texts.

    Args:
        items: the items of a task.
        texts: hashes of texts.
        task: its name; None if it is not known.
    """
    having = [(fact, item) for item in items if (fact := fact_of(item)) is not None]
    found = among([text_key(item.main) for _, item in having], texts)
    found |= among([text_key(item.aux) for _, item in having], texts)
    return {fact_key(fact, task) for (fact, _), one in zip(having, found, strict=True) if one}
