"""What holds for the time of a call, whatever the user has set, and that it is given back."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

import crosslatent as xl
from crosslatent import contracts, engine
from crosslatent.answering.ask import sample
from crosslatent.answering.gradients import attribute
from crosslatent.core.errors import ModelError, PromptError
from crosslatent.engine import oracle
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.requests import Request
from crosslatent.lens.evaluation.retention import _log_probabilities
from crosslatent.lens.states import read_states
from crosslatent.model.modes import answering, evaluating, generating, plain_settings
from crosslatent.translate import OwnTranslator
from support.models import tiny_model
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped
from support.two_stacks import wrapped_stacks

DROPOUT = {"resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5}


@pytest.fixture(scope="module")
def model():
    return wrapped("gpt2", **DROPOUT)


def train_all(hf):
    hf.train()


def train_embeddings(hf):
    hf.transformer.drop.train()


def train_attention(hf):
    hf.transformer.h[1].attn.attn_dropout.train()
    hf.transformer.h[1].attn.training = True


def train_one_feed_forward(hf):
    hf.transformer.h[2].mlp.dropout.training = True


def train_blocks_but_not_the_root(hf):
    hf.train()
    hf.training = False


MODES = [
    train_all,
    train_embeddings,
    train_attention,
    train_one_feed_forward,
    train_blocks_but_not_the_root,
]


def flags(hf):
    return [module.training for module in hf.modules()]


@contextmanager
def mode(hf, setting):
    setting(hf)
    before = flags(hf)
    assert any(before)
    try:
        yield
        assert flags(hf) == before
    finally:
        hf.eval()


def captured(model):
    return torch.cat([each.flatten() for each in xl.capture(model, AUX).values()])


def transplanted(model):
    one = xl.transplant(
        model, main=MAIN, aux=AUX, component="ffn", source=1, target=2, max_new_tokens=4
    )
    return one.vanilla_ids, one.output_ids


def numbers(decoded):
    return [(row.ids, row.watched, row.scores, row.min_margin) for row in decoded]


def _asked(model):
    rows = all_rows(model, ids_of(model, AUX), ["ffn"])[:3]
    return rows, {"max_new_tokens": 3, "watch": (3, 40), "options": ((5, 6), (7,))}


def by_the_oracle(model):
    rows, asked = _asked(model)
    return numbers(oracle.run_rows(model, ids_of(model, MAIN), rows, **asked))


def by_a_path(name):
    def act(model):
        rows, asked = _asked(model)
        path = engine.EnginePath(name)
        return numbers(engine.run_rows(model, ids_of(model, MAIN), rows, path=path, **asked))

    act.__name__ = name
    return act


def attributed(model):
    found = attribute(model, ids_of(model, MAIN), ids_of(model, AUX), ["attn"])
    return torch.from_numpy(found["attn"])


def sampled(model):
    return list(sample(model, [ids_of(model, MAIN)], ["a"], samples=3, max_new_tokens=4))


def swept(model, **options):
    items = [{"id": "a", "main": MAIN, "aux": AUX, "answer": "x", "options": ["x", "y"]}]
    run = xl.sweep(model, items, pairs="0:1,2:3", max_new_tokens=3, score_options=True, **options)
    rows = run.to_pandas().sort_values(["control", "source", "target"])
    return [tuple(each) for each in rows["option_scores"]]


def swept_exactly(model):
    return swept(model, exact=True)


def settled_in_float32(model):
    rows, _ = _asked(model)
    request = Request(tuple(ids_of(model, MAIN)), tuple(rows), (3, 40))
    breaker = TieBreaker(model, 3)
    (answered,) = engine.run(model, [request], max_new_tokens=3)
    again = breaker.settle(request, answered, [0.0] * len(rows))
    return numbers(again.rows)


def patched_generate(model):
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])
    with xl.patched(model, vectors, component="ffn", source=1, target=2):
        return model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4
        )


def patched_forward(model):
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])
    with xl.patched(model, vectors, component="ffn", source=1, target=2):
        return model.hf(ids).logits.detach()


def lens_states(model):
    return torch.as_tensor(
        read_states(model, [ids_of(model, MAIN), ids_of(model, AUX)], layers=[1])
    )


def retained(model):
    return _log_probabilities(model, [ids_of(model, MAIN), ids_of(model, AUX)])


def translated(model):
    return OwnTranslator(model).translate(["Mji"], "sw", "en")


def checked(model):
    return [(one.contract, one.status) for one in xl.check(model, quick=True)]


ACTS = [
    captured,
    transplanted,
    by_the_oracle,
    by_a_path("shared-prefix"),
    by_a_path("expanded-cache"),
    attributed,
    sampled,
    swept,
    swept_exactly,
    patched_generate,
    patched_forward,
    lens_states,
    retained,
    translated,
    checked,
]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return one == other


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_a_model_in_training_mode_answers_without_dropout(model, act):
    expected = act(model)
    for setting in MODES if act in (captured, by_the_oracle, patched_forward) else MODES[:1]:
        with mode(model.hf, setting):
            assert same(act(model), expected), setting.__name__


def test_dropout_would_have_shown(model):
    ids = torch.tensor([ids_of(model, MAIN)])
    expected = model.hf(ids).logits
    for setting in MODES:
        with mode(model.hf, setting):
            assert not torch.equal(model.hf(ids).logits, expected)


@pytest.mark.parametrize("act", [captured, by_the_oracle, by_a_path("shared-prefix"), attributed])
def test_flags_are_given_back_after_an_exception(model, act):
    def fail(*_args):
        raise ZeroDivisionError

    engine.best_path(model)
    vectors = all_rows(model, ids_of(model, AUX), ["ffn"])
    assert vectors
    for setting in MODES:
        handle = model.blocks[-1].whole.register_forward_pre_hook(fail)
        try:
            with mode(model.hf, setting), pytest.raises(ZeroDivisionError):
                act(model)
        finally:
            handle.remove()


def test_flags_are_the_users_between_the_calls_of_patched(model):
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])
    with xl.patched(model, vectors, component="ffn", source=1, target=2):
        expected = model.hf(ids).logits
        model.hf.train()
        assert torch.equal(model.hf(ids).logits, expected)
        assert all(flags(model.hf))
        with pytest.raises(IndexError):
            model.hf(torch.tensor([[10**6]]))
        assert all(flags(model.hf))
    assert all(flags(model.hf))
    model.hf.eval()
    assert not any(len(module._forward_pre_hooks) for module in model.hf.modules())
    assert not torch.nn.modules.module._has_any_global_hook()


def test_an_encoder_that_generate_runs_is_in_evaluation_mode():
    model = wrapped_stacks("t5", dropout_rate=0.5)
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])

    def generate():
        with xl.patched(model, vectors, component="ffn", source=1, target=2):
            return model.hf.generate(ids, do_sample=False, max_new_tokens=4, output_logits=True,
                                     return_dict_in_generate=True).logits[0]  # fmt: skip

    expected = generate()
    with mode(model.hf, train_all):
        assert torch.equal(generate(), expected)
    with mode(model.hf, lambda hf: hf.get_encoder().train()):
        assert torch.equal(generate(), expected)


def test_gradient_checkpointing_in_training_mode_changes_nothing():
    model = wrapped("llama", attention_dropout=0.5)
    expected = by_the_oracle(model)
    newer = getattr(model.hf, "activation_checkpointing_enable", None)
    (newer or model.hf.gradient_checkpointing_enable)()
    with mode(model.hf, train_all):
        assert same(by_the_oracle(model), expected)
        assert torch.equal(attributed(model), attributed(model))


def test_dropout_of_adapters_is_off():
    peft = pytest.importorskip("peft")
    hf, tokenizer = tiny_model("llama")
    config = peft.LoraConfig(
        r=4, lora_dropout=0.5, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(hf, config)
    model = xl.wrap(adapted, tokenizer)
    expected = by_the_oracle(model)
    adapted.train()
    assert same(by_the_oracle(model), expected)
    assert adapted.training
    with adapted.disable_adapter():
        assert not same(by_the_oracle(model), expected)


class _Merging(nn.Module):
    """Switching modes does more here than setting a flag."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.switched = 0

    def train(self, mode=True):
        self.switched += 1
        return super().train(mode)

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def test_what_a_class_does_on_switching_is_not_done():
    module = _Merging(nn.Dropout(0.5))
    before = module.switched
    with evaluating(module):
        assert torch.equal(module(torch.ones(9)), torch.ones(9))
    assert module.switched == before
    assert module.training
    assert module.inner.training


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: _set(torch.set_default_dtype, torch.get_default_dtype, torch.float64),
    "bfloat16": lambda: _set(torch.set_default_dtype, torch.get_default_dtype, torch.bfloat16),
    "medium": lambda: _set(
        torch.set_float32_matmul_precision, torch.get_float32_matmul_precision, "medium"
    ),
    "high": lambda: _set(
        torch.set_float32_matmul_precision, torch.get_float32_matmul_precision, "high"
    ),
    "gradients": torch.enable_grad,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "device": lambda: torch.device("meta"),
}


@contextmanager
def _set(put, get, value):
    before = get()
    put(value)
    try:
        yield
        assert get() == value
    finally:
        put(before)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "act", [captured, by_the_oracle, by_a_path("shared-prefix"), attributed, sampled, retained],
    ids=lambda act: act.__name__,
)  # fmt: skip
def test_what_the_process_has_set_changes_no_number(model, act, name):
    expected = act(model)
    with SETTINGS[name]():
        found = act(model)
    assert same(found, expected)


@pytest.mark.parametrize("name", ["autocast", "float64", "medium", "inference"])
def test_whole_sweeps_do_not_depend_on_it_either(model, name):
    expected = swept_exactly(model)
    with SETTINGS[name]():
        found = swept_exactly(model)
    assert found == expected


def test_a_coarser_precision_would_have_shown():
    a = torch.randn(256, 256)
    whole = a @ a
    with SETTINGS["medium"]():
        coarse = a @ a
        with plain_settings():
            assert torch.equal(a @ a, whole)
        if torch.equal(coarse, whole):
            pytest.skip("this processor has no bfloat16 products")
        assert torch.equal(a @ a, coarse)


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn.matmul, "fp32_precision"), reason="torch before 2.9"
)
def test_precision_that_is_set_for_one_backend_is_given_back():
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    a = torch.randn(64, 64)
    whole = a @ a
    matmul.fp32_precision = "bf16"
    try:
        with plain_settings():
            assert torch.equal(a @ a, whole)
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before


def test_settings_are_given_back_after_an_exception(model):
    def fail():
        with answering(model.hf):
            assert torch.get_default_dtype() == torch.float32
            raise ZeroDivisionError

    with SETTINGS["medium"](), SETTINGS["float64"](), pytest.raises(ZeroDivisionError):
        fail()


def test_a_model_loaded_in_inference_mode_can_be_attributed(tmp_path):
    hf, tokenizer = tiny_model("llama")
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.inference_mode():
        model = xl.load(tmp_path, device="cpu")
        assert attributed(model).any()
        theirs = copy.deepcopy(hf)
        for weight in theirs.parameters():
            weight.data = weight.data.clone()
        named = {name: nn.Parameter(each.clone(), requires_grad=False)
                 for name, each in theirs.named_parameters()}  # fmt: skip
        for name, each in named.items():
            owner, _, last = name.rpartition(".")
            setattr(theirs.get_submodule(owner), last, each)
    with pytest.raises(ModelError, match="made in torch.inference_mode"):
        attributed(xl.wrap(theirs, tokenizer))


def test_a_users_own_hooks_stay_and_act(model):
    expected = captured(model)
    seen = []

    def double(_module, _args, output):
        seen.append(1)
        return output * 2

    with model.blocks[0].ffn.register_forward_hook(double):
        assert not torch.equal(captured(model), expected)
        assert seen
        assert len(model.blocks[0].ffn._forward_hooks) == 1
    assert torch.equal(captured(model), expected)


def test_the_trial_of_paths_is_made_again_for_other_attention(model):
    first = engine.best_path(model)
    model.hf.set_attn_implementation("eager")
    try:
        state, path = engine.paths._chosen[model.hf]
        engine.best_path(model)
        assert engine.paths._chosen[model.hf][0] != state
        assert path == first
    finally:
        model.hf.set_attn_implementation("sdpa")


def test_the_identity_is_that_of_now(tmp_path):
    peft = pytest.importorskip("peft")
    hf, tokenizer = tiny_model("llama")
    adapted = peft.get_peft_model(
        hf, peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    model = xl.wrap(adapted, tokenizer)
    assert model.identity_now == model.identity
    with adapted.disable_adapter():
        assert model.identity_now != model.identity
        assert model.identity_now["active_adapters"] == []
    assert model.identity_now == model.identity
    items = [{"id": "a", "main": MAIN, "aux": AUX}]
    again = {"pairs": "0:0", "max_new_tokens": 2, "out": tmp_path / "run"}
    xl.sweep(model, items, **again)
    with adapted.disable_adapter(), pytest.raises(xl.CrosslatentError, match="adapters"):
        xl.sweep(model, items, **again)
    with torch.no_grad():
        model.hf.get_input_embeddings().weight.mul_(2)
    with pytest.raises(xl.CrosslatentError, match="weights_hash"):
        xl.sweep(model, items, **again)


NOT_NEUTRAL = {
    "repetition_penalty": 1.7,
    "num_beams": 3,
    "suppress_tokens": list(range(60, 200)),
    "begin_suppress_tokens": list(range(30, 250)),
    "no_repeat_ngram_size": 1,
    "min_new_tokens": 2,
    "forced_eos_token_id": 1,
    "bad_words_ids": [[token] for token in range(40, 220)],
    "sequence_bias": [[[token], -40.0] for token in range(40, 220)],
    "do_sample": True,
    "temperature": 3.0,
    "return_dict_in_generate": True,
    "guidance_scale": 2.5,
    "exponential_decay_length_penalty": [0, 5.0],
    "renormalize_logits": True,
    "max_length": 3,
    "num_return_sequences": 1,
    "stop_strings": ["a"],
    "cache_implementation": "static",
    "prompt_lookup_num_tokens": 3,
    "watermarking_config": {"bias": 30.0, "greenlist_ratio": 0.5},
}


@pytest.mark.parametrize("name", NOT_NEUTRAL)
def test_check_compares_with_neutral_settings(name):
    model = wrapped()
    setattr(model.hf.generation_config, name, NOT_NEUTRAL[name])
    outcome = contracts.run("generate", contracts.subject_of(model))
    assert (outcome.status, outcome.reason) == ("passed", "")
    assert getattr(model.hf.generation_config, name) == NOT_NEUTRAL[name]


@pytest.mark.parametrize("name", ["repetition_penalty", "num_beams", "suppress_tokens",
                                  "min_new_tokens", "no_repeat_ngram_size"])  # fmt: skip
@pytest.mark.parametrize("family", ["t5", "mbart"])
def test_check_of_two_stacks_compares_with_neutral_settings(family, name):
    model = wrapped_stacks(family)
    setattr(model.hf.generation_config, name, NOT_NEUTRAL[name])
    found = _generate_two(model)
    setattr(model.hf.generation_config, name, None)
    assert found == _generate_two(model)


def _generate_two(model):
    return contracts.guarantees._generated(contracts.subject_of(model))


@pytest.mark.parametrize("name", ["repetition_penalty", "num_beams", "suppress_tokens",
                                  "do_sample", "bad_words_ids", "max_length"])  # fmt: skip
def test_answers_do_not_hang_on_generation_settings(model, name):
    acts = (transplanted, sampled, swept, translated)
    expected = [act(model) for act in acts]
    own = copy.deepcopy(model.hf.generation_config)
    setattr(model.hf.generation_config, name, NOT_NEUTRAL[name])
    try:
        for act, right in zip(acts, expected, strict=True):
            assert same(act(model), right)
    finally:
        model.hf.generation_config = own


def test_the_generation_config_is_given_back_after_an_exception(model):
    own = model.hf.generation_config
    with pytest.raises(ZeroDivisionError), generating(model.hf, copy.deepcopy(own)):
        raise ZeroDivisionError
    assert model.hf.generation_config is own


def test_guessed_tokens_of_the_models_own_settings_are_refused(model):
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])
    model.hf.generation_config.prompt_lookup_num_tokens = 3
    try:
        with (
            xl.patched(model, vectors, component="ffn", source=1, target=2),
            pytest.raises(PromptError, match="prompt_lookup_num_tokens"),
        ):
            model.hf.generate(ids, max_new_tokens=3)
    finally:
        model.hf.generation_config.prompt_lookup_num_tokens = None


def test_nothing_is_held_where_nothing_is_set(model):
    with nullcontext(), answering(model.hf):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    with answering(model.hf, gradients=True):
        assert torch.is_grad_enabled()
