"""`crosslatent lens eval`: what it prints and writes, where texts come from, what it refuses."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from crosslatent.cli.lens_eval import print_evaluation
from crosslatent.core.subspace import fit_means
from crosslatent.lens.evaluation.evaluation_record import ALL, Evaluation
from crosslatent.lens.space import Space, SpaceRecord
from crosslatent.stats import Estimate
from support.models import save_tiny

ROWS = [
    {
        "id": f"{lang}{k}", "lang": lang, "aux_lang": "en", "main": f"{word} {k}?",
        "aux": f"City {k}?", "options": ["A", "B"], "answer": "AB"[k % 2], "cluster": f"fact{k}",
        "split": "pilot" if k < 2 else "final",
    }
    for k in range(6) for lang, word in (("sw", "Mji"), ("es", "Ciudad"))
]  # fmt: skip


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tuned", seed=1)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    draw = np.random.default_rng(0)
    fits = [
        fit_means({lang: draw.normal(size=32) + 2 for lang in ("en", "es", "sw")}, central="en")
        for _ in range(5)
    ]
    folder = tmp_path_factory.mktemp("spaces") / "space"
    Space(tuple(fits[:-1]), fits[-1], SpaceRecord()).save(folder)
    return folder


def printed(evaluation):
    """The tables, as lines."""
    with redirect_stdout(StringIO()) as text:
        print_evaluation(evaluation)
    return text.getvalue().splitlines()


@pytest.fixture
def drawn(monkeypatch):
    """Pages and figures have tests of their own, and take seconds; here only that they are made."""
    made = []

    def write(evaluation, out):
        made.append((evaluation, out))
        return [out / "evaluation.html"]

    monkeypatch.setattr("crosslatent.report.lens.write_evaluation_report", write)
    return made


@pytest.fixture
def evaluate(cli, tiny_folder, tmp_path, drawn):
    prompts = write(tmp_path / "prompts.jsonl", ROWS)

    def call(*options, out=tmp_path / "out", prompts=prompts):
        fixed = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={out}"]
        if not any(one.startswith("--rule=") for one in options):
            fixed.append("--rule=first_token")
        return cli("lens", "eval", *fixed, "--max-new-tokens=2", *options)

    return call


def test_everything_at_once(evaluate, tuned, space, tmp_path, drawn):
    found = evaluate(
        f"--tuned=lens={tuned}", f"--space={space}", "--steer=s=0:2", "--steer=g=1,2:1:agnostic",
        "--transplant=ffn:0:0", "--combine=both=s+ffn:0:0", "--split=final",
    )  # fmt: skip
    assert found.code == 0, found.err
    evaluation = Evaluation.load(tmp_path / "out")
    names = ["unmodified", "lens", "s", "g", "ffn:0:0", "both"]
    assert [one.name for one in evaluation.conditions] == names
    assert (evaluation.splits, evaluation.rule) == (["final"], "first_token")
    assert evaluation.questions == {"en": 4, "es": 4, "sw": 4}
    # 4 central questions: of steering towards each language again, of transplants none.
    assert len(evaluation.rows) == 6 * 8 + 4 * (1 + 1 + 2 + 1)
    assert drawn == [(evaluation, tmp_path / "out")]
    lines = found.out.splitlines()
    assert lines[-1] == str(tmp_path / "out")
    head = lines[0].split()
    assert head[:2] == ["condition", "target"]
    for name in names:
        assert sum(line.split()[:1] == [name] for line in lines) == 2  # in both tables
    accuracy = evaluation.condition("lens").accuracy[ALL].value
    (line,) = [line for line in lines[:8] if line.split()[:1] == ["lens"]]
    assert f"{100 * accuracy:.1f}" in line
    # The pilot's two central prompts are not among those that are evaluated.
    assert evaluation.central_texts == 2
    assert any("of pilot, which training may have seen." in note for note in evaluation.notes)
    assert f"{evaluation.condition('lens').kl.value:.4f}" in line
    assert "68 answers under 6 conditions" in found.err
    for name, cells in (("ffn:0:0", 2), ("both", 2), ("s", 0), ("lens", 0), ("unmodified", 0)):
        (line,) = [line for line in lines[:8] if line.split()[:1] == [name]]
        assert line.count("not measured") == cells
    assert any(line.startswith("ffn:0:0, both: A central question") for line in lines)


def test_the_table_has_the_change_of_fidelity_where_it_is_known(evaluate, tmp_path):
    """The tiny model answers in no language that can be told; figures of another one stand in."""
    assert evaluate("--transplant=ffn:0:0", "--limit=1").code == 0
    whole = Evaluation.load(tmp_path / "out")
    plain = printed(whole)[0].split()
    assert plain[-1] == "fidelity"
    known = replace(
        whole.conditions[1],
        fidelity={ALL: Estimate(0.25, 0.1, 0.5, 20, 10, 0)},
        fidelity_change={ALL: Estimate(-0.125, -0.2, -0.0625, 20, 10, 0)},
    )
    lines = printed(replace(whole, conditions=[whole.conditions[0], known]))
    assert lines[0].split()[-2:] == ["fidelity", "change"]
    (line,) = [line for line in lines[:3] if line.split()[:1] == ["ffn:0:0"]]
    assert line.rstrip().endswith(
        "25.0\u202f% \u221212.5 [\u221220.0 to \u22126.2]".replace("% ", "%  ")
    )


def test_names_are_no_markup_for_the_terminal(evaluate, tmp_path):
    assert evaluate("--transplant=[/red]x=ffn:0:0", "--limit=1").code == 0
    assert any(line.startswith("[/red]x") for line in printed(Evaluation.load(tmp_path / "out")))


def test_json(evaluate, tuned, tmp_path):
    found = evaluate(f"--tuned=a:sw={tuned}", f"--tuned=a:es={tuned}", "--json", "--limit=2")
    assert found.code == 0, found.err
    plain = Evaluation.load(tmp_path / "out").to_json()
    assert {name: found.json[name] for name in plain} == plain
    assert found.json["out"] == str(tmp_path / "out")
    assert found.json["files"] == [str(tmp_path / "out" / "evaluation.html")]
    assert found.json["conditions"][1]["settings"] == {
        "models": {"sw": str(tuned), "es": str(tuned)}
    }
    # Every split is evaluated, so there is no other text.
    assert found.json["central_texts"] == 0
    assert found.json["conditions"][1]["kl"] is None
    assert any("--central-data" in note for note in found.json["notes"])


def test_texts_of_a_split_that_training_has_not_seen(evaluate, tuned, tmp_path):
    rows = [row | {"split": ("pilot", "unseen", "final")[k // 4]} for k, row in enumerate(ROWS)]
    rows[-1]["aux"] = rows[0]["aux"]  # in the evaluated split too
    prompts = write(tmp_path / "three.jsonl", rows)
    assert evaluate(f"--tuned=a={tuned}", "--split=unseen", prompts=prompts).code == 0
    evaluation = Evaluation.load(tmp_path / "out")
    assert evaluation.central_texts == 3
    assert any(note.endswith("central prompts of final.") for note in evaluation.notes)
    both = evaluate(f"--tuned=a={tuned}", "--split=pilot,unseen", "--new", prompts=prompts)
    assert both.code == 0
    # One prompt of the final split is asked in another one, and so is not held out.
    assert Evaluation.load(tmp_path / "out").central_texts == 2


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("texts.txt", "A sky.\n\n A tree. \nA sky.\n", []),
        ("texts.jsonl", '{"en": "A sky.", "sw": "x"}\n{"en": "A tree."}\n', []),
        ("texts.jsonl", '{"t": "A sky.", "text": "x"}\n{"t": "A tree."}\n', ["--field=t"]),
    ],
)
def test_texts_of_a_file(evaluate, tuned, tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    data = f"--central-data={tmp_path / name}"
    found = evaluate(f"--tuned=a={tuned}", "--lang=sw", data, *options)
    assert found.code == 0, found.err
    evaluation = Evaluation.load(tmp_path / "out")
    assert evaluation.central_texts == 2
    assert evaluation.languages == ["sw"]
    assert evaluation.condition("a").kl.n == len("A sky.") + len("A tree.") - 2
    assert any(str(tmp_path / name) in note for note in evaluation.notes)


def test_an_evaluation_is_replaced_only_if_asked(evaluate, tmp_path):
    assert evaluate("--transplant=ffn:0:0", "--limit=1").code == 0
    evaluate("--transplant=ffn:0:0", "--limit=1").assert_refused("--new")
    assert evaluate("--transplant=a=attn:0:1", "--limit=1", "--new").code == 0
    assert Evaluation.load(tmp_path / "out").condition("a") is not None


def test_prompts_without_counterparts(evaluate, tuned, tmp_path):
    bare = [{key: value for key, value in row.items() if key != "aux"} for row in ROWS]
    prompts = write(tmp_path / "bare.jsonl", bare)
    found = evaluate(f"--tuned=a={tuned}", "--limit=1", prompts=prompts)
    assert found.code == 0, found.err
    assert "no counterparts" in found.err
    evaluation = Evaluation.load(tmp_path / "out")
    assert evaluation.questions == {"es": 2, "sw": 2}
    evaluate("--transplant=ffn:0:0", "--new", prompts=prompts).assert_refused("aux")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--tuned", "--transplant"]),
        (["--steer=s=0:1"], ["--space"]),
        (["--tuned=out"], ["NAME=DIR"]),
        (["--transplant=ffn:0"], ["ffn:0:0"]),
        (["--transplant=ffn:0:9"], ["4 blocks"]),
        (["--transplant=ffn:0:0", "--transplant=ffn:0:0"], ["'ffn:0:0'"]),
        (["--transplant=ffn:0:0", "--combine=b=s+ffn:0:0"], ["--combine"]),
        (["--transplant=ffn:0:0", "--rule=best"], ["'best'", "first_token"]),
        (["--transplant=ffn:0:0", "--split=test"], ["'test'", "pilot"]),
        (["--transplant=ffn:0:0", "--lang=hi"], ["'hi'"]),
        (["--transplant=ffn:0:0", "--seed=-1"], ["--seed"]),
        (["--transplant=ffn:0:0", "--field=t"], ["--central-data"]),
        (["--transplant=ffn:0:0", "--central-data=nowhere.jsonl"], ["nowhere.jsonl"]),
        (["--tuned=a=./nowhere"], ["./nowhere"]),
        (["--tuned=a=tests/nowhere"], ["no folder 'tests/nowhere'", "'a'"]),
        (["--tuned=a=nowhere"], ["Cannot load", "'nowhere'"]),
        (["--transplant=ffn:0:0", "--chat"], ["chat template"]),
    ],
)
def test_refused(evaluate, tmp_path, options, words):
    evaluate(*options).assert_refused(*words)
    assert not (tmp_path / "out").exists()


def test_spaces_refused(evaluate, space, tmp_path):
    given = f"--space={space}"
    evaluate(given, "--transplant=ffn:0:0").assert_refused("--steer")
    evaluate(given, "--steer=s=final:1").assert_refused("--steer")
    evaluate(given, "--steer=s=9:1").assert_refused("The steered layer 9 is", "4 blocks")
    evaluate(given, "--steer=s=0:1", "--central=es").assert_refused("'es'")
    evaluate(f"--space={tmp_path}", "--steer=s=0:1").assert_refused("lens probe")
    rows = [row | {"lang": "hi"} for row in ROWS]
    prompts = write(tmp_path / "hi.jsonl", rows)
    evaluate(given, "--steer=s=0:1", prompts=prompts).assert_refused("'hi'", "en, es, sw")


def test_a_folder_with_something_else_is_refused(evaluate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    evaluate("--transplant=ffn:0:0").assert_refused("notes.txt")


def test_a_folder_that_is_no_model_is_refused(evaluate, tmp_path):
    (tmp_path / "empty").mkdir()
    evaluate(f"--tuned=a={tmp_path / 'empty'}", "--limit=1").assert_refused("config.json")


@pytest.mark.slow  # draws every figure
def test_with_pages_and_figures(cli, tiny_folder, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", ROWS)
    out = tmp_path / "out"
    asked = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={out}"]
    found = cli("lens", "eval", *asked, "--transplant=ffn:0:0", "--max-new-tokens=2", "--json")
    assert found.code == 0, found.err
    files = [Path(file) for file in found.json["files"]]
    assert out / "evaluation.html" in files
    assert all(file.stat().st_size for file in files)
