"""`--aux auto`: prompts whose counterpart nobody has."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

import crosslatent.translate
from crosslatent.runs.reader import RunReader
from support.faults import overridden


@dataclass
class Louder:
    """Translates by writing capitals; knows no word with a q."""

    calls: ClassVar[list[str]] = []
    name: str = "louder"
    identity: dict = field(default_factory=lambda: {"model": "louder"})

    def translate(self, texts, source, target):
        self.calls.extend(texts)
        return ["" if "q" in text else f"{target} {text.upper()}" for text in texts]


@pytest.fixture(autouse=True)
def louder(monkeypatch):
    Louder.calls.clear()
    monkeypatch.setattr(crosslatent.translate, "OwnTranslator", lambda _model, chat: Louder())


PROMPTS = [
    {"id": "a", "lang": "sw", "main": "Mji gani?\n(1) Nairobi\n(2) Lagos\nJibu:", "answer": "(1)",
     "options": ["(1)", "(2)"]},
    {"id": "b", "lang": "sw", "main": "Nchi gani?\n(1) Nairobi\n(2) Lagos\nJibu:", "answer": "(2)",
     "options": ["(1)", "(2)"]},
    {"id": "c", "lang": "sw", "aux_lang": "en", "main": "Mto?", "aux": "River?", "answer": "(1)",
     "options": ["(1)", "(2)"]},
]  # fmt: skip


@pytest.fixture
def sweep(cli, tiny_folder, tmp_path):
    def call(*options, prompts=PROMPTS, out="run"):
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(json.dumps(prompt) for prompt in prompts), encoding="utf-8")
        fixed = [
            f"--model={tiny_folder}", f"--prompts={path}", f"--out={tmp_path / out}",
            f"--translation-cache={tmp_path / 'cache.sqlite'}", "--max-new-tokens=3",
            "--pairs=0:0",
        ]  # fmt: skip
        return cli("sweep", *overridden([*fixed, *options]))

    return call


def column(path, query):
    with RunReader(path).connect() as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def test_counterparts_are_made_shown_kept_and_stored(sweep, tmp_path):
    result = sweep("--aux=auto", f"--save-parallel={tmp_path / 'parallel.jsonl'}")
    assert result.code == 0, result.err
    assert "2 of 2 counterparts translated by louder: 5 texts anew, 0 from" in result.err
    assert "'Mji gani? (1) Nairobi (2) Lagos Jibu:' -> 'en MJI GANI" in result.err
    made = column(tmp_path / "run", "SELECT aux FROM items ORDER BY item")
    assert made[0] == "en MJI GANI?\n(1) en NAIROBI\n(2) en LAGOS\nen JIBU:"
    assert made[2] == "River?"
    assert RunReader(tmp_path / "run").manifest["requested"]["translator"]["model"] == "louder"
    assert len(Louder.calls) == 5  # the options and the last line stand in both prompts
    again = sweep("--aux=auto", out="other")
    assert "0 texts anew, 5 from" in again.err
    assert len(Louder.calls) == 5
    stored = [json.loads(line) for line in (tmp_path / "parallel.jsonl").read_text().splitlines()]
    assert sweep(prompts=stored, out="third").code == 0
    outputs = "SELECT output FROM rows ORDER BY item, control, source"
    assert column(tmp_path / "third", outputs) == column(tmp_path / "run", outputs)


def test_the_same_command_resumes(sweep):
    assert sweep("--aux=auto").code == 0
    again = sweep("--aux=auto")
    assert "Nothing was missing." in again.err


def test_what_cannot_be_translated_is_left_out_alone(sweep, tmp_path):
    bad = {"id": "z", "lang": "sw", "main": "qqqqq?", "answer": "(1)", "options": ["(1)", "(2)"]}
    result = sweep("--aux=auto", prompts=[*PROMPTS, bad])
    assert result.code == 1
    assert "item 'z' was left out" in result.err
    assert set(column(tmp_path / "run", "SELECT item FROM rows")) == {"a", "b", "c"}
    assert column(tmp_path / "run", "SELECT item FROM items WHERE aux = ''") == ["z"]
    strict = sweep("--aux=auto", "--strict", prompts=[*PROMPTS, bad], out="strict")
    assert strict.code == 2
    assert not (tmp_path / "strict").exists()


def test_another_language_may_be_asked_for(sweep, tmp_path):
    assert sweep("--aux=auto", "--aux-lang=fr").code == 0
    assert column(tmp_path / "run", "SELECT aux_lang FROM items ORDER BY item") == [
        "fr",
        "fr",
        "en",
    ]
    sweep("--aux=auto", "--aux-lang=fr,de", out="no").assert_refused("fr, de", "give one")


def test_one_failed_translation_is_no_matter_for_pairs_by_language(sweep, tmp_path):
    (tmp_path / "pairs.json").write_text('{"sw": [[0, 0]]}', encoding="utf-8")
    bad = {"id": "z", "main": "xyz", "answer": "(1)", "options": ["(1)", "(2)"]}
    result = sweep("--aux=auto", f"--pairs={tmp_path / 'pairs.json'}", prompts=[*PROMPTS, bad])
    assert result.code == 1, result.err
    assert "item 'z' was left out" in result.err


def test_a_dry_run_translates_and_writes_nothing(sweep, tmp_path):
    kept = tmp_path / "parallel.jsonl"
    result = sweep("--aux=auto", "--dry-run", f"--save-parallel={kept}")
    assert result.code == 0
    assert Louder.calls == []
    assert not kept.exists()
    assert not (tmp_path / "cache.sqlite").exists()


def test_the_translator_is_named_only_if_it_was_needed(sweep, tmp_path):
    result = sweep("--aux=auto", "--translate-with=/nowhere", prompts=PROMPTS[2:])
    assert result.code == 0, result.err
    assert "translator" not in RunReader(tmp_path / "run").manifest["requested"]


def test_saved_questions_are_judged_as_they_were(sweep, cli, tmp_path):
    sweep("--aux=auto", f"--save-parallel={tmp_path / 'parallel.jsonl'}")
    shown = cli("tasks", "show", tmp_path / "parallel.yaml", "--json").json
    assert (shown["rule"], shown["items"]) == ("option", 3)


def test_saving_is_checked_before_anything_is_translated(sweep, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    for options, words in [
        (["--aux=auto", f"--save-parallel={prompts}"], "would write over"),
        (["--aux=auto", f"--save-parallel={tmp_path / 'no' / 'x.jsonl'}"], "folder that exists"),
        ([f"--save-parallel={tmp_path / 'x.jsonl'}"], "--aux auto"),
    ]:
        questions = PROMPTS if "--aux=auto" in options else PROMPTS[2:]
        sweep(*options, prompts=questions).assert_refused(words)
    assert Louder.calls == []


def test_nothing_is_translated_unless_asked_for(sweep):
    sweep().assert_refused("prompts.jsonl:1", "'aux'", "--aux auto")
    sweep("--aux=self").assert_refused("'self'", "auto")
    assert Louder.calls == []


def test_data_without_counterparts(cli, tiny_folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndirection: x->en\ntemplate: '{{ text }}:'\nanswer: gold\nrule: contains\n"
        "languages: {en: {}, sw: {}, fr: {}}\n"
        "rows: {files: '{code}.jsonl', parallel: false}\n",
        encoding="utf-8",
    )
    (tmp_path / "en.jsonl").write_text('{"text": "Which town", "gold": "x"}\n', encoding="utf-8")
    fixed = ["sweep", f"--model={tiny_folder}", f"--task={tmp_path / 'mine.yaml'}", "--pairs=0:0",
             "--max-new-tokens=2", f"--translation-cache={tmp_path / 'cache.sqlite'}"]  # fmt: skip
    cli(*fixed, f"--out={tmp_path / 'no'}").assert_refused("no counterparts in 'sw'", "--aux auto")
    assert cli(*fixed, "--aux=auto", f"--out={tmp_path / 'run'}").code == 0
    assert column(tmp_path / "run", "SELECT aux FROM items ORDER BY aux_lang") == [
        "fr WHICH TOWN:", "sw WHICH TOWN:"
    ]  # fmt: skip


@pytest.fixture
def transplant(cli, tiny_folder, tmp_path):
    def call(main, *options):
        return cli(
            "transplant", f"--model={tiny_folder}", f"--main={main}", "--aux=auto",
            "--component=ffn", "--source=0", "--target=0", "--max-new-tokens=3",
            f"--translation-cache={tmp_path / 'cache.sqlite'}", *options,
        )  # fmt: skip

    return call


def test_transplant(transplant, cli, tiny_folder, tmp_path):
    made = transplant("Mji gani?", "--lang=sw", "--json", f"--save-parallel={tmp_path / 'p.jsonl'}")
    assert made.json["aux"] == "en MJI GANI?"
    assert "'Mji gani?' -> 'en MJI GANI?'" in made.err
    given = cli(
        "transplant", f"--model={tiny_folder}", "--main=Mji gani?", "--aux=en MJI GANI?",
        "--component=ffn", "--source=0", "--target=0", "--max-new-tokens=3", "--json",
    )  # fmt: skip
    assert given.json == made.json
    assert json.loads((tmp_path / "p.jsonl").read_text())["aux"] == "en MJI GANI?"


def test_transplant_finds_the_language_out(transplant):
    swahili = "Mji mkuu wa nchi ya Kenya ni upi kati ya hii?"
    assert transplant(swahili).code == 0
    refused = transplant("xyz")
    assert refused.code == 2
    assert "language" in refused.err


def test_transplant_of_what_cannot_be_translated(transplant):
    refused = transplant("qqqq?", "--lang=sw")
    assert refused.code == 2
    assert "was not translated" in refused.err
