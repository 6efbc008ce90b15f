"""The pages of a report as one text."""

from __future__ import annotations

import re
from pathlib import Path


def text_of(page: Path) -> str:
    """The first page of a report, and then all others, without their data."""
    pages = [page, *sorted((page.parent / "pages").glob("*.html"))]
    return "".join(each.read_text(encoding="utf-8") for each in pages)


def visible(page: Path) -> str:
    """The same without scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text_of(page), flags=re.DOTALL)
