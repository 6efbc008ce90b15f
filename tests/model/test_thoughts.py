"""Prompts that end inside a thought, and what is none."""

from __future__ import annotations

import copy

import pytest

from crosslatent.core.specs import Chat
from crosslatent.model import wrap
from crosslatent.model.chat import Prompt, open_thought, opened_in, thought_note
from support.models import tiny_model

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}"


def model_of(template, added=()):
    hf, tokenizer = tiny_model("llama")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = template
    return wrap(hf, tokenizer)


OPEN = (
    "<think>\n",
    "<|im_start|>assistant\n<think>\n\n",
    "<\uff5cAssistant\uff5c><think>\n",
    "<|start|>assistant<|channel|>analysis<|message|>",
    "[THINK]",
    "<reasoning>\n",
    "<thought>\n",
    "<thinking>",
    "\u25c1think\u25b7",
    "<seed:think>",
    "<|START_THINKING|>",
    "<|begin_of_thought|>\n\n",
    "<|channel>thought\n",
    "<|think|>",
    "<think>\n</think>\n<think>",
)
CLOSED = (
    "",
    "<|im_start|>assistant\n",
    "<think>\n\n</think>\n\n",
    "</think>",
    "<|start|>assistant",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>thought\n<channel|>",
    "[THINK][/THINK]",
    "\u25c1think\u25b7\u25c1/think\u25b7",
    "<|START_THINKING|><|END_THINKING|>",
    "<seed:think></seed:think>",
    "I think <b>so</b> [1] <thin> <thinker> /no_think",
)


@pytest.mark.parametrize("end", OPEN)
def test_an_open_thought_is_seen(end):
    model = model_of(TURNS + "{{ '" + end.replace("\n", "\\n") + "' }}")
    assert open_thought(model, Prompt("Mji?"), chat=True)
    assert opened_in(end)
    note = thought_note(model, Prompt("Mji?"), chat=True, role="main", new_tokens=20)
    assert "the main prompt ends inside a thought" in note
    assert "ask for more" in note  # this template has no switch
    assert open_thought(model, Prompt("Mji?")) is None  # no chat, so no template


@pytest.mark.parametrize("end", CLOSED)
def test_a_closed_thought_is_none(end):
    model = model_of(TURNS + "{{ '" + end.replace("\n", "\\n") + "' }}")
    assert open_thought(model, Prompt("Mji?"), chat=True) is None


@pytest.mark.parametrize(
    "mark", ["<think>", "[THINK]", "<reasoning>", "<|channel|>analysis", "<thought>"]
)
def test_what_the_question_says_counts_for_nothing(mark):
    plain = model_of(TURNS + "<assistant>", added=["<think>"])
    shots = ((f"{mark} Mto?", f"{mark} Nile"),)
    for text in (f"What is {mark}?", f"{mark} a", f"The end is {mark}", mark):
        assert open_thought(plain, Prompt(text, shots), chat=True) is None
    for text in (f"What is {mark}?", f"{mark} a", f"{mark}</x> b"):
        assert open_thought(plain, Prompt(text, shots)) is None
    thinking = model_of(TURNS + "<think>")
    for text in (f"What is {mark}?", "</think>", "think", "k>", f"{mark}</think>"):
        assert open_thought(thinking, Prompt(text, shots), chat=True) == "<think>"


def test_a_plain_prompt_whose_last_token_opens_a_thought():
    model = model_of(None, added=["<think>"])
    assert open_thought(model, Prompt("<user>Mji?<assistant><think>\n")) == "<think>"
    assert open_thought(model, Prompt("<user>Mji?<assistant><think>\n</think>")) is None
    assert open_thought(model_of(None), Prompt("What opens it? <think>")) is None  # five letters


@pytest.mark.parametrize(
    ("switch", "condition"),
    [
        ("enable_thinking=false", "enable_thinking is defined and enable_thinking is false"),
        ("thinking=false", "thinking is defined and not thinking"),
        ("reasoning_effort=none", "reasoning_effort == 'none'"),
        ("think_mode=off", "think_mode == 'off'"),
        ("reasoning=false", "reasoning is defined and reasoning is false"),
    ],
)
def test_the_switch_that_closes_it_is_named(switch, condition):
    model = model_of(
        TURNS + "<think>\n{% if " + condition + " %}</think>{% endif %}{{ other_thinking }}"
    )
    note = thought_note(model, Prompt("Mji?"), chat=True, role="aux", new_tokens=7)
    assert f"--chat-arg {switch} closes it" in note
    name, value = switch.split("=")
    chat = Chat({name: False if value == "false" else value})
    assert thought_note(model, Prompt("Mji?"), chat=chat, role="aux", new_tokens=7) is None
