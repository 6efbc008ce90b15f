"""Hidden states are those that transformers reports for a text alone, however texts are batched."""

from __future__ import annotations

import pytest
import torch

from crosslatent import wrap
from crosslatent.core.errors import ModelError, PairError, PromptError, SpaceError, UsageError
from crosslatent.interventions.activations import capture_ids
from crosslatent.lens import states as states_module
from crosslatent.lens.states import encode_texts, read_states
from crosslatent.model import PromptBatch
from support.models import CONTEXT, FAMILIES, tiny_model
from support.rows import wrapped

TEXTS = [
    "Mji mkuu wa Kenya ni upi?",
    "x",
    "What is the capital?",
    "Habari ya asubuhi, rafiki!",
    "ab",
]
CHAT = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
CHAT += "{% if add_generation_prompt %}A:{% endif %}"


def ids_of(model, texts=TEXTS):
    return encode_texts(model, texts).ids


def alone(model, texts=TEXTS, pooling="last"):
    """What transformers says of each text without padding; texts layers d_model."""
    found = []
    for ids in ids_of(model, texts):
        with torch.no_grad():
            out = model.hf(torch.tensor([ids]), output_hidden_states=True)
        seen = list(out.hidden_states[1:-1])  # the last of them comes after the final norm
        captured = []
        hook = model.blocks[-1].whole.register_forward_hook(
            lambda _m, _a, out, kept=captured: kept.append(out[0] if type(out) is tuple else out)
        )
        with torch.no_grad():
            model.hf(torch.tensor([ids]))
        hook.remove()
        every = torch.stack([*seen, captured[0], out.hidden_states[-1]])[:, 0]
        found.append(every[:, -1] if pooling == "last" else every.mean(1))
    return torch.stack(found)


def close(one, other, atol=1e-4):
    # Float32 on values that reach 30, whose sums are taken in another order.
    return torch.allclose(one, other, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_states_are_those_of_each_text_alone(family, pooling):
    model = wrapped(family)
    expected = alone(model, pooling=pooling)
    for side in ("left", "right"):
        for batch_size in (1, 3):
            found = read_states(
                model, ids_of(model), pooling=pooling, side=side, batch_size=batch_size
            )
            assert found.shape == (len(TEXTS), model.n_layers + 1, model.d_model)
            assert close(found, expected)
    assert expected.std(0).min() > 0.001  # texts differ everywhere, so order matters


def test_in_float64_it_is_exact():
    model = wrapped()
    model.hf.double()
    found = read_states(model, ids_of(model), side="right", batch_size=5)
    assert found.dtype == torch.float64
    assert close(found, alone(model), 1e-11)


def test_column_minus_one_would_be_noticed(monkeypatch):
    model = wrapped()
    expected = alone(model)
    last = property(lambda self: torch.full((len(self.ids),), self.ids.shape[1] - 1))
    monkeypatch.setattr(PromptBatch, "last", last)
    ids = ids_of(model)
    assert close(read_states(model, ids, side="left", batch_size=5), expected)
    assert not close(read_states(model, ids, side="right", batch_size=5), expected)


def test_a_mean_over_padding_would_be_noticed(monkeypatch):
    model = wrapped()
    expected = alone(model, pooling="mean")
    monkeypatch.setattr(
        states_module, "_pool", lambda value, batch, pooling, dtype: value.mean(1).to(dtype)
    )
    assert not close(read_states(model, ids_of(model), pooling="mean", batch_size=5), expected)


def test_what_stands_in_the_padding_never_counts():
    batch = PromptBatch(torch.zeros(1, 3, dtype=torch.long), torch.tensor([[0, 1, 1]]))
    value = torch.tensor([[[float("nan")], [1.0], [2.0]]])
    counted = states_module._counted(batch, [])
    assert states_module._pool(value, batch.last, counted, torch.float32).item() == 1.5


def test_special_tokens_are_not_in_a_mean_unless_there_is_nothing_else():
    model = wrapped()
    special = model.tokenizer.eos_token_id
    text = ids_of(model, ["mti"])[0]
    assert special not in text
    states = read_states(model, [[special, *text], [special, special]], pooling="mean")
    kept = []
    hook = model.blocks[0].whole.register_forward_hook(lambda _m, _a, out: kept.append(out))
    read_states(model, [[special, *text]], layers=[0])
    hook.remove()
    out = kept[0][0] if type(kept[0]) is tuple else kept[0]
    assert torch.allclose(states[0, 0], out[0, 1:].mean(0), atol=1e-5)
    assert states[1].isfinite().all()


def test_bfloat16_states_are_averaged_in_float32():
    model = wrapped()
    model.hf.bfloat16()
    ids = ids_of(model, ["some text of a good many tokens, so that rounding adds up. " * 3])
    kept = []
    hook = model.blocks[1].whole.register_forward_hook(lambda _m, _a, out: kept.append(out))
    found = read_states(model, ids, pooling="mean", layers=[1])
    hook.remove()
    out = kept[0][0] if type(kept[0]) is tuple else kept[0]
    assert found.dtype == torch.float32
    assert out.dtype == torch.bfloat16
    exact = out[0].double().mean(0)
    assert torch.allclose(found[0, 0].double(), exact, atol=1e-5, rtol=1e-6)
    assert not torch.allclose(found[0, 0], found[0, 0].bfloat16().float(), atol=0)


def test_layers_are_those_asked_for_and_in_their_order():
    model = wrapped()
    every = read_states(model, ids_of(model))
    found = read_states(model, ids_of(model), layers=["final", 2, -1, 2])
    assert close(found, every[:, [4, 2, 3, 2]], 0)
    assert not close(every[:, 3], every[:, 4])
    assert close(read_states(model, ids_of(model), layers=["final"]), every[:, 4:], 0)


def test_no_logits_are_made_and_hooks_are_gone(monkeypatch):
    model = wrapped()
    monkeypatch.setattr(model.hf.lm_head, "forward", lambda *_: pytest.fail("logits were made"))
    read_states(model, ids_of(model))
    assert not any(module._forward_hooks for module in model.hf.modules())


def test_a_long_text_does_not_change_the_short_ones_beside_it(monkeypatch):
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0}
    rope |= {"long_factor": [1.0, 2.0, 4.0, 8.0], "short_factor": [1.0] * 4}
    model = wrapped(rope_parameters=rope | {"original_max_position_embeddings": 16})
    texts = [
        "short",
        "a text of more than sixteen bytes",
        "also short",
        "and another one that is long",
    ]
    expected = alone(model, texts)
    assert close(read_states(model, ids_of(model, texts), batch_size=4), expected)
    monkeypatch.setattr(type(model), "rotary_limit", None)  # it would, if they were read together
    assert not close(read_states(model, ids_of(model, texts), batch_size=4), expected)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"pooling": "max"}, UsageError, "'max' is not known: give last or mean"),
        ({"batch_size": 0}, UsageError, "batch_size is 0"),
        ({"layers": [4]}, PairError, "layer 4 is out of range"),
        ({"layers": ["last"]}, SpaceError, "Unknown layer 'last'"),
        ({"ids": [[3], []]}, PromptError, "place 1 has no tokens"),
        ({"ids": [[3] * (CONTEXT + 1)]}, PromptError, f"context of {CONTEXT}"),
    ],
)
def test_refused(changes, error, words):
    given = {"ids": [[3, 4]]} | changes
    with pytest.raises(error, match=words):
        read_states(wrapped(), given.pop("ids"), **given)


def test_no_texts_have_no_states():
    assert read_states(wrapped(), []).shape == (0, 5, 32)


class TestEncoding:
    def test_long_texts_are_cut_behind_and_told(self):
        model = wrapped()
        found = encode_texts(model, ["abcdef", "abc", ""], max_tokens=3)
        assert found.ids == [*encode_texts(model, ["abc", "abc"]).ids, []]
        assert found.cut == [True, False, False]
        whole = encode_texts(model, ["x" * (CONTEXT + 9)])
        assert (len(whole.ids[0]), whole.cut) == (CONTEXT, [True])

    def test_the_chat_template_stays_whole(self):
        model = wrapped()
        with pytest.raises(ModelError, match="no chat template"):
            encode_texts(model, ["a"], chat=True)
        hf, tokenizer = tiny_model("llama")
        tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
        tokenizer.chat_template = CHAT
        model = wrap(hf, tokenizer)
        found = encode_texts(model, ["abcdefgh", "ab"], chat=True, max_tokens=8)
        assert [tokenizer.decode(ids) for ids in found.ids] == ["<abcd>A:", "<ab>A:"]
        assert found.cut == [True, False]
        with pytest.raises(PromptError, match="has 4 tokens without any text, more than the 3"):
            encode_texts(model, ["abcdefgh"], chat=True, max_tokens=3)

    def test_refused(self):
        with pytest.raises(UsageError, match="max_tokens is 0"):
            encode_texts(wrapped(), ["a"], max_tokens=0)


@pytest.mark.parametrize("component", ["attn", "ffn", "block", "neurons"])
def test_other_parts_of_blocks_are_read_at_the_last_token_or_as_a_mean(component):
    model = wrapped()
    texts = [list(range(20, 29)), list(range(40, 45))]
    layers = range(model.n_layers)
    found = read_states(model, texts, layers=layers, component=component, special=True)
    right = capture_ids(model, texts, [component])[component]
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    mean = read_states(model, texts, layers=layers, component=component, pooling="mean")
    at_each = capture_ids(model, [texts[1]], [component], positions=5)[component]
    torch.testing.assert_close(mean[1], at_each[0].mean(1), rtol=1e-4, atol=1e-4)
