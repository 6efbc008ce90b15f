"""The same question twice: one cluster where none is given, a note in any case, hashes kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosslatent.analysis import summarise
from crosslatent.cli.validation import examine
from crosslatent.core.normal import one_cluster_each, repeat_notes
from crosslatent.tasks import Item, Task, list_tasks, load_prompts, load_task, task_of
from support.runs import item, row, write_run


def asked(number: int, main: str, **fields: Any) -> dict[str, Any]:
    aux = fields.pop("aux", f"Question {number}:")
    split = "pilot" if number % 2 else "final"
    return {"id": f"q{number}", "lang": "sw", "aux_lang": "en", "main": main, "aux": aux} | {
        "split": split,
        "answer": "x",
        **fields,
    }


TWICE = [
    ("Mji mkuu wa Kenya?", "Mji mkuu wa Kenya?"),
    ("Mji mkuu wa Kenya?", "MJI MKUU  wa\nkenya? "),
    ("(1) ndiyo (2) la:", "\uff081\uff09 ndiyo \uff082\uff09 la:"),
    ("क्या? (१)", "क्या? (1)"),
    ("ما هي؟ (٢)", "\u200fما هي؟ (2)"),
    ("Cafe\u0301 gani?", "Caf\u00e9 gani?"),
    ("ΟΔΟΣ;", "οδος;"),
    ("東京は？", "東京は?"),
    ("東京は どこ?", "東京はどこ?"),
    ("Mji: Oslo", "Mji:Oslo"),
]


@pytest.mark.parametrize(("one", "other"), TWICE)
def test_equal_prompts_are_one_fact_and_said_to_be(one: str, other: str) -> None:
    task = task_of([asked(1, one), asked(2, other), asked(3, "Kitu kingine:")])
    assert [entry.cluster for entry in task.items] == ["q1", "q1", "q3"]
    (note,) = repeat_notes(task.items)
    assert note.startswith("1 question repeats the main prompt of another one")
    assert "1 prompt is asked in more than one split" in note
    found = examine(task, None, chat=False)
    assert note in found.notes
    assert any("1 facts are asked in more than one split" in one for one in found.notes)


UNLIKE = [
    ("Mji mkuu wa Kenya?", "Mji mkuu wa Uganda?"),
    ("Ni ipi?", "Ni ipi"),
    ("resume", "résumé"),
    ("ı", "i"),
    ("Swali 1:", "Swali 11:"),
]


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_other_prompts_are_other_facts(one: str, other: str) -> None:
    task = task_of([asked(1, one), asked(2, other)])
    assert [entry.cluster for entry in task.items] == ["q1", "q2"]
    assert repeat_notes(task.items) == []


def clusters(*items: dict[str, Any]) -> list[str]:
    return [entry.cluster for entry in task_of(list(items)).items]


def test_languages_that_share_a_counterpart_ask_one_question() -> None:
    same = {"aux": "Capital of Kenya?"}
    several = asked(1, "Mji?", **same), asked(2, "राजधानी?", lang="hi", **same)
    assert clusters(*several) == ["q1", "q1"]
    # The other direction: what is main there is the counterpart here.
    back = asked(3, "capital of KENYA?", lang="en", aux_lang="de", aux="Hauptstadt?")
    assert clusters(*several, back) == ["q1"] * 3
    # One prompt to read every question from says nothing of what is asked.
    constant = [asked(k, f"Swali {k}", aux="Answer:") for k in range(4)]
    assert len(set(clusters(*constant))) == 4
    assert clusters(*several, asked(4, "Jina?", aux="Name?"))[2] == "q4"
    constant = [asked(k, f"S {k}", aux="A:", lang=lang) for k, lang in enumerate(["sw", "hi"] * 2)]
    assert len(set(clusters(*constant))) == 4


def test_a_cluster_that_is_given_stays_and_takes_the_others_in() -> None:
    assert clusters(asked(1, "Nini?"), asked(2, "Nini?", cluster="fact")) == ["fact", "fact"]
    apart = asked(1, "Nini?", cluster="one"), asked(2, "Nini?", cluster="two"), asked(3, "nini?")
    task = task_of(apart)
    assert [entry.cluster for entry in task.items] == ["one", "two", "one"]
    (note,) = repeat_notes(task.items)
    assert "1 main prompt is asked under different facts (such as 'one' and 'two'), 1 of" in note
    assert note in examine(task, None, chat=False).notes


def test_chains_of_equal_questions_are_one() -> None:
    chain = [
        asked(1, "A?", aux="a?"),
        asked(2, "B?", lang="hi", aux="a?"),
        asked(3, "b?", lang="hi", aux="c?"),
        asked(4, "D?", aux="c?"),
    ]
    assert set(clusters(*chain)) == {"q1"}
    assert set(clusters(*reversed(chain))) == {"q4"}


def test_parallel_data_with_given_facts_has_nothing_to_say() -> None:
    items = [
        Item(f"{fact}-{lang}", lang, "en", f"{lang} {fact}?", f"{fact}?", cluster=f"f{fact}")
        for fact in range(5)
        for lang in ("sw", "hi")
    ]
    task = task_of(items)
    assert list(task.items) == items
    assert repeat_notes(task.items) == []


def test_tasks_without_repeats_keep_their_items_and_hash() -> None:
    for summary in list_tasks():
        if summary.items:
            task = load_task(summary.name)
            given = [entry.cluster != entry.id for entry in task.items]
            found = one_cluster_each(task.items, given)
            assert found == [entry.cluster for entry in task.items], summary.name
    assert load_task("demo-facts").hash == "3043099e2713890f"


def write(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_every_door_joins_them(tmp_path: Path) -> None:
    entries = [asked(1, "Nini?"), asked(2, "NINI?"), asked(3, "Wapi?")]
    write(tmp_path / "mine.jsonl", entries)
    (tmp_path / "ready.yaml").write_text("name: r\nitems: mine.jsonl\nrule: contains\n")
    write(tmp_path / "rows-pilot.jsonl", [{"q": "Nini?", "a": "x"}, {"q": "Nani?", "a": "y"}])
    write(tmp_path / "rows-final.jsonl", [{"q": "Wapi?", "a": "x"}, {"q": "nini?", "a": "x"}])
    (tmp_path / "rows.yaml").write_text(ROWS)
    loaded: list[Task] = [
        load_prompts(tmp_path / "mine.jsonl"),
        load_task(tmp_path / "ready.yaml"),
        load_task(tmp_path / "rows.yaml"),
        task_of(entries),
    ]
    for task in loaded:
        mains = [(entry.main.casefold(), entry.cluster) for entry in task.items]
        assert len({name for main, name in mains if main == "nini?"}) == 1, task.name
        assert len(dict(mains)) == len({name for _, name in mains}), task.name
        assert len(repeat_notes(task.items)) == 1, task.name


ROWS = """
name: rows
rule: contains
template: "{{ q }}"
answer: a
languages: {sw: {}, en: {}}
rows:
  files: rows-{split}.jsonl
  splits: {pilot: pilot, final: final}
"""


def test_folders_of_earlier_sweeps_are_read_with_one_fact(tmp_path: Path) -> None:
    items = [
        item("a", main="Nini?"),
        item("b", main="nini?", split="final"),
        item("c", split="final"),
        item("d", main="NINI?", split="final", cluster="given"),
    ]
    rows = [row(name, control, True) for name in "abcd" for control in ("vanilla", "none")]
    run = summarise([write_run(tmp_path / "old", items, rows)]).runs[0]
    assert run.coverage.clusters == 2
    assert len(run.coverage.repeats) == 1
    shared = run.significance[0].shared
    assert shared is not None
    assert (shared.questions, shared.clusters) == (2, 1)
    told = {"name": "t", "repeats": ["as the sweep said"]}
    new = summarise([write_run(tmp_path / "new", items, rows, task=told)]).runs[0]
    assert new.coverage.repeats == ["as the sweep said"]
    assert new.coverage.clusters == 4
