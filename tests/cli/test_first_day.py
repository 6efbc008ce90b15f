"""What people get wrong on their first day: one sentence that says what would be right.

Exit code 2, nothing on stdout, nothing written.
"""

from __future__ import annotations

import json
import shlex

import pytest

QUESTION = {"main": "Mji?", "aux": "City?", "answer": "A"}


def lines(*questions):
    return "\n".join(json.dumps(one) for one in questions)


FILES = {
    "good.jsonl": lines(*({**QUESTION, "id": str(k)} for k in range(3))),
    "object.json": json.dumps({"questions": [QUESTION]}),
    "other.csv": "question,english,gold\nMji?,City?,A\n",
    "cells.csv": 'main,aux,options\nMji?,City?,"[(1), (2)]"\n',
    "table.xlsx": b"PK\x03\x04xxxx",
    "notes.txt": "Mji gani?\nNini?\n",
    "table.jsonl": "main,aux,answer\nMji?,City?,A\n",
    "half.jsonl": lines(QUESTION) + '\n{"main": "x"\n',
    "utf16.jsonl": lines(QUESTION).encode("utf-16"),
    "latin.jsonl": '{"main": "\u00e9", "aux": "e"}'.encode("latin-1"),
    "empty.jsonl": "",
    "question.jsonl": lines({"question": "Mji?", "aux": "City?"}),
    "prompt.jsonl": lines({"prompt": "Mji?", "aux": "City?"}),
    "english.jsonl": lines({"main": "Mji?", "english": "City?"}),
    "gold.jsonl": lines({"main": "Mji?", "aux": "City?", "gold": "A"}),
    "choices.jsonl": lines({"main": "Mji?", "aux": "City?", "choices": ["A", "B"]}),
    "typo.jsonl": lines({"main": "Mji?", "aux": "City?", "anser": "A"}),
    "swahilli.jsonl": lines({**QUESTION, "lang": "swahilli"}),
    "xx.jsonl": lines({**QUESTION, "aux_lang": "xx"}),
    "alone.jsonl": lines({"main": "Mji?"}),
    "texts.jsonl": '"Mji?"\n"Nini?"\n',
    "number.jsonl": lines({**QUESTION, "answer": 3}),
    "options.jsonl": lines({**QUESTION, "options": "A,B"}),
    "none.jsonl": lines({**QUESTION, "options": ["C", "B"]}),
    "twice.jsonl": lines({**QUESTION, "id": "1"}, {**QUESTION, "id": "1"}),
    "blank.jsonl": lines({**QUESTION, "main": " "}),
    "model.gguf": b"GGUF",
    "full/mine.txt": "mine",
    "empty/.keep": "",
}
ASKED = "--main=a --aux=b"
PAIR = "--component=ffn --source=1 --target=1"
TRANSPLANT = f"transplant --model=MODEL {ASKED}"
SWEEP = "sweep --model=MODEL --out=run --pairs=0:0"
CASES = [
    # models
    (f"transplant --model=/nope {ASKED} {PAIR}", "There is no folder '/nope'"),
    (f"transplant --model=./nope {ASKED} {PAIR}", "There is no folder './nope'"),
    (f"transplant --model=~/nope {ASKED} {PAIR}", "There is no folder '~/nope'"),
    (f"transplant --model='my model' {ASKED} {PAIR}", "a name on the hub, such as"),
    (f"transplant --model='' {ASKED} {PAIR}", "The model is ''"),
    (f"transplant --model=empty {ASKED} {PAIR}", "it must hold config.json"),
    (f"transplant --model=model.gguf {ASKED} {PAIR}", "a GGUF file cannot be read"),
    (f"transplant --model=Qwen/Qwen2.5-0.5B {ASKED} {PAIR}", "the hub is switched off"),
    (f"transplant {ASKED} {PAIR}", "Missing option '--model'"),
    ("check nope/nope", "Cannot load 'nope/nope'"),
    (f"{TRANSPLANT} {PAIR} --device=cuda", "try auto, cpu or cuda"),
    (f"{TRANSPLANT} {PAIR} --device=gpu", "try auto, cpu or cuda"),
    (f"{TRANSPLANT} {PAIR} --dtype=half", "use auto, float32"),
    (f"{TRANSPLANT} {PAIR} --quantization=4", "use 8bit or 4bit"),
    # one prompt
    (f"transplant --model=MODEL {PAIR}", "--main TEXT"),
    (f"transplant --model=MODEL --main='' --aux=b {PAIR}", "empty"),
    (f"transplant --model=MODEL --main hello world --aux b {PAIR}", "argument(s) (world)"),
    (f"transplant --model=MODEL --main=a {PAIR}", "--aux TEXT"),
    (f"transplant --model=MODEL --main=@nope.txt --aux=b {PAIR}", "'nope.txt'"),
    # what is carried
    (f"{TRANSPLANT} --component=FFN --source=1 --target=1", "did you mean 'ffn'?"),
    (f"{TRANSPLANT} --component=mlp --source=1 --target=1", "did you mean 'ffn'?"),
    (f"{TRANSPLANT} --component=attention --source=1 --target=1", "did you mean 'attn'?"),
    (f"{TRANSPLANT} --component=ffn --source=one --target=1", "'one' is not a whole number"),
    (f"{TRANSPLANT} --component=ffn --source=1", "--target"),
    (f"{TRANSPLANT} --component=ffn --source=99 --target=1", "source layer 99"),
    (f"{TRANSPLANT} {PAIR} --strength=nan", "not a finite number"),
    (f"{TRANSPLANT} {PAIR} --max-new-tokens=0", "give 1 or more"),
    (f"{TRANSPLANT} --preset=understandng", "did you mean 'understanding'?"),
    # options twice, and misspelled
    (f"{TRANSPLANT} {PAIR} --component=attn", "--component is given 2 times"),
    (f"{TRANSPLANT} {PAIR} --chat --no-chat", "--chat or --no-chat is given 2 times"),
    (f"{TRANSPLANT} --chooser=a.json --selector=b.json", "--chooser or --selector is given"),
    (f"{SWEEP} --task=demo-facts --limit=5 --limit=10", "--limit is given 2 times"),
    (f"{SWEEP} --task=demo-facts --lang=sw --lang=es", "by commas: --lang A,B"),
    (f"{TRANSPLANT} {PAIR} --sorce=3", "--source"),
    ("transplnt --model=MODEL", "Did you mean 'transplant'?"),
    ("tasks list", "Did you mean 'ls'?"),
    # files of prompts
    (f"{SWEEP} --prompts=nope.jsonl", "No such file"),
    (f"{SWEEP} --prompts=empty", "give a file"),
    (f"{SWEEP} --prompts=object.json", "the field 'main' is None"),
    (f"{SWEEP} --prompts=other.csv", "call the field 'question' so"),
    (f"{SWEEP} --prompts=cells.csv", 'write a list as ["(1)", "(2)"]'),
    (f"{SWEEP} --prompts=table.xlsx", "save them as CSV"),
    (f"{SWEEP} --prompts=notes.txt", "one JSON object per line"),
    (f"{SWEEP} --prompts=table.jsonl", "one JSON object per line"),
    (f"{SWEEP} --prompts=half.jsonl", "half.jsonl:2"),
    (f"{SWEEP} --prompts=utf16.jsonl", "save it as UTF-8"),
    (f"{SWEEP} --prompts=latin.jsonl", "save it as UTF-8"),
    (f"{SWEEP} --prompts=empty.jsonl", 'such as {"main"'),
    (f"{SWEEP} --prompts=question.jsonl", "call the field 'question' so"),
    (f"{SWEEP} --prompts=prompt.jsonl", "call the field 'prompt' so"),
    (f"{SWEEP} --prompts=english.jsonl", "call the field 'english' so"),
    (f"{SWEEP} --prompts=gold.jsonl", "did you mean 'answer'?"),
    (f"{SWEEP} --prompts=choices.jsonl", "did you mean 'options'?"),
    (f"{SWEEP} --prompts=typo.jsonl", "did you mean 'answer'?"),
    (f"{SWEEP} --prompts=swahilli.jsonl", "did you mean 'sw', Swahili?"),
    (f"{SWEEP} --prompts=xx.jsonl", "begins with x-"),
    (f"{SWEEP} --prompts=alone.jsonl", "--aux auto translates main"),
    (f"{SWEEP} --prompts=texts.jsonl", "a JSON object such as {...}"),
    (f"{SWEEP} --prompts=number.jsonl", "a text or a list of texts"),
    (f"{SWEEP} --prompts=options.jsonl", "a list of texts belongs there"),
    (f"{SWEEP} --prompts=none.jsonl", "none of the options"),
    (f"{SWEEP} --prompts=twice.jsonl", "a second time"),
    (f"{SWEEP} --prompts=blank.jsonl", "text that is not empty"),
    # sweeps
    ("sweep --model=MODEL --prompts=good.jsonl --out=full", "mine.txt"),
    ("sweep --model=MODEL --prompts=good.jsonl --out=notes.txt", "is a file"),
    ("sweep --model=MODEL --prompts=good.jsonl", "Missing option '--out'"),
    (f"{SWEEP}", "neither is given"),
    (f"{SWEEP} --task=demo-fact", "did you mean 'demo-facts'?"),
    (f"{SWEEP} --task=demo-facts --lang=sv", "it has es, id, hi, sw"),
    (f"{SWEEP} --task=demo-facts --limit=-1", "give 1 or more"),
    (f"{SWEEP} --task=demo-facts --limit=ten", "not a whole number"),
    ("sweep --model=MODEL --out=run --task=demo-facts --pairs=0,0", "a list such as 0:3"),
    ("sweep --model=MODEL --out=run --task=demo-facts --pairs=0:99", "target layer 99"),
    (f"{SWEEP} --task=demo-facts --controls=suffled", "did you mean 'shuffled'?"),
    (f"{SWEEP} --task=demo-facts --engine=orcale", "did you mean 'oracle'?"),
    # what comes after
    ("report nope --out=report", "it has no run.json"),
    ("report full --out=report", "it has no run.json"),
    ("report --out=report", "Missing argument 'RUN...'"),
    ("status full", "it has no run.json"),
    ("export full --format=csv", "it has no run.json"),
    ("export full --format=xlsx", "parquet, csv, jsonl"),
    ("select full", "it has no run.json"),
    ("select full --strategy=confidense", "did you mean 'confidence'?"),
    ("answer --model=MODEL --prompts=good.jsonl --out=a.jsonl", "'--chooser'"),
    ("answer --model=MODEL --chooser=good.jsonl --prompts=good.jsonl --out=a.jsonl", "--save"),
    ("improve MODEL --prompts=good.jsonl --out=improved", "to 12 questions or more"),
    ("improve --prompts=good.jsonl --out=improved", "Missing argument 'MODEL'"),
    ("improve MODEL --out=improved", "neither is given"),
    ("tasks show demo-facts --item=12", "its items run from"),
    ("demo --variant=plain", "add --planted"),
    ("lens probe --model=MODEL --out=space", "--data or --task"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name, content in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "words"), CASES, ids=[command for command, _ in CASES])
def test_refused_in_one_sentence(cli, place, tiny_folder, command, words):
    before = sorted(place.rglob("*"))
    cli(*shlex.split(command.replace("MODEL", str(tiny_folder)))).assert_refused(words)
    assert sorted(place.rglob("*")) == before


TABLE = 'main,aux,answer,options,lang\nMji?,City?,(1),"[""(1)"", ""(2)""]",swahili\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.csv", TABLE),
        ("mine.tsv", 'main\taux\tanswer\toptions\tlang\nMji?\tCity?\t(1)\t["(1)", "(2)"]\thausa\n'),
        ("mine.json", json.dumps([{**QUESTION, "lang": "Kiswahili"}, QUESTION])),
    ],
)
def test_what_is_unambiguous_is_read(cli, place, name, content):
    (place / name).write_text(content, encoding="utf-8")
    found = cli("tasks", "validate", name, "--json")
    assert found.code == 0, found.err
    assert {group["lang"] for group in found.json["groups"]} <= {"sw", "ha", "und"}
    assert found.json["groups"][0]["with_answer"] == 1


def test_a_language_may_be_given_by_name(cli):
    shown = cli("tasks", "show", "demo-facts", "--lang=Swahili", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["languages"] == ["sw"]
