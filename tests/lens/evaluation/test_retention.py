"""The divergence on held-out texts equals one computed by hand, however texts are batched."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from crosslatent.core.errors import ModelError, SpaceError
from crosslatent.lens.evaluation import retention
from crosslatent.lens.evaluation.retention import HeldOut, divergences, held_out_of, pooled
from support.models import CONTEXT, byte_tokenizer
from support.rows import wrapped

TEXTS = ["The sky is blue.", "Hi", "Water boils at a hundred degrees.", "ok?", "Trees are green."]


@pytest.fixture(scope="module")
def before():
    return wrapped()


@pytest.fixture(scope="module")
def after():
    return wrapped(seed=1)


def by_hand(before, after, ids):
    """One text, float64: nats at each predicted token."""
    logs = []
    for model in (before, after):
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids])).logits[0, :-1]
        logs.append(logits.double().log_softmax(-1))
    return (logs[0].exp() * (logs[0] - logs[1])).sum(-1).numpy()


def test_every_token_of_every_text_by_hand(before, after):
    texts = held_out_of(before, TEXTS)
    found = divergences(before, after, texts, batch_size=2)
    right = [by_hand(before, after, ids) for ids in texts.ids]
    np.testing.assert_allclose(found.values, np.concatenate(right), rtol=1e-4, atol=1e-5)
    assert [found.texts.count(str(k)) for k in range(5)] == [len(ids) - 1 for ids in texts.ids]
    estimate = found.estimate(seed=3)
    assert estimate.value == pytest.approx(np.concatenate(right).mean(), rel=1e-4)
    assert estimate.low < estimate.value < estimate.high
    assert (estimate.n, estimate.clusters, estimate.seed) == (len(found.values), 5, 3)
    # The mean is over tokens: the mean over texts is another number.
    assert estimate.value != pytest.approx(np.mean([each.mean() for each in right]), rel=1e-3)


def test_the_order_matters(before, after):
    texts = held_out_of(before, TEXTS)
    there, back = divergences(before, after, texts), divergences(after, before, texts)
    assert there.estimate().value != pytest.approx(back.estimate().value, rel=1e-2)


def test_what_is_open_around_counts_for_the_changed_model_only(before, after):
    """One model on both sides, with hooks on the second: as if they were two."""

    @contextmanager
    def shifted():
        weight = before.hf.lm_head.weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(after.hf.lm_head.weight)
        try:
            yield
        finally:
            with torch.no_grad():
                weight.copy_(kept)

    texts = held_out_of(before, TEXTS)
    found = divergences(before, before, texts, batch_size=2, around=shifted)
    changed = wrapped()
    with torch.no_grad():
        changed.hf.lm_head.weight.copy_(after.hf.lm_head.weight)
    np.testing.assert_allclose(
        found.values, divergences(before, changed, texts, batch_size=2).values, atol=1e-6
    )
    assert found.values.max() > 0


PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("template", "texts", "counted"),
    [
        (PLAIN, ["The sky is blue."], ["The sky is blue."]),
        # A text that stands in the template too, once or as its own end.
        (PLAIN, ["user", "</>", "assistant>"], ["user", "</>", "assistant>"]),
        ("{{ messages[0].content | trim }}!", [" Hello "], ["ello"]),
        # Other characters than the text's: tokens decide.
        ("Say: {{ messages[0].content | upper }}!", ["Sky"], ["SKY"]),
    ],
)  # fmt: skip
def test_tokens_of_a_chat_template_do_not_count(after, monkeypatch, template, texts, counted):
    model = wrapped()
    monkeypatch.setattr(model.tokenizer, "chat_template", template)
    held_out = held_out_of(model, texts, chat=True)
    for ids, (start, stop), text in zip(held_out.ids, held_out.spans, counted, strict=True):
        assert model.text_of(list(ids[max(start, 1) : stop])) == text
    found = divergences(model, after, held_out)
    assert len(found.values) == held_out.positions == sum(map(len, counted))
    assert held_out.around == sum(len(ids) - 1 for ids in held_out.ids) - held_out.positions
    right = []
    for ids, (start, stop) in zip(held_out.ids, held_out.spans, strict=True):
        right.append(by_hand(model, after, list(ids))[max(start, 1) - 1 : stop - 1])
    np.testing.assert_allclose(found.values, np.concatenate(right), rtol=1e-4, atol=1e-5)


def test_a_tokenizer_without_characters_tells_by_tokens(monkeypatch):
    model = wrapped()
    monkeypatch.setattr(model.tokenizer, "chat_template", PLAIN)
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    held_out = held_out_of(model, ["Blue sky", "Sun"], chat=True)
    texts = [
        model.text_of(list(ids[slice(*span)]))
        for ids, span in zip(held_out.ids, held_out.spans, strict=True)
    ]
    assert texts == ["Blue sky", "Sun"]


def test_a_text_beyond_the_context_of_its_template_is_left_out(monkeypatch):
    model = wrapped()
    longer = PLAIN.replace("{{ m.role }}", "x" * 20)
    monkeypatch.setattr(model.tokenizer, "chat_template", longer)
    found = held_out_of(model, ["ab", "abcd"], chat=True, max_tokens=25)
    assert list(found.spans) == [(22, 24), (22, 25)]
    with pytest.raises(SpaceError, match="two tokens"):
        held_out_of(model, ["ab"], chat=True, max_tokens=20)


def test_a_model_does_not_diverge_from_itself(before):
    found = divergences(before, wrapped(), held_out_of(before, TEXTS))
    assert not found.values.any()


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2"])
def test_batches_change_nothing(family, monkeypatch):
    before, after = wrapped(family), wrapped(family, seed=1)
    texts = held_out_of(before, TEXTS)
    alone = divergences(before, after, texts, batch_size=1)
    together = divergences(before, after, texts, batch_size=5)
    np.testing.assert_allclose(together.values, alone.values, rtol=1e-3, atol=1e-4)
    assert together.texts == alone.texts


def test_logits_are_held_for_one_batch_only(before, after, monkeypatch):
    vocabulary = before.hf.config.vocab_size
    monkeypatch.setattr(retention, "BATCH_BYTES", 4 * vocabulary * 40)
    sizes = []
    handle = before.hf.register_forward_hook(
        lambda _module, _args, output: sizes.append(output.logits.shape[:2])
    )
    texts = held_out_of(before, [*TEXTS, "x" * 60])
    try:
        divergences(before, after, texts)
    finally:
        handle.remove()
    widths = sorted(len(ids) for ids in texts.ids)
    assert sum(rows for rows, _ in sizes) == 6
    assert all(rows * width <= 40 or rows == 1 for rows, width in sizes)
    assert max(rows for rows, _ in sizes) > 1
    assert (1, widths[-1]) in sizes


def test_texts_that_predict_nothing_are_left_out_and_counted(before):
    found = held_out_of(before, ["a", "bc", "bc", "d", "x" * 300, ""])
    assert [len(ids) for ids in found.ids] == [2, CONTEXT]
    assert (found.left_out, found.cut, found.repeated) == (3, 1, 1)
    assert held_out_of(before, ["abcdef"], max_tokens=4).cut == 1


def test_only_such_texts_are_refused(before):
    with pytest.raises(SpaceError, match="two tokens"):
        held_out_of(before, ["a", "b"])


def test_several_models_are_pooled_by_text(before, after):
    texts = held_out_of(before, TEXTS)
    one, other = divergences(before, after, texts), divergences(before, wrapped(seed=2), texts)
    both = pooled([one, other]).estimate()
    assert both.value == pytest.approx(np.concatenate([one.values, other.values]).mean())
    assert both.clusters == 5


def test_the_numbers_are_float32_also_in_half_precision(before):
    half, moved = wrapped(), wrapped(seed=1)
    half.hf.to(torch.bfloat16)
    moved.hf.to(torch.bfloat16)
    texts = held_out_of(half, TEXTS)
    found = divergences(half, moved, texts).estimate().value
    right = divergences(before, wrapped(seed=1), texts).estimate().value
    assert found == pytest.approx(right, rel=0.1)


def test_an_impossible_token_adds_nothing_and_an_impossible_one_after_is_refused(monkeypatch):
    before, after = wrapped(), wrapped(seed=1)
    texts = held_out_of(before, TEXTS)

    def without(model, token):
        def hook(_module, _args, output):
            output.logits[..., token] = -torch.inf

        return model.hf.register_forward_hook(hook)

    without(before, 70)
    assert np.isfinite(divergences(before, after, texts).values).all()
    without(after, 70)
    assert np.isfinite(divergences(before, after, texts).values).all()
    without(after, 71)
    with pytest.raises(ModelError, match="finite"):
        divergences(before, after, texts)


def test_another_vocabulary_is_refused(before):
    with pytest.raises(ModelError, match=r"300 tokens, but .* 258"):
        divergences(before, wrapped(vocab_size=300), HeldOut(((5, 6),), 0, 0, 0))


def test_another_tokenizer_is_refused(before):
    from dataclasses import replace

    other = type(byte_tokenizer())(tokenizer_object=byte_tokenizer().backend_tokenizer)
    same = replace(wrapped(seed=1), tokenizer=other)
    divergences(before, same, HeldOut(((5, 6),), 0, 0, 0))
    other.add_tokens(["new"])
    with pytest.raises(ModelError, match="tokenizer"):
        divergences(before, same, HeldOut(((5, 6),), 0, 0, 0))
