"""Executes docs/notebooks/*.ipynb and saves them with their outputs: `make notebooks`.

What differs from call to call is left out: counts, times, versions, progress bars. Names of
notebooks as arguments execute these alone. `tests/test_notebooks.py` fails when what is saved is
not what a notebook gives.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
SECONDS = 300
"""Most time of a cell, on a machine with other work too."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PLOTLY_RENDERER": "plotly_mimetype",  # figures as data, not 4 MB of Plotly beside them
}


def notebooks() -> list[Path]:
    """All of them."""
    return sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path) -> NotebookNode:
    """A notebook as its kernel leaves it, run in an empty folder, without what varies.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources=resources
        ).execute()
    return plain(notebook)


def plain(notebook: NotebookNode) -> NotebookNode:
    """The notebook without counts, times and versions, and without what goes to stderr."""
    notebook.metadata = NotebookNode(
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
        language_info={"name": "python"},
    )
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
    return notebook


def main(names: list[str]) -> None:
    """Execute and save; print how large each is."""
    for path in notebooks():
        if not names or path.stem in names:
            nbformat.write(executed(path), path)
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
