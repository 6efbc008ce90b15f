"""Where a run folder is: on this machine, or behind any URL that fsspec knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from crosslatent.errors import RunFolderError

if TYPE_CHECKING:
    from upath import UPath

    Place: TypeAlias = Path | UPath

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def place_of(where: str | Path) -> Place:
    """A folder or file from what the user gave: a path, or a URL such as ``s3://bucket/run``.

    Args:
        where: a plain path or a ``file://`` URL is a path of this machine; so is a `Path` that a
            command line made of a URL (which folds its slashes into one). A place stays as it is.

    Raises:
        RunFolderError: nothing serves URLs of this kind, or the package that does is missing.
    """
    if not isinstance(where, str | Path):
        return where  # a UPath, which is no Path since version 0.3
    if not _is_url(where):
        return Path(where)
    text = str(where)
    if text.lower().startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return _remote(text)


def _is_url(where: str | Path) -> bool:
    return _URL.match(str(where)) is not None


def _remote(url: str) -> Place:
    from fsspec import get_filesystem_class
    from upath import UPath

    protocol = url.split("://", 1)[0]
    try:
        get_filesystem_class(protocol)
        return UPath(url)
    except ImportError as error:  # its text names the package
        raise RunFolderError(f"Cannot use {url!r} ({error}): install that package.") from error
    except ValueError as error:
        raise RunFolderError(
            f"Cannot use {url!r} ({error}): give a folder, or a URL of a kind that fsspec knows, "
            "such as s3://bucket/run."
        ) from error


def is_local(place: Place) -> bool:
    """Whether the operating system's own calls reach a place."""
    return isinstance(place, Path) and not hasattr(place, "fs")
