"""Data repositories through `datasets`: clones of them on disk, since there is no hub here."""

from __future__ import annotations

import pandas as pd
import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import load_task

TASK = """\
name: nli
direction: en->x
options: ["(1)", "(2)"]
answer: options[label]
template: "{{ words.premise }}: {{ premise }} {{ words.answer }}:"
languages:
  en: {words: {premise: Premise, answer: Answer}}
  sw: {words: {premise: Dhana, answer: Jibu}}
rows:
  hub: owner/nli
  config: code
  splits: {pilot: "validation[:2]", unseen: test}
"""
CARD = """\
---
configs:
- config_name: en
  data_files:
  - {split: validation, path: en/validation.parquet}
  - {split: test, path: en/test.parquet}
- config_name: sw
  data_files:
  - {split: validation, path: sw/validation.parquet}
  - {split: test, path: sw/test.parquet}
---
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clones" / "owner" / "nli"
    for lang in ("en", "sw"):
        for split, count in (("validation", 5), ("test", 3)):
            path = folder / lang / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            premises = [f"{lang} {split} {k}" for k in range(count)]
            pd.DataFrame({"premise": premises, "label": [k % 2 for k in range(count)]}).to_parquet(
                path
            )
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "nli.yaml"
    path.write_text(TASK, encoding="utf-8")
    return path


@pytest.mark.parametrize("at", ["owner/nli", "nli"])
def test_a_clone_of_the_repository_is_enough(task, clone, tmp_path, at):
    place = tmp_path / "here" / at
    place.parent.mkdir(parents=True)
    clone.rename(place)
    loaded = load_task(task, data=tmp_path / "here", languages=["sw"])
    assert [item.id for item in loaded.items] == [
        "sw-en/pilot/0", "sw-en/pilot/1", "sw-en/unseen/0", "sw-en/unseen/1", "sw-en/unseen/2"
    ]  # fmt: skip
    item = loaded.items[3]
    assert item.main == "Dhana: sw test 1 Jibu:"
    assert item.aux == "Premise: en test 1 Answer:"
    assert item.answer == "(2)"


def test_a_folder_without_the_clone_says_where_it_belongs(task, tmp_path):
    with pytest.raises(
        TaskError, match="no copy of the data repository owner/nli .*owner/nli or .*nli"
    ):
        load_task(task, data=tmp_path)


def test_what_the_repository_lacks_is_said(task, clone):
    def loading(*change):
        task.write_text(TASK.replace(*change), encoding="utf-8")
        load_task(task, data=clone.parent.parent, languages=["sw"])

    with pytest.raises(TaskError, match=r"Cannot load .*nli \(xx\), split 'validation\[:2\]'.*xx"):
        loading("config: code", "config: \"'xx'\"")
    with pytest.raises(TaskError, match="split 'training'"):
        loading("unseen: test", "unseen: training")
    with pytest.raises(
        TaskError, match=r"nli.yaml:5: .*row 1 of owner/nli \(sw, .*there is no 'text'"
    ):
        loading("{{ premise }}", "{{ text }}")


def test_scripts_are_not_run(task, clone):
    for file in clone.rglob("*"):
        if file.is_file():
            file.unlink()
    (clone / "nli.py").write_text("raise SystemExit('a loading script was run')", encoding="utf-8")
    with pytest.raises(TaskError, match="Cannot load"):
        load_task(task, data=clone.parent.parent, languages=["sw"])


def test_without_a_network_the_way_out_is_said(task, monkeypatch):
    import datasets

    def refuse(*_arguments, **_options):
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(TaskError, match=r"owner/nli \(sw\).*the hub is switched off .*--data DIR"):
        load_task(task, languages=["sw"])
