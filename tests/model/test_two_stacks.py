"""Encoder-decoders and models that see images: the decoder is found, and nothing else touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import crosslatent as xl
from crosslatent import engine
from crosslatent.contracts import Subject
from crosslatent.core.errors import ModelError, PairError, PromptError
from crosslatent.engine import oracle
from crosslatent.engine.prefill import prefill
from crosslatent.model import encode_batch
from support.models import byte_tokenizer, save_tiny, tiny_model
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped
from support.two_stacks import (
    BLOCKS,
    BOTH_WAYS,
    FORCED,
    SEEING,
    TWO_STACKS,
    has_type,
    tiny_two_stacks,
    wrapped_stacks,
)

DECODERS = ("decoder.", "model.decoder.", "model.language_model.", "model.text_model.")
ODD = ("t5", "bart-forced", "qwen2_vl", "idefics3", "paligemma")


@pytest.fixture
def hooked(monkeypatch):
    """Every module that anything hooks from here on."""
    seen: set[nn.Module] = set()
    for name in ("register_forward_hook", "register_forward_pre_hook"):
        usual = getattr(nn.Module, name)

        def noted(self, *args, _usual=usual, **kwargs):
            seen.add(self)
            return _usual(self, *args, **kwargs)

        monkeypatch.setattr(nn.Module, name, noted)
    return seen


@pytest.mark.parametrize("family", TWO_STACKS)
def test_blocks_are_those_of_the_decoder(family):
    """The other stack has as many blocks of the same shape."""
    if not has_type(family):
        pytest.skip(f"this version of transformers has no {family}")
    model = wrapped_stacks(family)
    paths = {module: path for path, module in model.hf.named_modules()}
    lists = [m for m in model.hf.modules() if isinstance(m, nn.ModuleList) and len(m) == BLOCKS]
    assert len(lists) > 1 or "uneven" in family
    for block in model.blocks:
        parts = [block.whole, block.attn, block.ffn, *filter(None, [block.cross_attn])]
        assert all(paths[part].startswith(DECODERS) for part in parts)
        assert (block.cross_attn is not None) == model.has_encoder
    assert len(model.blocks) == BLOCKS


@pytest.mark.parametrize("family", ODD)
def test_nothing_hooks_the_other_stack(family, hooked):
    hf = tiny_two_stacks(family)
    model = xl.wrap(hf, byte_tokenizer())
    subject = Subject.of(model)
    vectors = subject.vectors(subject.aux, model.components)
    rows = subject.rows(model.components)[::7]
    engine.run_rows(model, subject.main, rows, max_new_tokens=2)
    ids = torch.tensor([subject.main])
    for kind in model.components:
        with xl.patched(model, vectors, component=kind, source=1, target=2):
            hf.generate(ids, max_new_tokens=2)
    others = [path for path, module in hf.named_modules() if module in hooked and path]
    # Around the blocks the probe looks for the final norm; the head is shared by nobody.
    assert len(others) > 3 * BLOCKS
    assert [path for path in others if not path.startswith((*DECODERS, "lm_head"))] == []


def encoder_states(hf, ids):
    return hf.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


@pytest.mark.parametrize("family", ["t5", "bart"])
@torch.no_grad()
def test_an_encoder_is_the_same_under_a_transplant_and_its_blocks_are_not_what_is_captured(family):
    model = wrapped_stacks(family)
    ids = torch.tensor([ids_of(model, MAIN)])
    usual = encoder_states(model.hf, ids)
    vectors = xl.capture(model, AUX, model.components)
    for kind in model.components:
        with xl.patched(model, vectors, component=kind, source=3, target=0):
            assert torch.equal(encoder_states(model.hf, ids), usual)
    # What an encoder's block returns is lost on a capture of attention, unless it is the last:
    # it comes in through the decoder's cross-attention alone.
    before = xl.capture(model, AUX, ["attn"])["attn"][0]
    assert torch.equal(before, xl.capture(model, MAIN, ["attn"])["attn"][0])
    cross = [xl.capture(model, text, ["cross_attn"])["cross_attn"][0] for text in (MAIN, AUX)]
    assert not torch.allclose(*cross, atol=1e-3)


def test_a_vision_tower_that_is_broken_changes_nothing():
    model, broken = wrapped_stacks("llava"), wrapped_stacks("llava")
    with torch.no_grad():
        for weight in broken.hf.model.vision_tower.parameters():
            weight.fill_(torch.nan)
    asked = {"main": MAIN, "aux": AUX, "component": "ffn", "source": 1, "target": 2}
    assert xl.transplant(broken, **asked) == xl.transplant(model, **asked)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"attn": "encoder_attn", "cross_attn": "self_attn"}, "'self_attn' is not given the enc"),
        ({"cross_attn": "fc2", "ffn": "encoder_attn"}, "feed-forward|'fc2' is not given the enc"),
        ({"attn": "encoder_attn"}, "differs from the block's output"),
        ({"cross_attn": "fc1"}, r"cross-attention 'fc1' gives .1, 3, 64."),
        ({"blocks": "model.encoder.layers"}, "no module of it has a name that is usual for cross"),
        ({"cross_attn": "attention"}, "Block 0 of MBart.* has no 'attention': its children are"),
    ],
)
def test_modules_that_are_named_wrongly_are_refused(modules, says):
    """Its blocks add modules to the stream as it is, so that their order does not show."""
    with pytest.raises(ModelError, match=says):
        xl.wrap(tiny_two_stacks("mbart"), byte_tokenizer(), modules=modules)


def test_a_decoder_without_a_start_token_is_refused():
    hf = tiny_two_stacks("t5")
    hf.config.decoder_start_token_id = hf.generation_config.decoder_start_token_id = None
    with pytest.raises(ModelError, match="T5.* does not say what its decoder starts with .*None"):
        xl.wrap(hf, byte_tokenizer())
    hf.generation_config.decoder_start_token_id = 0
    assert xl.wrap(hf, byte_tokenizer()).decoder_reads([5, 6]) == (0,)


def test_what_the_decoder_reads():
    assert list(wrapped().decoder_reads([5, 6])) == [5, 6]
    assert wrapped_stacks("bart-forced").decoder_reads([5, 6]) == (1, FORCED)


def test_cross_attention_is_refused_where_there_is_none(tmp_path):
    model = wrapped()
    says = "LlamaForCausalLM has no 'cross_attn'.* use one of attn, ffn, attn_residual, block"
    asked = {"component": "cross_attn", "source": 0, "target": 0}
    for act in (
        lambda: xl.capture(model, AUX, "cross_attn"),
        lambda: xl.transplant(model, main=MAIN, aux=AUX, **asked),
        lambda: xl.sweep(model, [{"main": "a", "aux": "b"}], component="cross_attn", out=tmp_path),
        lambda: xl.patched(model, {"cross_attn": torch.zeros(4, 32)}, **asked).__enter__(),
    ):
        with pytest.raises(PairError, match=says):
            act()
    assert list(tmp_path.iterdir()) == []


def test_more_tokens_than_the_decoder_reads_are_refused():
    one, two = wrapped_stacks("t5"), wrapped_stacks("bart-forced")
    with pytest.raises(PromptError, match="last 2 tokens where a prompt has 1"):
        xl.capture(one, AUX, positions=2)
    vectors = xl.capture(two, AUX, "ffn", positions=2)["ffn"]
    assert vectors.shape == (4, 2, 32)
    alone = xl.capture(two, AUX, "ffn")["ffn"]
    assert torch.allclose(vectors[:, 1], alone, atol=1e-5)
    assert not torch.allclose(vectors[:, 0], alone, atol=1e-2)


def test_lengths_of_both_stacks_are_checked():
    model = wrapped_stacks("bart-forced")
    asked = {"aux": AUX, "component": "ffn", "source": 0, "target": 0}
    xl.transplant(model, main="x" * 256, max_new_tokens=5, **asked)
    with pytest.raises(PromptError, match="main prompt has 257 tokens, more than the 256 that"):
        xl.transplant(model, main="x" * 257, **asked)
    with pytest.raises(PromptError, match="may have 257 tokens.*ask for 254 at most"):
        xl.transplant(model, main="x", max_new_tokens=255, **asked)


def test_the_side_of_padding_does_not_reach_an_encoder_that_counts_columns():
    model = wrapped_stacks("bart")
    prompts = [ids_of(model, text) for text in (MAIN, "Habari?")]
    batch = encode_batch(model, prompts, "left")
    ids, mask = batch.encoder
    assert ids[1, :7].tolist() == prompts[1]
    assert mask.sum(1).tolist() == [len(prompt) for prompt in prompts]
    assert batch.ids.tolist() == [[1], [1]]


def test_folders_are_loaded_by_the_class_that_they_are_of(tmp_path):
    for family, name in (
        ("t5", "T5ForConditionalGeneration"),
        ("mbart", "MBartForConditionalGeneration"),
        ("llava", "LlavaForConditionalGeneration"),
        ("gemma3", "Gemma3ForConditionalGeneration"),
    ):
        hf = tiny_two_stacks(family)
        folder = tmp_path / family
        hf.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        model = xl.load(folder, dtype="float32")
        assert type(model.hf).__name__ == name
        batch = encode_batch(model, [ids_of(model, MAIN)])
        usual = prefill(xl.wrap(hf, byte_tokenizer()), batch).logits
        assert torch.allclose(prefill(model, batch).logits, usual, atol=1e-3)


def test_a_decoder_that_is_saved_alone_stays_a_decoder(tmp_path):
    config = tiny_two_stacks("bart").config
    config.is_encoder_decoder = False
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "bart")
    byte_tokenizer().save_pretrained(tmp_path / "bart")
    model = xl.load(tmp_path / "bart")
    assert type(model.hf).__name__ == "BartForCausalLM"
    assert not model.has_encoder
    assert type(xl.load(save_tiny(tmp_path / "text", "gemma3_text")).hf).__name__ == (
        "Gemma3ForCausalLM"
    )


def test_encoders_of_something_else_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "model")
    AutoConfig.for_model("whisper").save_pretrained(folder)
    with pytest.raises(ModelError, match="'whisper' is an encoder-decoder that does not read text"):
        xl.load(folder)


def test_attribution_and_others_refuse_in_a_sentence(tmp_path):
    from crosslatent.translate import OwnTranslator

    model = wrapped_stacks("t5")
    items = [{"main": "a", "aux": "b"}]
    with pytest.raises(ModelError, match="Attribution does not work for encoder-decoder models"):
        xl.sweep(model, items, attribution=True, out=tmp_path)
    with pytest.raises(ModelError, match="Asking the model itself for translations does not work"):
        OwnTranslator(model)
    with pytest.raises(ModelError, match="Attribution does not work for PaliGemma"):
        xl.sweep(wrapped_stacks("paligemma"), items, attribution=True, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", BOTH_WAYS)
def test_prompts_that_are_read_both_ways(family):
    """Whatever the attention function is: without token types they would differ."""
    ids = torch.tensor([ids_of(wrapped(), MAIN)])
    model = wrapped_stacks(family)
    options = ((5, 9, 40), (8,))
    asked = {"max_new_tokens": 4, "watch": (5, 8), "options": options}
    rows = all_rows(model, ids_of(model, AUX), ["attn"])[:4]
    (first, *others) = oracle.run_rows(model, ids[0].tolist(), rows, **asked)
    assert len({row.watched for row in (first, *others)}) > 1
    # The option is read with the prompt in one, and the answer step by step.
    assert first.scores[1] == pytest.approx(first.watched[1], abs=1e-4)
    step = prefill(model, encode_batch(model, ids.tolist()))
    total = 0.0
    for token in options[0]:
        total += float(step.logits.log_softmax(-1)[0, token])
        step.feed(torch.tensor([token]))
    assert first.scores[0] == pytest.approx(total, abs=1e-3)
    seen = []
    for last in (30, 31):
        changed = torch.cat([ids, torch.tensor([[last]])], -1)
        batch = encode_batch(model, changed.tolist())
        ((_, inputs),) = batch.parts(chunk=2)
        seen.append(model.hf(**inputs).logits[0, :-1])
    assert not torch.allclose(*seen, atol=1e-2)


def test_paligemma_gives_the_same_with_any_attention_function():
    one, other = tiny_two_stacks("paligemma"), tiny_two_stacks("paligemma")
    one.set_attn_implementation("eager")
    other.set_attn_implementation("sdpa")
    vectors = [xl.capture(xl.wrap(hf, byte_tokenizer()), AUX)["ffn"] for hf in (one, other)]
    assert torch.allclose(*vectors, atol=1e-4)


def test_ordinary_models_are_not_said_to_read_both_ways():
    assert not any(wrapped_stacks(name).reads_both_ways for name in SEEING if name == "gemma3")
    assert not xl.wrap(*tiny_model("gemma")).reads_both_ways
