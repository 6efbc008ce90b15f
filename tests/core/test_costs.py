"""The arithmetic of what a sweep costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from crosslatent.core import costs
from crosslatent.core.costs import Shape, Workload, count, forward, method_cost
from crosslatent.core.errors import UsageError
from crosslatent.core.hardware import MACHINES, SIZES, Machine, Shares, planned, shape_of
from crosslatent.core.pairs import resolve_pairs
from crosslatent.distributed import LARGEST
from crosslatent.model import caches
from crosslatent.sweeps import SweepSpec, plan_sweep
from crosslatent.sweeps.forecast import estimate
from crosslatent.sweeps.work_units import ROWS_TOGETHER
from crosslatent.tasks import Item, task_of
from scripts.scale_designs import LARGE, SLICE_SECONDS, SMALL, designs
from support.models import PLAIN_FAMILIES, tiny_model
from support.rows import wrapped


def test_tokens_of_shared_prompts_and_of_rows_by_themselves():
    # 2 items of 300 tokens, 10 rows each of 20 tokens: half of a row's first token is shared.
    assert costs.tokens_through(600, 20, 20, 0.5) == 600 + 20 * 19.5
    assert costs.tokens_apart(300, 20, 20) == 20 * 319


@pytest.mark.parametrize(
    ("pairs", "left"),
    [("target-first", 1), ("source-last", 0.625), ("all", 0.625), ("0:3,1:3", 0.25)],
)
def test_what_is_left_above_the_edited_block(pairs, left):
    # Of 4 blocks, an edit at the first leaves all 4 to do, one at the last leaves 1.
    targets = [target for _, target in resolve_pairs(pairs, 4).default]
    assert costs.share_left(targets, 4) == left


def test_the_estimate_of_a_sweep_follows_its_pairs():
    model = wrapped()
    items = [Item(id=str(n), lang="sw", aux_lang="en", main="Mji?", aux="City?") for n in range(3)]

    def tokens(pairs):
        plan = plan_sweep(model, task_of(items), SweepSpec(pairs=pairs, max_new_tokens=2))
        return estimate(plan).tokens

    prompts, rows = 3 * len("Mji?City?"), 3 * (2 + 4)
    assert tokens("target-first") == prompts + rows * 2
    assert tokens("source-last") == round(prompts + rows * 1.625)


def test_the_operations_of_a_sweep_are_those_of_its_items():
    items = [
        Item(id=str(n), lang="sw", aux_lang="en", main="Mji?" * (n + 1), aux="City?")
        for n in (0, 2)
    ]
    model = wrapped()
    found = estimate(plan_sweep(model, task_of(items), SweepSpec(pairs="0:1", max_new_tokens=3)))
    shape = shape_of(model.hf.config.to_dict())
    # Feed-forward, vanilla and translate-test; three of four blocks are left for a first token.
    works = [Workload((5,), (main,), forks=3, left=0.75) for main in (4, 12)]
    assert found.flops == sum(count(shape, work, 3).flop for work in works)
    assert f"{found.flops:.1e} floating-point operations" in "\n".join(found.lines())


def test_the_operations_of_other_models_follow_their_parameters():
    model = wrapped("mixtral")
    items = [Item(id="a", lang="sw", aux_lang="en", main="Mji?", aux="City?")]
    found = estimate(plan_sweep(model, task_of(items), SweepSpec(pairs="0:1", max_new_tokens=3)))
    assert found.flops == 2 * found.tokens * found.parameters


def test_no_slice_of_the_page_is_larger_than_those_of_the_code():
    assert LARGEST == ROWS_TOGETHER
    for one in [*designs(SMALL, 700), *designs(LARGE, 100_000)]:
        assert one.rows / one.slices <= LARGEST
        assert (
            one.slices * SLICE_SECONDS >= one.gpu_hours[0] * 3600 / one.model.gpus - SLICE_SECONDS
        )
    everything = designs(LARGE, 100_000)[1]
    assert everything.slices == -(-everything.rows // LARGEST)


def test_attention_is_little_beside_the_weights_of_a_large_model():
    weights = costs.operations(1, 70e9)
    assert weights == 1.4e11
    assert costs.attention_operations(1, 300, 80, 8192) / weights == pytest.approx(0.0056, abs=1e-4)


def test_gpu_hours():
    assert costs.gpu_hours(3.6e18, 1e15, 0.5) == pytest.approx(2)


def test_keys_and_values_of_shared_heads():
    # Llama 70B: 80 layers, 8 heads of 128, bfloat16: 320 KiB a token.
    assert costs.cache_bytes(1, 80, 8 * 128) == 320 * 1024


def test_storage_grows_with_what_is_stored():
    plain = costs.storage(1000, 20, 4)
    assert plain.low < plain.high
    assert costs.storage(2000, 20, 4).low == pytest.approx(2 * plain.low)
    assert costs.storage(1000, 20, 4, scored=True).low > plain.low
    nothing_decoded = costs.storage(1000, 0, 4)
    assert nothing_decoded.low == nothing_decoded.high < plain.low


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 bytes"), (1530, "1.5 kB"), (62e6, "62 MB"), (999.6e6, "1 GB"), (3.2e15, "3200 TB")],
)
def test_sizes_for_people(size, text):
    assert costs.human_bytes(size) == text


def test_operations_of_a_sweep_counted_by_hand():
    shape = Shape(layers=2, hidden=4, intermediate=6, heads=2, kv_heads=1, head_dim=2, vocab=10)

    counted = count(shape, Workload(read=(2,), answered=(3,), forks=4), new_tokens=2)
    both = counted.prefill + counted.decode

    # A block's linear layers: query 4x4, key 4x2, value 4x2, output 4x4, three of 4x6.
    weights = 16 + 8 + 8 + 16 + 3 * 24
    # Tokens: 2 of aux, 3 of main, and for each row half of the last prompt token and one fed back.
    assert both.linear == (2 + 3 + 4 * 1.5) * weights * 2
    # Keys seen: aux 1 + 2, main 1 + 2 + 3, a row half of 3 and then 4; scores and values, 2 heads
    # of 2 numbers each.
    assert both.attention == (3 + 6 + 4 * (1.5 + 4)) * 2 * 2 * 2 * 2
    # Two vectors of logits for each row.
    assert both.head == 4 * 2 * 4 * 10
    assert counted.flop == 2 * (both.linear + both.attention + both.head)


def test_scoring_feeds_no_token_back():
    shape = Shape(layers=1, hidden=1, intermediate=1, heads=1, kv_heads=1, head_dim=1, vocab=1)

    counted = count(shape, Workload(read=(1,), answered=(1,), forks=1), new_tokens=1)

    assert counted.decode.total == 0
    assert counted.prefill.linear == 2.5 * (4 + 3)
    assert counted.prefill.attention == 2.5 * 2


def flops(run):
    """What torch counts of matrix products: of all but attention's, and of those."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    counts = counter.get_flop_counts()["Global"]
    attention = sum(n for op, n in counts.items() if "bmm" in str(op))
    return sum(counts.values()) - attention, attention


@pytest.mark.parametrize("family", [*PLAIN_FAMILIES, "gpt_neox", "phi3", "nemotron", "xglm"])
def test_counts_are_those_of_torch(family):
    # These do not share keys, whatever the config states.
    more = {"num_key_value_heads": 4} if family in ("gpt_neox", "xglm") else {}
    hf, _ = tiny_model(family, **more)
    hf.set_attn_implementation("eager")
    shape = shape_of(hf.config.to_dict())
    ids = torch.randint(3, 100, (1, 9))
    cache = DynamicCache(config=hf.config)

    def answer():
        caches.forward(hf, {"input_ids": ids}, cache, logits_to_keep=1)
        caches.forward(hf, {"input_ids": ids[:, :1]}, cache, logits_to_keep=1)

    plain, attention = flops(lambda: hf(ids, logits_to_keep=1))
    read = forward(shape, 9, logits=1)
    assert plain == 2 * (read.linear + read.head)
    # Torch counts the whole square of a causal prompt, of which a little more than half is needed.
    assert attention == pytest.approx(2 * read.attention * 81 / 45)

    both, _ = flops(answer)
    counted = count(shape, Workload(answered=(9,)), new_tokens=2)
    assert both == 2 * (counted.prefill + counted.decode).linear + 2 * 2 * read.head
    assert shape.parameters <= hf.num_parameters() < 1.05 * shape.parameters


def test_a_decoded_token_sees_all_keys_before_it():
    hf, _ = tiny_model("llama")
    hf.set_attn_implementation("eager")
    ids = torch.randint(3, 100, (1, 9))
    cache = DynamicCache(config=hf.config)
    caches.forward(hf, {"input_ids": ids}, cache)
    _, attention = flops(lambda: caches.forward(hf, {"input_ids": ids[:, :1]}, cache))
    assert attention == 2 * forward(shape_of(hf.config.to_dict()), 1, 9).attention


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 8, "num_attention_heads": 2, "vocab_size": 9}, "'num_hidden_layers'"),
        ({"is_encoder_decoder": True}, "an encoder"),
        ({"num_local_experts": 8}, "experts"),
        ({"text_config": {"moe_num_experts": 8}}, "experts"),
    ],
)
def test_a_config_that_cannot_be_counted_is_refused(config, words):
    with pytest.raises(UsageError, match=words):
        shape_of(config)


def test_sizes_are_those_of_their_names():
    for name, shape in SIZES.items():
        assert shape.parameters / 1e9 == pytest.approx(float(name[:-1]), rel=0.25), name
    assert SIZES["70B"].parameters == pytest.approx(70.55e9, rel=1e-3)
    assert SIZES["7B"].parameters == pytest.approx(6.738e9, rel=1e-3)


def test_what_a_method_costs_beside_the_unmodified_model():
    shape = SIZES["7B"]
    assert method_cost(100, 20, shape=shape).relative == 1
    assert method_cost(100, 20).tokens == 119
    read = method_cost(100, 20, aux=60, shape=shape)
    assert read.tokens == 179
    assert 1.4 < read.relative < 179 / 119  # the head is not wanted of what is only read
    assert method_cost(100, 20, passes=2, shape=shape).relative == 2
    longer = method_cost(100, 20, extra=200)
    assert (longer.tokens, longer.relative) == (319, 319 / 119)
    for wrong in ({"main": 0}, {"new_tokens": 0}, {"passes": 0}, {"aux": -1}):
        with pytest.raises(ValueError, match="above 0"):
            method_cost(**({"main": 1, "new_tokens": 1} | wrong))


def test_a_plan_is_the_longer_of_computing_and_moving():
    shape = SIZES["7B"]
    machine = Machine("one", peak=1e14, bandwidth=1e12, memory=None)
    work, all_of_it = Workload(answered=(1000,)), Shares(1, 1)
    found = planned(shape, work, 11, 1, machine, all_of_it)
    assert found.first == pytest.approx(count(shape, work, 11).prefill.flop / 1e14)
    cache = costs.cache_bytes(1005.5, 32, 4096)
    assert found.token == pytest.approx((2 * shape.moved + cache) / 1e12)
    assert found.limits == ("compute", "memory")
    many = planned(shape, work, 11, 8, machine, all_of_it)
    assert many.token < 2 * found.token  # the weights are read once for all of them
    assert planned(shape, work, 11, 1, machine, Shares(0.5, 0.5)).first == 2 * found.first
    halves = replace(machine, memory=8e9)
    assert planned(shape, work, 11, 1, halves, all_of_it).devices == 2
    assert planned(SIZES["70B"], work, 11, 1, MACHINES["h100"], Shares()).devices == 2
