"""Prefix and prompt tuning answer as a plain computation with the same vectors does."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.methods.method import Bench
from crosslatent.methods.soft_prompts import VIRTUAL
from crosslatent.model import caches, encode_batch
from crosslatent.tasks import Item, Task
from support.rows import ids_of, wrapped

NAMES = ("prefix", "prompt")
FAMILIES = ("llama", "gemma2", "gpt2", "mistral-sliding", "gpt_neox", "opt")
OPTIONS = ("a", "bc", "def")


def bench_of(model, **others):
    learn = tuple(
        Item(
            str(k), "sw", "en", f"swali {'la ' * (k % 3)}{k}:", f"question {k}:",
            answer=OPTIONS[k % 3], options=OPTIONS,
        )
        for k in range(9)
    )  # fmt: skip
    task = Task("toy", "Toy", "", "en->x", "understanding", "option", 4, learn)
    return Bench(model, task, learn, 4, **others)


def way_of(name, bench):
    """Large vectors, so that they change answers."""
    way = METHOD_KINDS[name]().fit(bench, ("sw",), {"lr": 0.1, "epochs": 2}, 0)
    draw = torch.Generator().manual_seed(3)
    for weight in way.state.values():
        weight += torch.randn(weight.shape, generator=draw)
    return way


def plain_logits(name, way, model, ids):
    """Logits of a text after the vectors, pos vocab, without anything of the package."""
    hf = model.hf
    every = torch.arange(VIRTUAL + len(ids))[None]
    with torch.no_grad():
        if name == "prompt":
            own = hf.get_input_embeddings()(torch.tensor([ids]))
            both = torch.cat([way.state["prompt"][None], own], 1)
            return hf(inputs_embeds=both, position_ids=every, use_cache=False).logits[0, VIRTUAL:]
        cache, config = DynamicCache(config=hf.config), hf.config
        n = config.num_hidden_layers
        heads = 2 if config.model_type in ("llama", "gemma2", "mistral") else 4
        flat = way.state["prefix"].view(VIRTUAL, 2 * n, heads, -1)
        for layer in range(n):
            keys, values = (flat[:, 2 * layer + k].transpose(0, 1)[None] for k in (0, 1))
            cache.update(keys, values, layer)
        return hf(
            input_ids=torch.tensor([ids]),
            position_ids=every[:, VIRTUAL:],
            attention_mask=torch.ones_like(every),
            use_cache=True,
            **{caches.cache_name(hf): cache},
        ).logits[0]


def plain_answer(name, way, model, ids, new):
    said = []
    for _ in range(new):
        token = int(plain_logits(name, way, model, [*ids, *said])[-1].argmax())
        if token in model.eos_ids:
            break
        said.append(token)
    return said


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_a_plain_computation(name, family):
    bench = bench_of(wrapped(family))
    model, way = bench.model, way_of(name, bench)
    found = list(way.answers(bench, bench.learn, lambda _: None))
    assert [one.item for one in found] == [item.id for item in bench.learn]
    said = set()
    for item, one in zip(bench.learn, found, strict=True):
        ids = ids_of(model, item.main)
        assert one.record["output_ids"] == plain_answer(name, way, model, ids, 4)
        first = plain_logits(name, way, model, ids)[-1].log_softmax(-1)
        assert one.record["first_logprob"] == pytest.approx(float(first.max()), abs=1e-4)
        top = first.topk(2).values
        assert one.record["first_margin"] == pytest.approx(float(top[0] - top[1]), abs=1e-4)
        assert one.record["path"] == "oracle"
        extra = VIRTUAL if name == "prompt" else 0
        assert one.tokens == len(ids) + len(one.record["output_ids"]) + extra
        said.add(tuple(one.record["output_ids"]))
    assert len(said) > 1


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_a_padded_batch_are_those_of_single_rows(name):
    model = wrapped()
    way = way_of(name, bench_of(model))
    prompts = [ids_of(model, text) for text in ("moja", "moja mbili tatu", "moja mbili")]
    for side in ("left", "right"):
        batch = encode_batch(model, prompts, side)
        with torch.no_grad():
            found, _ = way.begin(model, way.state, batch, batch.ids.shape[1])
        for row, ids in enumerate(prompts):
            mine = found[row, -batch.ids.shape[1] :][batch.mask[row].bool()]
            expected = plain_logits(name, way, model, ids)
            assert torch.allclose(mine, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_scored_as_whole_texts(name):
    bench = bench_of(wrapped())
    model, way = bench.model, way_of(name, bench)
    item = bench.learn[2]
    (found,) = way.answers(bench, [item], lambda _: None)
    ids = ids_of(model, item.main)

    def score(text):
        option = ids_of(model, text)
        whole = plain_logits(name, way, model, [*ids, *option]).log_softmax(-1)
        return sum(float(whole[len(ids) - 1 + k, token]) for k, token in enumerate(option))

    best = max(score(item.answer), score(f" {item.answer}"))
    assert found.record["gold_score"] == pytest.approx(best, abs=1e-3)
    starts = plain_logits(name, way, model, ids)[-1].log_softmax(-1)
    first = {option: float(starts[ids_of(model, option)[0]]) for option in OPTIONS}
    assert found.record["option_logprobs"] == pytest.approx(list(first.values()), abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_question_that_does_not_fit_is_a_failure_of_its_own(name):
    bench = bench_of(wrapped())
    way = way_of(name, bench)
    context = bench.model.context_length
    long = Item("long", "sw", "en", "a" * (context - VIRTUAL), "b", answer="a", options=OPTIONS)
    done = []
    found = list(way.answers(bench, [long, bench.learn[0]], done.append))
    assert "more than the model's context" in found[0].failure
    assert found[1].record["output_ids"] is not None
    assert done == [1.0]


@pytest.mark.parametrize("batch_rows", [1, 2, None])
def test_batches_do_not_change_answers(batch_rows):
    bench = bench_of(wrapped(), batch_rows=batch_rows)
    way = way_of("prefix", bench)
    found = list(way.answers(bench, bench.learn, lambda _: None))
    assert [one.record["output_ids"] for one in found] == [
        plain_answer("prefix", way, bench.model, ids_of(bench.model, item.main), 4)
        for item in bench.learn
    ]


# PEFT hands the cache over by a name that newer versions of transformers call otherwise.
@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", NAMES)
def test_the_library_computes_the_same(name):
    peft = pytest.importorskip("peft")
    model = wrapped()
    way = way_of(name, bench_of(model))
    kinds = {"prefix": peft.PrefixTuningConfig, "prompt": peft.PromptTuningConfig}
    config = kinds[name](task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL)
    theirs = peft.get_peft_model(copy.deepcopy(model.hf), config).eval()
    theirs.prompt_encoder["default"].embedding.weight.data.copy_(way.state[name])
    ids = ids_of(model, "moja mbili")
    with torch.no_grad():
        found = theirs(
            input_ids=torch.tensor([ids]), attention_mask=torch.ones((1, len(ids)), dtype=int)
        ).logits[0, -len(ids) :]
    assert torch.allclose(found, plain_logits(name, way, model, ids), atol=1e-4)


def test_models_that_read_both_ways_are_refused(monkeypatch):
    model = wrapped()
    monkeypatch.setattr("crosslatent.model.model.reads_both_ways", lambda _: True)
    for name in NAMES:
        assert "both directions" in METHOD_KINDS[name]().refusal(bench_of(model))
