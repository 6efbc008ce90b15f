"""`overhead`: counts, plans, the order of rounds, what is called, and what is refused. No times."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import crosslatent as xl
from crosslatent.core.costs import Workload, count, share_left
from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.hardware import MACHINES, SIZES, Shares, planned, shape_of
from crosslatent.core.settings import complete
from crosslatent.studies import answering_ways, overhead_study
from crosslatent.studies.answering_ways import AnsweringWays, timed_rounds
from crosslatent.studies.overhead_record import PHASES, WAYS, WayCost, with_times, workloads
from crosslatent.studies.overhead_settings import OverheadSettings
from support.rows import wrapped

SMALL = {"prompt_tokens": (12,), "batch_sizes": (2,), "max_new_tokens": 3, "pairs": 3}


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def measured(model):
    return xl.overhead(model, repetitions=2, **SMALL)


def test_every_way_is_measured_and_counted(measured):
    assert measured.kind == "measured"
    assert [way.way for way in measured.ways] == list(WAYS)
    vanilla = measured.ways[0]
    for way in measured.ways:
        assert way.seconds.keys() == way.ratios.keys() == way.counted.keys() == set(PHASES)
        assert all(one.low <= one.median <= one.high for one in way.seconds.values())
        assert way.tokens_per_second.low > 0
        assert way.memory_bytes is None or way.memory_bytes >= 0
    assert all(one.median == one.low == one.high == 1 for one in vanilla.ratios.values())
    assert vanilla.expected == pytest.approx(1)
    assert measured.machine["device"] == "cpu"
    assert measured.settings["layer"] == 2


def test_counts_of_the_ways_by_hand(measured, model):
    found = {way.way: way for way in measured.ways}
    # 12 tokens of main, two fed back; aux of 6 and of 24; two prompts.
    tokens = {name: way.tokens for name, way in found.items()}
    same = dict.fromkeys(("vanilla", "engine", "transplant", "steer"), 14)
    # Three pairs of 16: their targets (2, 0, 1) leave 1 - 1/4 of the model for their first token.
    assert tokens == same | {
        "short_aux": 20,
        "long_aux": 38,
        "both_prompts": 28,
        "pairs": 12 + 12 + 3 * (0.75 + 2),
    }
    assert found["transplant"].counted == dict.fromkeys(PHASES, 1)
    assert found["both_prompts"].counted == dict.fromkeys(PHASES, 2)
    assert found["pairs"].counted["new_token"] == 3
    assert found["long_aux"].counted["new_token"] == 1
    shape = shape_of(model.hf.config.to_dict())
    read = count(shape, Workload(read=(24,), answered=(12,)), 3)
    vanilla = count(shape, Workload(answered=(12,)), 3)
    assert found["long_aux"].counted["answer"] == read.total / vanilla.total
    assert measured.parameters == shape.parameters


def test_the_weights_of_a_loaded_model_are_its_own():
    # GPT-NeoX shares no keys, whatever its config states.
    neox = wrapped("gpt_neox")
    linear = sum(weight.numel() for weight in neox.blocks[0].whole.parameters() if weight.ndim == 2)
    assert overhead_study._shape(neox).linear == linear
    assert overhead_study._shape(wrapped()).block_weights == 0


def test_rounds_are_interleaved_and_ratios_are_those_of_a_round():
    called, now = [], [0.0]
    costs = {"a": 1.0, "b": 2.0, "c": 4.0}

    def run(name):
        def work(new_tokens):
            called.append((name, new_tokens))
            # A machine that slows down from call to call.
            now[0] += costs[name] * new_tokens * (1 + len(called))

        return work

    done = []
    found = timed_rounds(
        {name: run(name) for name in costs}, 5, 2, clock=lambda: now[0], done=done.append
    )
    warm = [("a", 2), ("b", 2), ("c", 2)]
    a_round = [(name, tokens) for name in "abc" for tokens in (1, 5)]
    assert called == warm + a_round + a_round
    assert done == [1, 2]
    assert found["a"][0] == (5, 30)
    assert found["b"][1] == (2 * 13, 2 * 5 * 14)


def test_times_are_divided_by_those_of_the_same_round():
    way = WayCost("x", "", 10, 2, 1, 1, {"first_token": 3, "new_token": 1, "answer": 2}, {}, {})
    rounds = {
        "vanilla": [(1.0, 3.0), (2.0, 6.0), (4.0, 8.0)],
        "x": [(3.0, 5.0), (6.0, 10), (8, 16)],
    }
    vanilla, found = with_times({"vanilla": replace(way, way="vanilla"), "x": way}, rounds, 3)
    assert (found.ratios["first_token"].low, found.ratios["first_token"].high) == (2, 3)
    assert found.ratios["new_token"].median == 1
    assert found.seconds["new_token"].high == 4
    assert found.tokens_per_second.median == 2 * 3 / 10
    # A third of vanilla's time three times, and the rest once; in the last round half of it.
    assert found.expected == pytest.approx(median_of((5 / 3, 5 / 3, 2)))
    assert vanilla.ratios["answer"].high == 1


def median_of(values):
    return sorted(values)[1]


def test_a_single_new_token_has_no_second_phase(model):
    found = xl.overhead(model, repetitions=1, **(SMALL | {"max_new_tokens": 1}))
    for way in found.ways:
        assert (
            way.ratios["new_token"] is way.seconds["new_token"] is way.counted["new_token"] is None
        )
        assert way.ratios["answer"] == way.ratios["first_token"]


def answers(run, new_tokens):
    """Rows of new token ids."""
    found = run(new_tokens)
    if isinstance(found, torch.Tensor):
        return found[:, -new_tokens:].tolist()
    return [[list(row.decoded.ids) for row in rows] for rows in found]


def test_the_ways_are_what_their_names_say(model):
    pairs = ((0, 1), (2, 3))
    ways = AnsweringWays(model, 12, 2, pairs, "ffn", 2)
    runs = ways.runs()
    assert runs.keys() == WAYS.keys() == workloads(12, 2, 0.5).keys()
    vanilla = answers(runs["vanilla"], 4)
    assert [row for (row,) in answers(runs["engine"], 4)] == vanilla
    both = answers(runs["both_prompts"], 4)
    assert [row for (row,) in both[::2]] == vanilla
    assert len(both) == 4
    for name, aux in (("transplant", ways.aux), ("short_aux", ways.short), ("long_aux", ways.long)):
        assert answers(runs[name], 4) == by_hand(model, ways.main, aux, 2, 2), name
    for rows, ids, aux in zip(answers(runs["pairs"], 4), ways.main, ways.aux, strict=True):
        assert rows == [by_hand(model, [ids], [aux], *pair)[0] for pair in pairs]
    assert [len(ids) for ids in (*ways.short, *ways.long)] == [6, 6, 24, 24]
    assert answers(runs["steer"], 4) != answers(runs["transplant"], 4)


def test_counts_are_those_of_torch():
    model = wrapped()
    model.hf.set_attn_implementation("eager")
    pairs = ((0, 1), (2, 3), (1, 1))
    runs = AnsweringWays(model, 20, 2, pairs, "ffn", 2).runs()
    shape = shape_of(model.hf.config.to_dict())
    left = share_left([target for _, target in pairs], 4)
    for name, work in workloads(20, 3, left).items():
        runs[name](1)
        with FlopCounterMode(display=False) as counter:
            runs[name](5)
        found = counter.get_flop_counts()["Global"]
        products = sum(flop for kind, flop in found.items() if "bmm" not in str(kind))
        counted = count(shape, work, 5)
        both = counted.prefill + counted.decode
        share = products / (2 * 2 * (both.linear + both.head))
        if name in ("engine", "both_prompts", "pairs"):
            assert 0.8 < share < 1, name  # of the last of 4 blocks, most of the prompt is left out
        else:
            assert share == 1, name


def by_hand(model, mains, auxes, source, target):
    """Answers of the oracle under one transplant."""
    from crosslatent.core.specs import Site
    from crosslatent.engine import oracle
    from crosslatent.interventions.activations import capture_ids

    found = []
    own = model.hf.generation_config.eos_token_id
    model.hf.generation_config.eos_token_id = []
    try:
        for main, aux in zip(mains, auxes, strict=True):
            vector = capture_ids(model, [aux], ["ffn"])["ffn"][0, source]
            row = (xl.Transplant(Site("ffn", target), vector),)
            found += [
                list(one.ids) for one in oracle.run_rows(model, main, [row], max_new_tokens=4)
            ]
    finally:
        model.hf.generation_config.eos_token_id = own
    return found


def test_the_model_is_as_it_was(model):
    hf = model.hf
    hf.train()
    config, ends = hf.generation_config, model.eos_ids
    weights = {name: value.clone() for name, value in hf.state_dict().items()}
    hooks = sum(len(module._forward_hooks) for module in hf.modules())
    try:
        xl.overhead(model, repetitions=1, **SMALL)
        assert all(module.training for module in hf.modules())
    finally:
        hf.eval()
    assert hf.generation_config is config
    assert model.eos_ids == ends
    assert "generate" not in vars(hf)
    assert sum(len(module._forward_hooks) for module in hf.modules()) == hooks
    assert all(torch.equal(value, weights[name]) for name, value in hf.state_dict().items())


def test_memory_is_what_a_call_takes_beside_what_there_was(model):
    held = []
    size = 64 * 2**20
    grown = answering_ways.peak_growth(lambda: held.append(torch.ones(size // 4)), model)
    if grown is None:
        pytest.skip("this system does not let the peak of resident memory start again")
    assert 0.9 * size < grown < 1.5 * size


def test_a_plan_is_that_of_the_machine():
    found = xl.overhead(plan="7B@h200", prompt_tokens=(300,), batch_sizes=(1, 8))
    assert (found.kind, found.model, found.shape) == ("planned", "7B@h200", SIZES["7B"])
    vanilla = found.ways[0]
    expected = planned(
        SIZES["7B"], Workload(answered=(300,)), 20, 1, MACHINES["h200"], Shares(0.4, 0.7)
    )
    assert vanilla.seconds["first_token"].median == expected.first
    assert vanilla.seconds["new_token"].median == pytest.approx(expected.token)
    assert vanilla.memory_bytes == expected.memory
    assert vanilla.waits_for == ("compute", "memory")
    assert any("989 TFLOP/s" in said and "4.8 TB/s" in said for said in found.assumptions)
    half = xl.overhead(plan="7B@h200", prompt_tokens=(300,), batch_sizes=(1,), utilisation=0.2)
    assert half.ways[0].seconds["first_token"].median == 2 * expected.first
    several = xl.overhead(plan="70B@h100", prompt_tokens=(300,), batch_sizes=(1,))
    assert any("up to 2 such devices" in said for said in several.assumptions)


def test_a_folder_is_planned_and_counted_without_being_loaded(tiny_folder):
    asked = {"prompt_tokens": (20,), "batch_sizes": (1,)}
    on_cpu = xl.overhead(tiny_folder, plan="cpu", **asked)
    assert on_cpu.machine["name"] == MACHINES["cpu"].name
    counted = xl.overhead(tiny_folder, dry_run=True, **asked)
    assert counted.kind == "counted"
    assert [way.counted for way in counted.ways] == [way.counted for way in on_cpu.ways]
    assert all(not way.seconds and not way.ratios for way in counted.ways)
    assert counted.shape == on_cpu.shape


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"plan": "9B@h200"}, "'9B@h200'"),
        ({"plan": "7B@abacus"}, "'7B@abacus'"),
        ({"plan": "7B"}, "'7B'"),
        ({"plan": "h200"}, "names no size"),
        ({}, "There is no model"),
        ({"plan": "7B@h200", "dry_run": True}, "--dry-run"),
        ({"plan": "7B@h200", "prompt_tokens": (0,)}, "'prompt tokens' is (0,)"),
        ({"plan": "7B@h200", "prompt_tokens": ()}, "'prompt tokens' is ()"),
        ({"plan": "7B@h200", "batch_sizes": (1, -4)}, "'batch sizes'"),
        ({"plan": "7B@h200", "max_new_tokens": 0}, "'max new tokens' is 0"),
        ({"plan": "7B@h200", "repetitions": 1.5}, "'repetitions' is 1.5"),
        ({"plan": "7B@h200", "pairs": 2000}, "more than the 1,024"),
        ({"plan": "7B@h200", "utilisation": 1.5}, "'utilisation' is 1.5"),
        ({"plan": "7B@h200", "bandwidth_share": 0}, "'bandwidth share' is 0"),
        ({"plan": "7B@h200", "layer": 32}, "32"),
        ({"plan": "7B@h200", "component": "mlp"}, "'mlp'"),
    ],
)
def test_what_cannot_be_is_refused(asked, words):
    with pytest.raises((UsageError, PairError)) as error:
        xl.overhead(**asked)
    assert words in str(error.value)


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(tiny_folder, tmp_path):
    with pytest.raises(UsageError, match="names a size, and there is a model too"):
        xl.overhead(tiny_folder, plan="7B@h200")
    with pytest.raises(UsageError, match="need a context of 80,000"):
        xl.overhead(tiny_folder, prompt_tokens=40_000)
    with pytest.raises(UsageError, match="config.json that can be read"):
        xl.overhead("Qwen/Qwen3-0.6B", plan="h200")
    (tmp_path / "config.json").write_text(json.dumps({"is_encoder_decoder": True}))
    with pytest.raises(UsageError, match="has an encoder"):
        xl.overhead(tmp_path, dry_run=True)


def test_settings_have_the_documented_defaults():
    asked = complete(OverheadSettings, {})
    assert (asked["prompt_tokens"], asked["batch_sizes"]) == ((150, 600), (1, 4))


def test_it_is_written_as_a_page_and_shown_as_a_card(measured, tmp_path):
    files = measured.write(tmp_path / "out")
    assert files[-1].name == "overhead.html"
    page = files[-1].read_text(encoding="utf-8")
    for way in measured.ways:
        assert way.about in page
    assert page.count("<svg") == 3  # the whole answer, and both phases
    assert "counted multiply-adds" in page
    stored = json.loads((tmp_path / "out" / "overhead.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(measured.to_dict()))
    assert len(list((tmp_path / "out" / "figures").glob("*.csv"))) == 3
    assert "answered with 3 pairs" in repr(measured)
    frame = measured.to_pandas()
    assert len(frame) == len(WAYS)
    assert frame["ratios.answer.median"][0] == 1


@pytest.mark.parametrize("asked", [{"plan": "cpu"}, {"dry_run": True}])
def test_pages_of_what_was_not_run(tiny_folder, tmp_path, asked):
    found = xl.overhead(tiny_folder, prompt_tokens=(20,), batch_sizes=(1,), **asked)
    page = found.write(tmp_path)[-1].read_text(encoding="utf-8")
    assert "not measured" in page or "nothing was run" in page
