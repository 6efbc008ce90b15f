"""Reports appear as a whole: written under a temporary name first, then moved into place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosslatent.core.errors import RunFolderError


@contextmanager
def published(out: Path, page: str | None = None) -> Iterator[tuple[Path, list[Path]]]:
    """A draft folder whose files move to `out` when nothing is raised.

    Other files in `out` are left alone.

    Args:
        out: where the files go, made if it is not there.
        page: name of the file that moves last, so that it never shows older figures.

    Yields:
        The draft folder, and a list that holds the final paths once the block is over.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    moved: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".report-", dir=out))
    except OSError as error:
        raise RunFolderError(
            f"Cannot write the report into {str(out)!r} ({error.strerror or error}): give a folder "
            "that you may write to."
        ) from error
    try:
        yield draft, moved
        files = sorted(file for file in draft.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.name == page):
            final = out / file.relative_to(draft)
            final.parent.mkdir(exist_ok=True)
            moved.append(file.replace(final))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
