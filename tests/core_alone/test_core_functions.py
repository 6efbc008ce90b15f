"""What the core does without any extra, and what is said where an extra is needed."""

from __future__ import annotations

import json
import sys

import pytest

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core.errors import MissingExtraError
from crosslatent.core.imports import EXTRAS, installed

SWAHILI = "Mnyama: mkunga. Ni wa kundi gani? Jibu:"
ENGLISH = "Animal: eel. What kind of animal is it? Answer:"


@pytest.mark.parametrize("module", sorted({one for e in EXTRAS.values() for one in e.modules}))
def test_nothing_of_an_extra_is_there(module):
    assert not installed(module)


def test_transplanting(model):
    one = xl.transplant(
        model, main=SWAHILI, aux=ENGLISH, component="ffn", source=7, target=7, max_new_tokens=4
    )
    assert one.vanilla != one.output
    assert one.output in one._repr_html_()


def test_capturing_and_patching(model):
    vectors = xl.capture(model, ENGLISH)
    ids = model.tokenizer(SWAHILI, return_tensors="pt").input_ids
    before = model.hf(ids).logits[0, -1]
    with xl.patched(model, vectors, component="ffn", source=7, target=7):
        after = model.hf(ids).logits[0, -1]
    assert not before.equal(after)
    assert "ffn" in vectors._repr_html_()


def test_sweeping_again_and_the_tables(model, run, tmp_path):
    frame = run.to_pandas()
    assert set(frame["control"]) == {"none", "vanilla", "shuffled", "noise", "translate_test"}
    again = xl.sweep(
        model,
        xl.load_task("demo-facts", languages=["sw"]).select(limit=3),
        out=run.path,
        component="ffn",
        pairs="2:2,7:7",
        controls=["shuffled", "noise"],
    )
    assert again.to_pandas().equals(frame)
    for kind in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"rows.{kind}"
        assert main(["export", str(run.path), f"--format={kind}", f"--out={out}"]) == 0
        assert out.stat().st_size > 1000


def test_the_command_line_sweeps_and_says_what_tells_more(tmp_path, capsys):
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text(json.dumps({"main": SWAHILI, "aux": ENGLISH, "answer": "(3)"}) + "\n")
    folder = _shipped()
    arguments = ["sweep", "--model", folder, "--prompts", str(prompts), "--pairs=7:7"]
    assert main([*arguments, f"--out={tmp_path / 'run'}", "--component=ffn"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(tmp_path / "run")
    assert "need scipy, sklearn, threadpoolctl, which are not installed: pip" in printed.err
    assert main(["transplant", "--model", folder, "--main", SWAHILI, "--aux", ENGLISH,
                 "--component=ffn", "--source=7", "--target=7"]) == 0  # fmt: skip


def test_tasks_and_checks(capsys):
    for command in (["ls"], ["show", "demo-facts"], ["validate", "demo-codes"]):
        assert main(["tasks", *command]) == 0
    assert main(["check", _shipped(), "--quick", "--components=ffn"]) == 0
    assert "failed" not in capsys.readouterr().out


def test_a_card_without_figures(run):
    shown = run._repr_mimebundle_()
    assert "pip install" in shown["text/html"]
    assert repr(run) in shown["text/plain"]


@pytest.mark.parametrize(
    ("use", "extra"),
    [
        (lambda run: run.estimates(), "stats"),
        (lambda run: run.upper_bound(), "stats"),
        (lambda run: run.heatmap(), "report"),
        (lambda run: run.to_polars(), "polars"),
        (lambda run: xl.compare_runs(run.path, run.path), "stats"),
        (lambda run: xl.improve, "stats"),
        (lambda run: xl.load_chooser, "stats"),
        (lambda run: xl.register_figure, "report"),
        (lambda run: xl.lens.probe, "stats"),
        (lambda run: xl.Run("s3://bucket/run"), "remote"),
    ],
)
def test_python_says_which_extra_is_missing(run, use, extra):
    with pytest.raises(MissingExtraError, match=rf"not installed: pip install .*\[{extra}\]"):
        use(run)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["report", "RUN", "--out=OUT"], "report"),
        (["demo", "--out=OUT"], "report"),
        (["improve", "MODEL", "--task=demo-facts", "--out=OUT"], "report"),
        (["select", "RUN"], "stats"),
        (["answer", "--model=MODEL", "--chooser=x", "--prompts=y", "--out=OUT"], "stats"),
        (["sweep", "--model=MODEL", "--task=demo-facts", "--out=OUT", "--declare=ffn,0.1"],
         "stats"),
        (["sweep", "--model=MODEL", "--task=demo-facts", "--out=OUT", "--ray"], "ray"),
        (["sweep", "--model=MODEL", "--task=demo-facts", "--out=memory://run"], "remote"),
        (["sweep", "--model=MODEL", "--task=xcopa", "--out=OUT"], "tasks"),
        (["lens", "probe", "--model=MODEL", "--task=demo-facts", "--out=OUT"], "lens"),
        (["lm-eval", "--help"], "lm-eval"),
        (["transplant", "--model=MODEL", "--main=a", "--aux=b", "--preset=culture",
          "--device=spread"], "spread"),
        (["transplant", "--model=MODEL", "--main=a", "--aux=b", "--preset=culture",
          "--quantization=4bit"], "quantize"),
    ],
)  # fmt: skip
def test_commands_say_which_extra_is_missing(run, tmp_path, capsys, command, extra):
    places = {"RUN": str(run.path), "MODEL": _shipped(), "OUT": str(tmp_path / "out")}
    given = []
    for word in command:
        name, sign, value = word.rpartition("=")
        given.append(f"{name}{sign}{places.get(value, value)}")
    assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"[{extra}]'" in printed.err
    assert not (tmp_path / "out").exists()


def test_the_modules_of_extras_were_not_imported():
    assert not [name for e in EXTRAS.values() for name in e.modules if sys.modules.get(name)]


def _shipped() -> str:
    from crosslatent.model.loading import SHIPPED

    return str(SHIPPED)
