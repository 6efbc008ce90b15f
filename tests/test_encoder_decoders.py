"""Transplants in encoder-decoder models: against hooks by hand, under generate, and in a sweep."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

import crosslatent as xl
from crosslatent import engine
from crosslatent.answering.ask import sample
from crosslatent.core.errors import PairError, PromptError
from crosslatent.core.specs import COMPONENTS, EXPANDED_CACHE
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.requests import Request
from support.models import byte_tokenizer
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped
from support.two_stacks import FORCED, tiny_two_stacks, wrapped_stacks

NEW = 4
FREE = {"forced_bos_token_id": None}
PLAIN = {"do_sample": False, "forced_eos_token_id": None, "min_length": 0}


def module_by_hand(hf, family, component, layer):
    """The module of a component, spelled out for two families."""
    if family == "t5":
        block = hf.decoder.block[layer]
        parts = {
            "attn": block.layer[0].SelfAttention,
            "cross_attn": block.layer[1].EncDecAttention,
            "ffn": block.layer[2].DenseReluDense,
        }
    else:
        block = hf.model.decoder.layers[layer]
        parts = {"attn": block.self_attn, "cross_attn": block.encoder_attn, "ffn": block.fc2}
    return {**parts, "attn_residual": parts["attn"], "block": block}[component]


def first(output):
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def hook(module, function):
    handle = module.register_forward_hook(function)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def answer_by_hand(hf, family, component, source, target, start):
    """Greedy ids with a transplant, all of the decoder's tokens in every forward, no cache."""
    main, aux = (torch.tensor([byte_tokenizer()(text)["input_ids"]]) for text in (MAIN, AUX))
    kept, entered = [], []

    def keep(_module, args, output):
        kept.append(first(output)[0, -1].clone())

    def put(_module, _args, output):
        first(output)[0, len(start) - 1] = vector  # in place: the model goes on with it

    block = module_by_hand(hf, family, "block", source)
    seen = block.register_forward_pre_hook(lambda _, args: entered.append(args[0][0, -1].clone()))
    with hook(module_by_hand(hf, family, component, source), keep):
        hf(input_ids=aux, decoder_input_ids=torch.tensor([start]), use_cache=False)
    seen.remove()
    vector = kept[0] + entered[0] if component == "attn_residual" else kept[0]
    ids = list(start)
    with hook(module_by_hand(hf, family, component, target), put):
        for _ in range(NEW):
            decoder = torch.tensor([ids])
            logits = hf(input_ids=main, decoder_input_ids=decoder, use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] == 1:
                return tuple(ids[len(start) : -1])
    return tuple(ids[len(start) :])


@pytest.mark.parametrize(("family", "start"), [("t5", (0,)), ("bart-forced", (1, FORCED))])
@pytest.mark.parametrize("component", COMPONENTS)
def test_answers_are_those_of_hooks_by_hand(family, start, component):
    model = wrapped_stacks(family)
    main = ids_of(model, MAIN)
    rows = all_rows(model, ids_of(model, AUX), [component])[1:]
    ours = [row.ids for row in oracle.run_rows(model, main, rows, max_new_tokens=NEW)]
    pairs = [(i, j) for i in range(4) for j in range(4)]
    theirs = [answer_by_hand(model.hf, family, component, i, j, start) for i, j in pairs]
    assert ours == theirs
    if component != "attn":  # at the start, self-attention sees nothing but the start
        assert len(set(ours)) >= 3


@pytest.mark.parametrize("family", ["t5", "bart-forced", "bart-uneven", "m2m_100"])
def test_the_middle_path_equals_the_oracle_with_several_edits_and_options(family):
    model = wrapped_stacks(family)
    main, aux = ids_of(model, MAIN), ids_of(model, AUX)
    singles = all_rows(model, aux, ["ffn", "cross_attn", "block"])
    rows = [*singles[::3], singles[3] + singles[20]]
    asked = {"max_new_tokens": NEW, "watch": (5, 9), "options": ((5, 9, 40), (8,), (5, 12))}
    slow = oracle.run_rows(model, main, rows, **asked)
    fast = engine.run_rows(model, main, rows, path=EnginePath(EXPANDED_CACHE), **asked)
    # Logits reach 200 here, so that the last bits of float32 are some 1e-4 times as much.
    assert engine.difference(slow, fast, torch.float32) == ""
    assert [row.ids for row in fast] == [row.ids for row in slow]
    assert len({row.ids for row in slow}) >= 4


def test_two_positions_where_the_decoder_begins_with_two_tokens():
    model = wrapped_stacks("bart-forced")
    main, aux = ids_of(model, MAIN), ids_of(model, AUX)
    vectors = xl.capture(model, AUX, "ffn", positions=2)["ffn"]
    alone = all_rows(model, aux, ["ffn"])
    row = alone[7]
    both = (replace(row[0], vector=vectors[1]),)
    asked = {"max_new_tokens": NEW, "watch": (5, 9, 40)}
    slow = oracle.run_rows(model, main, [row, both], **asked)
    fast = engine.run_rows(model, main, [row, both], path=EnginePath(EXPANDED_CACHE), **asked)
    assert_equal(fast, slow)
    assert slow[0].watched != pytest.approx(slow[1].watched, abs=1e-3)
    with pytest.raises(PairError, match="edits the last 2 tokens, but the prompt has 1"):
        oracle.run_rows(wrapped_stacks("bart"), main, [both], **asked)


def test_the_encoder_runs_once_for_all_rows_of_a_prompt(monkeypatch):
    model = wrapped_stacks("t5")
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    path = engine.best_path(model)
    runs = []
    with hook(model.hf.encoder, lambda *_: runs.append(1)):
        request = Request(tuple(ids_of(model, MAIN)), rows)
        list(engine.run(model, [request], max_new_tokens=NEW, path=path))
    assert len(runs) == 1


def generate(model, texts=(MAIN,), **settings):
    return called(model, texts, **settings).sequences.tolist()


def steps(model, **settings):
    """What the steps of `generate` choose by."""
    return torch.stack(called(model, [MAIN], output_logits=True, **settings).logits)


def called(model, texts, **settings):
    read = [ids_of(model, text) for text in texts]
    width = max(map(len, read))
    ids = torch.tensor([each + [0] * (width - len(each)) for each in read])
    mask = (torch.arange(width) < torch.tensor([[len(each)] for each in read])).long()
    settings = {**PLAIN, "max_new_tokens": 6, "return_dict_in_generate": True} | settings
    if "generation_config" in settings:  # all of it in one, or transformers warns
        config = settings.pop("generation_config")
        config.update(**settings)
        settings = {"generation_config": config}
    return model.hf.generate(ids, attention_mask=mask, **settings)


@contextmanager
def patched_by_hand(model, component, vector, target, column):
    """Replaces what a module returns for one column of the decoder's text, in every row."""
    past = [0]

    def count(_module, _args, kwargs):
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        past[0] = 0 if cache is None else cache.get_seq_length()

    def put(_module, _args, output):
        hidden = first(output)
        at = column - past[0]
        if 0 <= at < hidden.shape[1]:
            hidden[:, at] = vector

    handle = model.hf.register_forward_pre_hook(count, with_kwargs=True)
    with hook(module_by_hand(model.hf, "bart", component, target), put):
        yield
    handle.remove()


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize(("forced", "column"), [(None, 0), (FORCED, 1)])
def test_generate_under_patched_equals_hooks_by_hand(forced, column, settings):
    model = wrapped_stacks("mbart", forced_bos_token_id=forced)
    vectors = xl.capture(model, AUX, COMPONENTS)
    usual, changed = steps(model, **settings), 0
    for kind in ("cross_attn", "ffn", "block"):
        with xl.patched(model, vectors, component=kind, source=3, target=1):
            ours = steps(model, **settings)
        with patched_by_hand(model, kind, vectors[kind][3], 1, column):
            assert torch.equal(steps(model, **settings), ours)
        changed += ours.shape != usual.shape or not torch.allclose(ours, usual, atol=1e-2)
    assert changed == 3
    assert torch.equal(steps(model, **settings), usual)


def test_beams_of_several_prompts_take_the_vectors_of_their_own():
    model = wrapped_stacks("mbart")
    texts = [MAIN, "Habari?"]
    vectors = xl.capture(model, [AUX, "News?"], ["block"])
    asked = {"component": "block", "source": 2, "target": 0}
    with xl.patched(model, vectors, **asked):
        together = generate(model, texts, num_beams=3)
    for row, text in enumerate(texts):
        with xl.patched(model, {"block": vectors["block"][row]}, **asked):
            (alone,) = generate(model, [text], num_beams=3)
        assert together[row][: len(alone)] == alone
    assert together != generate(model, texts, num_beams=3)


@pytest.mark.parametrize("where", ["call", "config", "model", "switched off", "own start"])
def test_a_forced_token_counts_wherever_it_is_set(where):
    """The vector lands at the forced token, or at the start token if nothing is forced."""
    model = wrapped_stacks("mbart", **FREE)
    vector = xl.capture(model, AUX, "block")
    forced, column, settings = None, 1, {}
    if where == "call":
        settings = {"forced_bos_token_id": FORCED}
    elif where == "config":
        settings = {"generation_config": GenerationConfig(forced_bos_token_id=FORCED)}
    else:
        forced = FORCED
    if where == "switched off":
        settings, column = {"forced_bos_token_id": None}, 0
    if where == "own start":  # a longer start is continued as it is
        settings, column = {"decoder_input_ids": torch.tensor([[1, 50, 60]])}, 2
    model.hf.generation_config.forced_bos_token_id = forced
    with xl.patched(model, vector, component="block", source=3, target=1):
        ours = steps(model, **settings)
    with patched_by_hand(model, "block", vector["block"][3], 1, column):
        assert torch.equal(steps(model, **settings), ours)
    with patched_by_hand(model, "block", vector["block"][3], 1, 1 - min(column, 1)):
        assert not torch.equal(steps(model, **settings), ours)


def test_a_forced_token_is_no_part_of_the_answer():
    model = wrapped_stacks("mbart")
    (whole,) = generate(model, max_new_tokens=NEW + 2)
    asked = {"main": MAIN, "aux": AUX, "component": "ffn", "source": 0, "target": 0}
    result = xl.transplant(model, max_new_tokens=NEW, **asked)
    assert whole[:2] == [1, FORCED]
    assert list(result.vanilla_ids) == whole[2 : 2 + NEW]
    assert result.main_token == result.aux_token == model.token_text(FORCED)
    assert result.main_length == len(ids_of(model, MAIN))
    # Another language, set where transformers looks for it.
    model.hf.generation_config.forced_bos_token_id = 90
    assert xl.transplant(model, max_new_tokens=NEW, **asked).vanilla_ids != result.vanilla_ids


def test_a_forward_of_ones_own_is_patched_at_the_last_token_that_the_decoder_is_given():
    model = wrapped_stacks("mbart", **FREE)
    vectors = xl.capture(model, AUX, "block")
    ids = torch.tensor([ids_of(model, MAIN)])
    decoder = torch.tensor([[1, 50, 60]])
    asked = {"component": "block", "source": 1, "target": 3}
    with torch.no_grad():
        usual = model.hf(input_ids=ids, decoder_input_ids=decoder).logits[0]
        with xl.patched(model, vectors, **asked):
            found = model.hf(input_ids=ids, decoder_input_ids=decoder).logits[0]
            with pytest.raises(PromptError, match="got nothing to begin with: pass decoder_input"):
                model.hf(input_ids=ids)
    assert torch.equal(found[:2], usual[:2])
    assert not torch.allclose(found[2], usual[2], atol=1e-2)


def test_assistants_are_refused():
    model = wrapped_stacks("mbart", **FREE)
    other = tiny_two_stacks("bart", seed=1)
    for m, texts in ((model, {"assistant_model": other}), (wrapped(), {"assistant_model": other})):
        vectors = xl.capture(m, AUX, "ffn")
        with (
            xl.patched(m, vectors, component="ffn", source=0, target=0),
            pytest.raises(PromptError, match="generate got assistant_model, which puts guessed"),
        ):
            generate(m, **texts)
    vectors = xl.capture(model, AUX, "ffn")
    lookup = GenerationConfig(prompt_lookup_num_tokens=2)
    with (
        xl.patched(model, vectors, component="ffn", source=0, target=0),
        pytest.raises(PromptError, match="generate got prompt_lookup_num_tokens"),
    ):
        generate(model, generation_config=lookup)


def test_a_sweep_with_controls_options_and_samples(tmp_path):
    model = wrapped_stacks("t5")
    items = [
        {
            "id": f"q{n}", "main": f"{MAIN} {n}", "aux": f"{AUX} {n}", "options": ["ab", "cd", "a"],
            "answer": "ab", "cluster": f"c{n}",
        }
        for n in range(3)
    ]  # fmt: skip
    run = xl.sweep(
        model,
        items,
        component=("ffn", "cross_attn"),
        pairs="0:1,3:2",
        controls=("shuffled", "noise", "self", "mean-main", "skip"),
        score_options=True,
        samples=2,
        max_new_tokens=NEW,
        out=tmp_path / "run",
    )
    rows = run.to_pandas()
    assert set(rows.path) == {EXPANDED_CACHE}
    true = rows[(rows.control == "none") & (rows.component == "cross_attn")]
    assert len(true) == 3 * 2
    for row in true.itertuples():
        item = items[int(row.item[1:])]
        alone = xl.transplant(
            model, main=item["main"], aux=item["aux"], component="cross_attn",
            source=int(row.source), target=int(row.target), max_new_tokens=NEW,
        )  # fmt: skip
        assert alone.output == row.output
    assert rows.option_scores.map(len).eq(3).all()
    assert len(rows[rows.control == "skip"]) == 3 * 2 * 2
    assert not run.upper_bound().empty


def test_samples_of_several_prompts_are_those_of_each_alone():
    model = wrapped_stacks("t5")
    prompts = [ids_of(model, text) for text in (MAIN, "Habari?")]
    asked = {"samples": 3, "max_new_tokens": NEW, "temperature": 40.0}  # logits reach 200
    together = list(sample(model, prompts, ["a", "b"], **asked))
    alone = [
        texts
        for prompt, name in zip(prompts, ["a", "b"], strict=True)
        for texts in sample(model, [prompt], [name], **asked)
    ]
    assert together == alone
    assert len({text for texts in together for text in texts}) >= 4


def test_the_touched_token_is_shown_where_it_is():
    from crosslatent.cli.tasks import OPEN, view_prompts
    from crosslatent.tasks import Item

    item = Item("q", "sw", "en", "Mji", "City")
    main, aux = view_prompts(item, wrapped_stacks("t5"), chat=False)
    assert main.marked() == f"3 tokens: M|j|i; the decoder begins with {OPEN}<pad>\u25c0"
    assert (aux.to_dict()["last"], aux.to_dict()["decoder"]) == (0, ("<pad>",))
    (main, _) = view_prompts(item, wrapped(), chat=False)
    assert main.marked() == f"3 tokens: M|j|{OPEN}i\u25c0"
    assert (main.to_dict()["last"], main.decoder) == (2, ())


def test_lm_evaluation_harness_refuses_an_encoder():
    pytest.importorskip("lm_eval")
    from crosslatent.core.errors import ModelError
    from crosslatent.harness.command import Arguments
    from crosslatent.harness.lm import CrosslatentLM

    arguments = Arguments.of({"pretrained": "x"})
    with pytest.raises(ModelError, match="lm-evaluation-harness does not work for encoder-dec"):
        CrosslatentLM(wrapped_stacks("t5"), arguments)
