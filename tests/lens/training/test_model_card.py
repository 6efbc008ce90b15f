"""The card says what the record says, and names in it stay text."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
import yaml

from crosslatent.lens.training.model_card import card, plain, write_card
from crosslatent.lens.training.record import CurvePoint, TrainRecord
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec


def held_out(step, loss):
    terms = {"align": loss / 2, "separate": loss / 4, "retain": loss / 4}
    return CurvePoint(step, step / 20, "held_out", None, loss, terms)


def make_record(**changes):
    spec = changes.pop("spec", TrainSpec(epochs=2, separate=0.5))
    record = TrainRecord(
        objective="lens",
        base={"name": "org/base-model", "identity": {"weights_hash": "0123abcd"}},
        spec=spec.to_dict(),
        languages=["sw", "bn"],
        central="en",
        blocks=[22, 23],
        parameters=6_400,
        total_parameters=100_000,
        rows={"train": 180, "held_out": 20, "left_out": 3},
        cut={"en": 0, "sw": 4},
        steps=46,
        best_step=40,
        curve=[held_out(0, 0.75), held_out(23, 0.5), held_out(46, 0.3125)],
        versions={"crosslatent": "0.1.0", "torch": "2.13.0"},
        created="2026-01-02T03:04:05+00:00",
    )
    return replace(record, **changes)


def parts(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_front_matter_of_a_whole_model():
    front, _ = parts(card(make_record(), "my-model"))
    assert front == {
        "base_model": "org/base-model",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en", "sw", "bn"],
        "tags": ["crosslatent", "lens", "language-subspaces", "multilingual"],
    }


def test_everything_that_decides_the_model_is_told():
    _, body = parts(card(make_record(), "my-model"))
    for told in (
        "blocks 22, 23, counted from 0; 6,400 parameters, which is 6.40% of the 100,000",
        "Loss `align`, weight 1:",
        "Loss `separate`, weight 0.5:",
        "Loss `retain`, weight 1:",
        "Losses read at: final",
        "Strength: 1 times",
        "Rows: train 180, held out 20, left out 3",
        "cut to 512 tokens: sw 4\n",
        "Steps: 46, in at most 2 epochs; 8 rows a batch",
        "learning rate 1e-05 (cosine, warm-up 0.05), weight decay 0.1, gradients clipped at 1;",
        "(weights 0123abcd)",
        "The lowest held-out loss was at step 40.",
        "| 0 | 0.75 | 0.375 | 0.1875 | 0.1875 |\n| 46 | 0.3125 |",
        "answers in sw, bn became better, whether those in en became worse",
        "arXiv 2410.04407",
        'xl.load(".")',
        'AutoTokenizer.from_pretrained(".")',
    ):
        assert told in body
    assert "| 23 |" not in body
    assert "peft" not in body


def test_adapters_are_a_peft_model():
    spec = TrainSpec(lora=LoraSpec(rank=4, alpha=8.0))
    front, body = parts(card(make_record(spec=spec), "adapter"))
    assert front["library_name"] == "peft"
    assert "lora" in front["tags"]
    assert "LoRA of rank 4, alpha 8, dropout 0" in body
    assert "AutoModelForCausalLM.from_pretrained('org/base-model')" in body
    assert 'PeftModel.from_pretrained(base, ".")' in body
    assert "local" not in body
    assert "Left as they were" not in body


def test_matrices_without_adapters_are_told():
    spec = TrainSpec(lora=LoraSpec())
    body = card(make_record(spec=spec, not_adapted=16), "x")
    assert "Left as they were: 16 matrices of these blocks" in body


def test_adapters_of_a_local_base_say_what_to_change():
    spec = TrainSpec(lora=LoraSpec())
    front, body = parts(card(make_record(spec=spec, base={"name": "/models/base"}), "x"))
    assert "base_model" not in front
    assert 'AutoModelForCausalLM.from_pretrained("BASE")' in body
    assert "`base_model_name_or_path` in `adapter_config.json` is its path" in body


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (
            {"dtype": "bfloat16", "loss": 0.25, "terms": {}, "lost": 0.88},
            "Saved in bfloat16; 88.0% of what training changed was lost by rounding to it",
        ),
        ({"dtype": "float32", "loss": None, "terms": {}, "lost": 0.0}, "Saved in float32\n"),
        ({}, "Precision: auto\n- Software"),
    ],
)
def test_what_was_saved(saved, told):
    assert told in card(make_record(saved=saved), "x")


def test_a_number_of_steps_goes_before_passes():
    assert "Steps: 46, of 60; 8 rows" in card(make_record(spec=TrainSpec(max_steps=60)), "x")


def test_training_on_answers_claims_no_losses_of_lens():
    record = make_record(objective="answers", central=None, curve=[], best_step=None)
    front, body = parts(card(record, "sft"))
    assert front["language"] == ["sw", "bn"]
    assert "xsft" in front["tags"]
    assert "cross-entropy on the tokens of gold answers" in body
    assert "`align`" not in body
    assert "Strength" not in body
    assert "No rows were held out" in body
    assert "whether those in the central language became worse" in body


def test_strengths_by_language():
    spec = TrainSpec(strength={"sw": 2.0})
    assert "Strength by language: sw 2 (1 where none is named)" in card(make_record(spec=spec), "x")


@pytest.mark.parametrize(
    ("stopped", "told"),
    [("early", "no longer fell"), ("finished", "to its end"), ("nan", "Training ended: nan.")],
)
def test_how_training_ended(stopped, told):
    assert told in card(make_record(stopped=stopped), "x")


@pytest.mark.parametrize("name", ["/home/someone/models/base", "./models/base", "~/models/base"])
def test_where_a_local_base_lies_is_nobodys_business(name):
    text = card(make_record(base={"name": name}), "x")
    assert "base_model" not in parts(text)[0]
    assert "Base model: base, a local folder" in text
    assert "models/base" not in text


def test_a_local_base_is_known_by_being_there(tmp_path, monkeypatch):
    (tmp_path / "private" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "private" not in card(make_record(base={"name": "private/base"}), "x")


def test_names_can_break_neither_yaml_nor_markdown_nor_html_nor_python():
    nasty = "a: [b\n---\n<img src=x onerror=alert(1)> | `c` *d* ```\n# e '\"\\"
    record = make_record(base={"name": nasty}, languages=["<b>"], versions={nasty: nasty})
    front, body = parts(card(record, nasty))

    assert front["base_model"] == " ".join(nasty.split())
    assert front["language"] == ["en", "<b>"]
    outside, code = body.split("```python\n")
    code, rest = code.split("```")  # no other fence anywhere
    assert "<" not in outside + rest
    assert "\n# e" not in outside
    assert "<" not in code
    adapter = replace(record, spec=TrainSpec(lora=LoraSpec()).to_dict())
    code = card(adapter, nasty).split("```python\n")[1].split("```")[0]
    literals = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert literals == [".", " ".join(nasty.split()), "."]


def test_plain_text_stays_readable():
    assert plain("org/Model-1.5 (beta)") == r"org/Model-1.5 \(beta\)"
    assert plain("a\nb  c") == "a b c"


def test_the_card_is_the_folders_readme(tmp_path):
    path = write_card(tmp_path, make_record())
    assert path == tmp_path / "README.md"
    assert path.read_text(encoding="utf-8") == card(make_record(), tmp_path.name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["README.md"]
