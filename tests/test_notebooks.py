"""The notebooks of docs/notebooks: they run without a network, and are saved as they run."""

from __future__ import annotations

import re

import pytest

WHY = "nbclient, nbformat or ipykernel is not installed: crosslatent[test] has them"
nbformat = pytest.importorskip("nbformat", reason=WHY)
exceptions = pytest.importorskip("nbclient.exceptions", reason=WHY)
pytest.importorskip("ipykernel", reason=WHY)
script = pytest.importorskip("scripts.notebooks", reason=WHY)

MOST_OF_AN_OUTPUT = 200_000
MOST_OF_A_NOTEBOOK = 500_000
NAMES = [path.stem for path in script.notebooks()]


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(script.FOLDER / f"{name}.ipynb", as_version=4)


def shown(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """What each output shows, by its kind; printed text is plain text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    return [{"text/plain": one.text} if "text" in one else one.get("data", {}) for one in outputs]


def words(output: dict[str, str]) -> dict[str, list[str]]:
    """Kinds of an output, with the words that a reader sees: numbers differ between machines."""
    visible = output.get("text/plain", "")
    return {kind: [] for kind in output} | {"text/plain": re.findall(r"[^\W\d_]{3,}", visible)}


def test_there_are_notebooks():
    assert NAMES == ["improve-my-prompts", "is-it-real", "look-inside-a-run"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_offline_and_shows_what_is_saved(name, monkeypatch):
    # A kernel that wants to reach anything finds a port that nothing listens at.
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    saved = read(name)
    ran = script.executed(script.FOLDER / f"{name}.ipynb")
    outputs = shown(ran)
    assert len(outputs) > 3
    for output in outputs:
        html = output.get("text/html", "")
        assert len(html.encode()) < MOST_OF_AN_OUTPUT
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
        assert "<script" not in html
    assert [words(one) for one in outputs] == [words(one) for one in shown(saved)], (
        f"{name}.ipynb shows something else than what is saved: run `make notebooks`."
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_saved_small_and_without_what_varies(name):
    saved = read(name)
    nbformat.validate(saved)
    assert script.plain(read(name)) == saved
    assert len(nbformat.writes(saved).encode()) < MOST_OF_A_NOTEBOOK
    assert shown(saved)
    assert not re.search(r"/(home|root|tmp|work|Users)/", nbformat.writes(saved))


def test_a_notebook_that_fails_is_an_error(tmp_path):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(exceptions.CellExecutionError, match="ZeroDivisionError"):
        script.executed(tmp_path / "broken.ipynb")
