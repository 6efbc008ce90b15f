"""Model arguments: what they mean, and what is refused before a model is loaded."""

from __future__ import annotations

import pytest

pytest.importorskip("lm_eval")

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.harness import CrosslatentLM
from crosslatent.harness.command import Arguments

PAIR = {"component": "attn", "source": -1.0, "target": 0, "aux": "en"}


def of(**given):
    return Arguments.of({"pretrained": "model"} | given)


def test_layers_may_come_as_the_harness_reads_them():
    assert of(**PAIR).what == TransplantSpec("attn", -1, 0)


def test_a_preset_stands_for_component_and_layers():
    assert of(preset="culture", aux="en").what == TransplantSpec("ffn", 0, 0)


@pytest.mark.parametrize("none", ["none", None])
def test_no_component_is_the_unmodified_model(none):
    assert of(**(PAIR | {"component": none})).what is None
    assert of().what is None


@pytest.mark.parametrize(
    ("size", "rows"), [(8, 8), ("8", 8), ("auto", None), ("auto:4", None), (1, 1)]
)
def test_batch_sizes(size, rows):
    assert of(batch_size=size).batch_rows == rows


def test_model_arguments_go_before_flags(folder):
    lm = CrosslatentLM.create_from_arg_string(
        f"pretrained={folder},batch_size=4,device=cpu", {"batch_size": 1, "device": None}
    )
    assert lm._arguments.batch_rows == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"colour": 1}, "Unknown model argument 'colour': use apply_chat_template, aux,"),
        ({"pretrained": None}, "There is no model"),
        ({"component": "attn", "source": 0, "target": 0}, "has no counterpart: give aux=TASK"),
        ({"aux": "en", "source": 0}, "not clear without component, target"),
        ({"preset": "culture", "component": "ffn", "aux": "en"}, "be combined with component"),
        ({"preset": "poetry", "aux": "en"}, "Unknown preset 'poetry'"),
        (PAIR | {"component": "mlp"}, "Unknown component 'mlp'"),
        (PAIR | {"source": 1.5}, "source is 1.5: give a whole number"),
        (PAIR | {"target": "first"}, "target is 'first': give a whole number"),
        (PAIR | {"strength": "high"}, "strength is 'high': give a finite number"),
        (PAIR | {"positions": 0}, "positions is 0: it must be 1 or more"),
        ({"engine": "warp"}, "Unknown engine 'warp'"),
        ({"batch_size": "many"}, "batch_size is 'many': give a whole number"),
        ({"apply_chat_template": "yes"}, "apply_chat_template is 'yes': give True or False"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0"),
    ],
)
def test_wrong_arguments_are_refused(given, words):
    with pytest.raises(UsageError) as refused:
        CrosslatentLM.create_from_arg_obj({"pretrained": "/nowhere"} | given)
    message = str(refused.value)
    assert words in message
    assert message.endswith(".")


@pytest.mark.parametrize("told", [{"enable_thinking": False}, '{"enable_thinking": false}'])
def test_arguments_of_the_chat_template(told):
    found = of(apply_chat_template=True, chat_args=told)
    assert found.chat_args == {"enable_thinking": False}
    assert of().chat_args == {}
    with pytest.raises(UsageError, match="contexts are no chats: give --apply_chat_template"):
        of(chat_args=told)


@pytest.mark.parametrize("told", ["enable_thinking", "[1]", 3, "{'a': 1}"])
def test_arguments_of_the_chat_template_are_an_object(told):
    with pytest.raises(UsageError, match="chat_args is .*: give an object of JSON"):
        of(apply_chat_template=True, chat_args=told)


def test_the_chat_template_is_told_one_time_and_the_arguments(folder, monkeypatch):
    from crosslatent import load

    model = load(folder)
    model.tokenizer.chat_template = "{{ strftime_now('%Y') }}{{ loud }}{{ messages[0].content }}"
    monkeypatch.setattr("crosslatent.harness.lm.right_now", lambda: "1999-12-31T23:59:59")
    arguments = of(apply_chat_template=True, chat_args={"loud": "!"})
    lm = CrosslatentLM(model, arguments)
    assert lm.apply_chat_template([{"role": "user", "content": "a"}]) == "1999!a"
