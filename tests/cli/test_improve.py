"""`crosslatent improve`: what it prints, `--declare` beside it, and 25 inputs that are refused."""

from __future__ import annotations

import json

import pytest

from support.models import CONTEXT


def line(k, **changes):
    return {
        "main": f"Swali {k}? Jibu:",
        "aux": f"Question {k}? Answer:",
        "answer": f"a{k}",
    } | changes


def write(path, lines):
    texts = (one if isinstance(one, str) else json.dumps(one) for one in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def improve(cli, tiny_folder, tmp_path):
    def call(*options, lines=None, model=tiny_folder, out=tmp_path / "out"):
        given = [line(k) for k in range(12)] if lines is None else lines
        prompts = write(tmp_path / "mine.jsonl", given)
        return cli("improve", str(model), f"--prompts={prompts}", f"--out={out}", *options)

    return call


def lines(n=12, **changes):
    return [line(k, **changes) for k in range(n)]


CASES = {
    "no gold answers": (lines(answer=None), [], ["0 of 12 questions", "'answer'"]),
    "few gold answers": ([*lines(11), line(11, answer=None)], [], ["11 of 12 questions"]),
    "few questions": (lines(3), [], ["3 of 3 questions", "12"]),
    "one answer": (lines(answer="Ndiyo"), [], ["All 12 questions", "'Ndiyo'"]),
    "one fact": (lines(cluster="f"), [], ["about 1 facts", "6 are the fewest"]),
    "no counterparts": (lines(aux=None), [], ["'aux'", "--aux auto"]),
    "empty question": (lines(main=" "), [], ["'main'"]),
    "unknown field": (lines(question="?"), [], ["unknown field 'question'"]),
    "answer of a wrong kind": (lines(answer=3), [], ["'answer' is 3"]),
    "answer that is no option": (lines(options=["x", "y"]), [], ["none of the options"]),
    "options that collide": (
        lines(options=["a", "A"], answer="a"),
        [],
        ["cannot be distinguished"],
    ),
    "labels without options": (lines(labels=["x"]), [], ["no options"]),
    "an id twice": (lines(id="q"), [], ["'q' a second time"]),
    "no JSON": (["my question"], [], ["mine.jsonl"]),
    "empty file": ([], [], ["no items"]),
    "one split": (lines(split="pilot"), ["--anyway"], ["splits pilot", "another one"]),
    "no pilot": (lines(split="final"), ["--anyway"], ["is left of 'pilot'"]),
    "another component": (lines(), ["--component=mlp"], ["'mlp'", "attn, ffn"]),
    "a negative seed": (lines(), ["--seed=-1"], ["--seed is -1"]),
    "a device": (lines(), ["--device=abacus"], ["'abacus'"]),
    "arguments of no template": (lines(), ["--chat-arg=thinking=false"], ["--chat too"]),
    "no template": (lines(), ["--chat"], ["chat template"]),
    "a task beside prompts": (lines(), ["--task=demo-facts"], ["both are given"]),
    "too long": ([line(k, main=f"{k} {'x' * CONTEXT}") for k in range(12)], [], [f"{CONTEXT}"]),
    "too long, some": (
        [*lines(), line(12, main="x" * CONTEXT)][1:],
        [],
        ["11 of 12 questions could be"],
    ),
    "no tokens": (lines(), ["--max-new-tokens=0"], ["1 or more"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_refused_in_one_sentence(improve, tmp_path, name):
    given, options, words = CASES[name]
    done = improve(*options, lines=given)
    assert done.code == 2, done
    assert done.out == ""
    said = " ".join(done.err.split())
    assert "unexpected" not in said
    assert "Traceback" not in said
    assert all(word in said for word in words), said
    out = tmp_path / "out"
    assert not (out / "chooser.json").exists()
    assert not (out / "improvement.json").exists()
    assert not (out / "report.html").exists()


def test_a_model_or_a_folder_that_is_none(improve, tmp_path):
    assert improve(model="/nope").code == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    refused = improve(out=tmp_path / "full")
    assert refused.code == 2
    assert "holds something else" in refused.err
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["notes.txt"]


def test_the_last_line_is_the_sentence(improve, tmp_path):
    done = improve("--anyway", "--component=ffn", "--max-new-tokens=2")
    assert done.code == 0, done
    assert len(done.out.splitlines()) == 1
    assert done.out.startswith("Nothing that was tried is shown to be better than chance: ")
    assert "cross-validation in 5 folds" in done.err
    again = improve("--anyway", "--component=ffn", "--max-new-tokens=2", "--json")
    assert again.json["sentence"] in done.out.strip()
    assert again.json["finding"]["verdict"] == "nothing"
    assert again.json["chooser"] is None
    assert not (tmp_path / "out" / "chooser.json").exists()
    refused = improve("--anyway", "--component=attn", "--max-new-tokens=2")
    assert refused.code == 2
    assert "the result for other settings" in " ".join(refused.err.split())


@pytest.mark.parametrize(
    ("declared", "options", "says"),
    [
        ("ffn", [], "a component and the gain aimed at"),
        ("mlp,0.05", [], "Unknown component 'mlp'"),
        ("attn,0.05", [], "attn is not swept"),
        ("ffn,0.05", [], "shuffled, noise, mean, self is not run, beside which it is judged"),
        ("ffn,0.05", ["--controls=shuffled,noise,mean,self"], "but there is none"),
    ],
)
def test_what_cannot_be_declared_is_refused(cli, tiny_folder, tmp_path, declared, options, says):
    prompts = write(tmp_path / "mine.jsonl", lines())
    if "judged" in says:
        prompts = write(tmp_path / "mine.jsonl", [*lines(6, split="pilot"), line(7, split="x")])
    given = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={tmp_path / 'run'}"]
    done = cli("sweep", *given, "--component=ffn", f"--declare={declared}", *options)
    assert done.code == 2
    assert says in " ".join(done.err.split())
    assert not (tmp_path / "run" / "rows").exists()


def test_a_declaration_is_kept_and_cannot_come_later(cli, tiny_folder, tmp_path):
    splits = ["pilot", "unseen"]
    prompts = write(tmp_path / "mine.jsonl", [line(k, split=splits[k % 2]) for k in range(12)])
    run = tmp_path / "run"
    given = ["--component=ffn", "--pairs=0:0", "--controls=shuffled,noise,mean,self"]
    given += [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={run}"]
    given += ["--max-new-tokens=1"]
    assert cli("sweep", *given, "--declare=ffn,0.05").code == 0
    kept = json.loads((run / "run.json").read_text(encoding="utf-8"))["headline"]
    assert (kept["component"], kept["test"], kept["least_gain"]) == ("ffn", "unseen", 0.05)
    assert kept["controls"] == ["shuffled/any", "noise", "mean", "self"]
    for other in ([], ["--declare=ffn,0.1"]):
        refused = cli("sweep", *given, *other)
        assert refused.code == 2
        assert "headline" in refused.err
