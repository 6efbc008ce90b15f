"""Where a run folder is: on this machine, or behind any URL that fsspec knows."""

from __future__ import annotations

import errno
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from crosslatent.core.errors import RunFolderError, StorageError
from crosslatent.core.imports import need

if TYPE_CHECKING:
    from upath import UPath

RunPath: TypeAlias = "Path | UPath"
"""A location on this machine, or behind a URL."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

_OBJECT_STORES: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "adl", "abfs", "abfss", "oci", "oss", "obs", "r2", "hf"}
)
"""Stores without folders: nothing has to be made before something is put into them."""

_DRIVER_ERRORS: Final = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
    "paramiko": ("SSHException",),
}
"""What drivers raise beside OSError, by their modules."""


def run_path(where: str | Path | UPath) -> RunPath:
    """A folder or file from what the user gave: a path, or a URL such as ``s3://bucket/run``.

    Args:
        where: a plain path or a ``file://`` URL is a path of this machine; a location stays what it
            is.

    Raises:
        RunFolderError: nothing serves URLs of this kind, or the package that does is missing.
    """
    if isinstance(where, Path):
        return Path(str(where))
    if not isinstance(where, str):
        return where
    if _URL.match(where) is None:
        return Path(where)
    if where.lower().startswith("file://"):
        return Path(unquote(urlsplit(where).path))
    return _remote(where)


def _remote(url: str) -> RunPath:
    need("remote")
    from fsspec import get_filesystem_class
    from upath import UPath

    try:
        get_filesystem_class(url.split("://", 1)[0].lower())
        return UPath(url)
    except ImportError as error:  # its text names the package
        raise RunFolderError(
            f"Cannot use {url!r}: a package is missing here ({error}); install it, or give a "
            "folder of this machine."
        ) from error
    except (ValueError, TypeError) as error:
        raise RunFolderError(
            f"Cannot use {url!r} ({error}): give a folder, or a URL of a kind that fsspec knows, "
            "such as s3://bucket/run."
        ) from error


def unreachable(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What reading and writing a location may raise: OSError, and what the drivers in use add.

    Args:
        others: further errors to be caught with these.
    """
    found: list[type[Exception]] = [OSError, *others]
    for module, names in _DRIVER_ERRORS.items():
        loaded = sys.modules.get(module)
        found += [getattr(loaded, name) for name in names if hasattr(loaded, name)]
    return tuple(found)


def refusal(what: str, error: Exception, advice: str) -> RunFolderError:
    """The exception for an error of a location: a full or failing one is not the caller's fault.

    Args:
        what: could not be done, such as "Cannot write 'RUN/run.json'".
        error: why.
        advice: what would be right, unless there is just no room left.
    """
    number = error.errno if isinstance(error, OSError) else None
    kind: type[RunFolderError] = StorageError
    if number in _FULL:
        advice = (
            "what was there is kept, so free some space, or move the folder to where there is more "
            "of it, and run the same command again."
        )
    elif number == errno.EIO or isinstance(error, ConnectionError | TimeoutError):
        advice = "what was there is kept, so run the same command again when it can be written."
    else:
        kind = RunFolderError
    return kind(f"{what} ({why(error)}): {advice}")


def why(error: Exception) -> str:
    """The reason of an error, on one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())


@contextmanager
def reaching(location: RunPath) -> Iterator[None]:
    """Turn what keeps a location from being reached into a sentence.

    Raises:
        RunFolderError: it cannot be reached.
    """
    try:
        yield
    except unreachable() as error:
        advice = (
            "give a location that can be read and written, and for a URL the credentials it needs."
        )
        raise refusal(f"Cannot reach {str(location)!r}", error, advice) from error


def names_in(folder: RunPath) -> list[str]:
    """Names of what is in a folder, sorted; none if it is not there.

    What other processes have just written is seen: nothing is taken from a cache of listings.

    Raises:
        OSError: it cannot be listed, which says nothing about what is in it; or what drivers raise
            instead (`unreachable`).
    """
    try:
        if isinstance(folder, Path):
            return sorted(entry.name for entry in folder.iterdir())
        folder.fs.invalidate_cache()
        entries: list[str] = folder.fs.ls(folder.path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    own = folder.path.rstrip("/")
    names = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry.rstrip("/") != own}
    return sorted(names - {""})


def is_file(location: RunPath) -> bool:
    """Whether there is a file; see `names_in`.

    Raises:
        RunFolderError: the request failed, which does not prove that there is no file.
    """
    with reaching(location):
        try:
            if isinstance(location, Path):
                return stat.S_ISREG(location.stat().st_mode)
            location.fs.invalidate_cache()
            return bool(location.fs.info(location.path)["type"] == "file")
        except (FileNotFoundError, NotADirectoryError):
            return False


def make_folder(location: RunPath) -> None:
    """Make a folder and those above it, where there are folders."""
    if isinstance(location, Path):
        location.mkdir(parents=True, exist_ok=True)
    elif location.protocol not in _OBJECT_STORES:
        location.fs.makedirs(location.path, exist_ok=True)


def read_bytes(location: RunPath) -> bytes:
    """Content of a file.

    Raises:
        OSError: it cannot be read; FileNotFoundError if it is not there.
    """
    if isinstance(location, Path):
        return location.read_bytes()
    return bytes(location.fs.cat_file(location.path))


def rename(location: RunPath, name: str) -> None:
    """Give a file another name in its folder; one of that name is replaced."""
    if isinstance(location, Path):
        location.replace(location.with_name(name))
    else:
        # Not `mv`, which takes a path with brackets in it for a pattern.
        location.fs.pipe_file(location.with_name(name).path, read_bytes(location))
        location.fs.rm_file(location.path)


def remove(location: RunPath) -> None:
    """Remove a file, if it is there.

    Raises:
        RunFolderError: it cannot be removed, or reached.
    """
    try:
        if isinstance(location, Path):
            location.unlink(missing_ok=True)
        elif is_file(location):
            with suppress(FileNotFoundError):
                location.fs.rm_file(location.path)
    except unreachable() as error:
        advice = "give a folder that can be written."
        raise refusal(f"Cannot remove {str(location)!r}", error, advice) from error
