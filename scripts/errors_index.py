"""Write the index at the end of docs/errors.md: each message by its first words, with its section.

`python -m scripts.errors_index`; a test fails where the index is not what this would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parents[1] / "docs" / "errors.md"
TITLE = "## Index by message\n"
_WORDS = 7


def render(page: str) -> str:
    """The page with its index."""
    body = page.partition(TITLE)[0].rstrip() + "\n"
    entries = sorted(set(_messages(body)), key=lambda one: (_key(one[0]), one[1]))
    lines = [f"- {message}: [{section}](#{_anchor(section)})" for message, section in entries]
    what = "The beginning of each message; names, numbers and paths in yours are others."
    return "\n".join([body, TITLE, what, "", *lines]) + "\n"


def _messages(body: str) -> Iterator[tuple[str, str]]:
    """The beginning of every message, with the title of its section."""
    section, listed = "", False
    for line in body.splitlines():
        if line.startswith("## "):
            section, listed = line.removeprefix("## ").strip("`"), False
        if line.startswith("| message |"):
            listed = True
        elif not line.startswith("|"):
            listed = False
        elif listed and not line.startswith("| ---"):
            for message in line.split("|")[1].split(" / "):
                words = message.replace("...", "").split()
                yield " ".join(words[:_WORDS]) + (" ..." if len(words) > _WORDS else ""), section


def _key(message: str) -> str:
    return re.sub(r"[^\w ]", "", message).casefold()


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.casefold()).replace(" ", "-")


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
