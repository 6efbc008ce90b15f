"""Reports appear as a whole: written under a temporary name first, then moved into place."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crosslatent.core.errors import RunFolderError

LIST = ".files-of-report.json"
"""Names of the files of a report, relative to its folder."""


@contextmanager
def published(
    out: Path, page: str | None = None, *, replaces: bool = False
) -> Iterator[tuple[Path, list[Path]]]:
    """A draft folder whose files move to `out` when nothing is raised.

    Other files in `out` are left alone.

    Args:
        out: where the files go, made if it is not there.
        page: name of the file that moves last, so that it never shows older figures.
        replaces: remove what an earlier report wrote there and this one does not, as `LIST` has it.

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
        if replaces:
            _remove_earlier(out, moved)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_earlier(out: Path, written: list[Path]) -> None:
    """Remove the files of the report that was there before, and list those of this one."""
    now = {file.relative_to(out).as_posix() for file in written}
    with suppress(OSError, ValueError, TypeError):
        for name in set(json.loads((out / LIST).read_text(encoding="utf-8"))) - now:
            # The list may be anybody's: it reaches files of this folder and one below alone.
            if re.fullmatch(r"(\w+/)?[^/\\]+", name) and not name.startswith("."):
                (out / name).unlink(missing_ok=True)
    (out / LIST).write_text(json.dumps(sorted(now), indent=0) + "\n", encoding="utf-8")
