"""Prompts through a chat template."""

from __future__ import annotations

import copy

import pytest

import crosslatent as xl
from crosslatent.core.errors import ModelError, PromptError
from crosslatent.model import wrap
from crosslatent.model.chat import Prompt
from crosslatent.model.prompts import encode
from support.models import CONTEXT, tiny_model

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def model():
    hf, tokenizer = tiny_model("llama")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = TEMPLATE
    return wrap(hf, tokenizer)


def test_the_last_token_is_that_of_the_generation_prompt(model):
    ids = encode(model, "Mji?", chat=True)
    assert model.text_of(ids) == "<user>Mji?</><assistant>"
    assert model.token_text(ids[-1]) == ">"
    assert encode(model, "Mji?") != ids


def test_shots_are_turns(model):
    prompt = Prompt("Mji?", (("Mto?", "Nile"),))
    assert model.text_of(encode(model, prompt, chat=True)) == (
        "<user>Mto?</><assistant>Nile</><user>Mji?</><assistant>"
    )
    assert model.text_of(encode(model, prompt)) == "Mto? Nile\n\nMji?"


def test_the_template_counts_for_the_context(model):
    text = "x" * (CONTEXT - 10)
    assert encode(model, text, new_tokens=5)
    with pytest.raises(PromptError, match="main prompt has .* shorten"):
        encode(model, text, role="main", new_tokens=5, chat=True)
    with pytest.raises(PromptError, match="empty"):
        encode(model, "  ", chat=True)


def test_no_template_is_said():
    with pytest.raises(ModelError, match="no chat template: leave --chat out"):
        encode(wrap(*tiny_model("llama")), "x", chat=True)


def test_transplant_equals_the_one_over_the_rendered_text(model):
    wanted = {"component": "ffn", "source": 1, "target": 0, "max_new_tokens": 4}
    chat = xl.transplant(model, main="Mji?", aux="City?", chat=True, **wanted)
    rendered = [f"<user>{text}</><assistant>" for text in ("Mji?", "City?")]
    plain = xl.transplant(model, main=rendered[0], aux=rendered[1], **wanted)
    assert chat == plain
    assert chat.main_token == ">"


def test_sweep_takes_chat(model, tmp_path):
    item = {"id": "a", "main": "Mji?", "aux": "City?"}
    run = xl.sweep(model, [item], pairs="0:0", chat=True, out=tmp_path / "run", max_new_tokens=3)
    row = run.to_pandas().query("control == 'none'").iloc[0]
    one = xl.transplant(
        model, main="Mji?", aux="City?", component="attn", source=0, target=0, chat=True,
        max_new_tokens=3,
    )  # fmt: skip
    assert row.output == one.output
    assert run._reader.manifest["spec"]["chat"] is True


def test_a_template_that_refuses_is_said(model):
    hf, tokenizer = tiny_model("llama")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = "{{ raise_exception('one turn only') if messages|length > 1 }}x"
    picky = wrap(hf, tokenizer)
    assert encode(picky, "Mji?", chat=True)
    with pytest.raises(ModelError, match="refuses the prompt .one turn only"):
        encode(picky, Prompt("Mji?", (("Mto?", "Nile"),)), chat=True)
