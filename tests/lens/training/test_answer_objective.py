"""Training on gold answers: which tokens count, and that the loss is the model's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.specs import FINAL
from crosslatent.lens.training.answer_objective import (
    AnswerObjective,
    check_head,
    end_of,
    samples_of,
    spelling,
    train_answers,
)
from crosslatent.lens.training.fork import fork, parameters_of
from crosslatent.lens.training.frozen_cache import compute_frozen_cache
from crosslatent.lens.training.record import read_record
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.lens.training.trained_blocks import Cut, TrainedBlocks
from crosslatent.model.chat import Prompt
from crosslatent.tasks import Item
from support.training import tiny

SPEC = TrainSpec(lr=1e-3, batch_size=3, held_out=0.2, seed=5)


def items(count=8):
    options = ("(1)", "(2)")
    return [
        Item(
            id=f"q{number}-{lang}",
            lang=lang,
            aux_lang="en",
            main=f"Swali {lang} {'x' * number}: jibu:",
            aux=f"Question {'y' * number}: answer:",
            answer=options[number % 2],
            options=options,
            cluster=f"q{number}",
        )
        for number in range(count)
        for lang in ("sw", "hi")
    ]


def plain_loss(model, samples):
    """Cross-entropy per token from whole forwards, one text at a time."""
    total, count = torch.zeros((), dtype=model.dtype), 0
    for sample in samples:
        ids = torch.tensor([[*sample.ids, *sample.wanted[-1:]]])
        logits = model.hf(input_ids=ids).logits[0, sample.asked - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(
            logits, ids[0, sample.asked :], reduction="sum"
        )
        count += ids.shape[1] - sample.asked
    return total / count


@pytest.mark.parametrize("family", ["llama", "gemma2", "falcon", "gpt_oss"])
def test_loss_and_gradient_are_those_of_the_whole_model(tmp_path, family):
    model = fork(tiny(family), (2, 3))
    samples, _ = samples_of(model, items(4), SPEC)
    texts = {lang: [s.ids for s in samples if s.lang == lang] for lang in ("en", "sw", "hi")}
    cut = Cut(2, (FINAL,), "float32")
    trunks = {lang: compute_frozen_cache(model, ids, cut, tmp_path) for lang, ids in texts.items()}
    top = TrainedBlocks(model, cut, trunks)
    objective = AnswerObjective(top, samples)
    rows = range(len(samples))
    with top.standing_in():
        parts = [objective.terms(part, objective.sizes(rows)) for part in (rows[:5], rows[5:])]
        loss = sum(objective.loss(part) for part in parts)
        loss.backward()
    found = {name: w.grad.clone() for name, w in parameters_of(model, (2, 3)).items()}
    model.hf.zero_grad()
    expected = plain_loss(model, samples)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for name, weight in parameters_of(model, (2, 3)).items():
        scale = float(weight.grad.abs().max())
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-3 * scale + 1e-8)


def test_samples_are_prompt_answer_and_end():
    model = tiny()
    samples, left_out = samples_of(model, items(2), SPEC)
    assert left_out == 0
    # Two facts in two languages, and each fact's central prompt once.
    assert [sample.lang for sample in samples] == ["sw", "en", "hi", "sw", "en", "hi"]
    first = samples[0]
    assert model.text_of(list(first.ids)) == "Swali sw : jibu: (1)"
    assert model.text_of(list(first.ids[: first.asked])) == "Swali sw : jibu:"
    assert model.text_of(list(first.wanted)) == " (1)"
    assert first.wanted[-1] == model.tokenizer.eos_token_id
    assert first.positions == range(first.asked - 1, len(first.ids))


def test_central_prompts_can_be_left_out():
    spec = replace(SPEC, central_answers=False)
    samples, _ = samples_of(tiny(), items(2), spec)
    assert {sample.lang for sample in samples} == {"sw", "hi"}


def test_items_without_answer_or_room_are_counted():
    model = tiny()
    some = items(3)
    some[0] = replace(some[0], answer=None)
    samples, left_out = samples_of(model, some, SPEC)
    assert left_out == 1
    assert len(samples) == 8
    # Prompts in "sw" and "hi" have 20 tokens and more, in English 22 and more.
    fitting, left_out = samples_of(model, some, replace(SPEC, max_tokens=21))
    assert [len(sample.ids) for sample in fitting] == [20, 21, 21]
    assert left_out == 1 + 2 + 5
    with pytest.raises(UsageError, match="None of 6 items has a gold answer and at most 5 tokens"):
        samples_of(model, some, replace(SPEC, max_tokens=5))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("Jibu:", " Dar"), ("Jibu: ", "Dar"), ("Jibu:\n", "Dar"), ("答案：", "Dar")],
)
def test_answers_are_spelled_as_they_follow_the_prompt(prompt, expected):
    model = tiny()
    asked = model.tokenizer(prompt)["input_ids"]
    ids = spelling(model, Prompt(prompt), asked, "Dar", chat=False)
    assert model.text_of(list(ids)) == expected


def test_the_end_token_is_the_models():
    model = tiny()
    assert end_of(model) == model.tokenizer.eos_token_id
    model.hf.generation_config.eos_token_id = [7, 9]
    assert end_of(model) == 7
    model.hf.generation_config.eos_token_id = None
    model.hf.config.eos_token_id = None
    assert end_of(model) is None


def test_a_head_that_is_not_all_of_the_logits_is_refused():
    model = tiny()
    check_head(model, [3, 4, 5])
    model.hf.lm_head.register_forward_hook(lambda _m, _a, out: out * 2)
    check_head(model, [3, 4, 5])
    whole = model.hf.forward

    def scaled(*args, **kwargs):
        out = whole(*args, **kwargs)
        out.logits = out.logits * 2
        return out

    model.hf.forward = scaled
    with pytest.raises(ModelError, match="not its head's output"):
        check_head(model, [3, 4, 5])


def test_training_teaches_the_answers(tmp_path):
    model = tiny()
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    spec = replace(SPEC, epochs=12, lr=5e-3)
    done = train_answers(model, items(), spec=spec, out=tmp_path)
    record = done.record
    assert (record.objective, record.languages, record.central) == ("answers", ["sw", "hi"], "en")
    assert record.rows["train"] + record.rows["held_out"] == 24
    assert record.rows["held_out"] == 6  # whole facts: two of eight, in three languages
    curve = record.points("train")
    assert curve[-1].loss < 0.2 * curve[0].loss
    after = done.model.hf.state_dict()
    assert {n for n in after if not torch.equal(after[n], before[n])} == set(
        parameters_of(model, (2, 3))
    )
    assert all(torch.equal(model.hf.state_dict()[name], before[name]) for name in before)
    assert read_record(tmp_path) == record
