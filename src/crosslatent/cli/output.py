"""Where results go: JSON and tables on stdout, and checks of output folders before any work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import json_text, shown

if TYPE_CHECKING:
    from rich.console import Console

    from crosslatent.runs.run_path import RunPath


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    print(json_text(data, indent=2))


def console(*, stderr: bool = False) -> Console:
    """The console for tables; texts of users and models are no markup and steer no terminal."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Careful(Console):
        """Escapes control characters in everything that is printed."""

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=shown(segment.text))

    return Careful(markup=False, emoji=False, highlight=False, stderr=stderr)


def print_plain(text: str) -> None:
    """Print text on stdout as it is, but for what would steer the terminal."""
    print(shown(text))


def print_text(text: str, style: str | None = None) -> None:
    """Print text on stdout; the terminal wraps long lines, and a file gets them whole."""
    console().print(text, style=style, soft_wrap=True)


def check_output_folder(path: RunPath, marker: str) -> None:
    """Refuse an output folder that cannot be used, without making anything.

    Args:
        path: the folder; need not exist. Whether one behind a URL can be written is not known
            before something is written.
        marker: the file by which a folder that an earlier run made is recognised.

    Raises:
        RunFolderError: it cannot be made or written, or holds something else.
    """
    from crosslatent.runs.files import check_empty

    if isinstance(path, Path):
        check_writable_folder(path)
    check_empty(path, marker)


def check_writable_folder(path: Path) -> None:
    """Refuse a folder that cannot be written, without making anything.

    Args:
        path: the folder; need not exist, and may hold anything.

    Raises:
        RunFolderError: it cannot be made or written.
    """
    places = (path, *path.absolute().parents)
    ancestor = next(place for place in places if os.path.exists(place))  # noqa: PTH110 - see below
    if not ancestor.is_dir():
        raise RunFolderError(
            f"Cannot write to {str(path)!r}, because {str(ancestor)!r} is a file: give a folder "
            "that can be written."
        )
    # `Path.exists` raises below a folder that may not be entered; `os.path.exists` does not.
    if not os.access(ancestor, os.R_OK | os.W_OK | os.X_OK):
        raise RunFolderError(
            f"Cannot write to {str(path)!r} (no permission): give a folder that can be written."
        )
