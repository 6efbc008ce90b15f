"""Controls follow their rules: one donor per item and stratum, seeded noise, means of others."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace

import pytest
import torch

from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.specs import CONTROLS, FEWER_ATTEMPTS, PART_CONTROLS, check_controls
from crosslatent.interventions.activations import capture, capture_ids
from crosslatent.sweeps import vectors as capturing
from crosslatent.sweeps.control import Donors, Variant
from crosslatent.sweeps.control import _described as described_kind
from crosslatent.sweeps.vectors import Vectors
from crosslatent.tasks import Item
from support.rows import ids_of, wrapped

KINDS = ("attn", "ffn")


def item(number, lang="sw", answer=None, split="pilot", cluster=None):
    return Item(
        id=f"{lang}-{number}",
        lang=lang,
        aux_lang="en",
        main=f"Swali {lang} {number}:",
        aux=f"Question {number}:",
        answer=f"({number % 3 + 1})" if answer is None else answer,
        options=("(1)", "(2)", "(3)"),
        cluster=cluster or f"fact-{number}",
        split=split,
    )


ITEMS = [item(n, lang) for lang in ("sw", "hi") for n in range(9)]


@pytest.fixture(scope="module")
def model():
    return wrapped()


def tokens_of(model, items):
    return {one.id: (ids_of(model, one.main), ids_of(model, one.aux)) for one in items}


def vectors_of(model, items, seed=0, **settings):
    donors = Donors(items, seed)
    return Vectors(model, donors, tokens_of(model, items), KINDS, seed=seed, **settings)


def variants_of(items, one, controls, seed=0):
    return Donors(items, seed).variants(one, controls)


@pytest.fixture(scope="module")
def vectors(model):
    return vectors_of(model, ITEMS)


def variant_of(one, control, stratum=None, seed=0):
    return next(
        variant
        for variant in variants_of(ITEMS, one, CONTROLS, seed)
        if variant.control == control and variant.stratum == stratum
    )


def test_donors_are_of_the_same_languages_and_of_their_stratum():
    by_id = {one.id: one for one in ITEMS}
    for one in ITEMS:
        same = by_id[variant_of(one, "shuffled", "same_answer").donor]
        other = by_id[variant_of(one, "shuffled", "different_answer").donor]
        assert same.answer == one.answer != other.answer
        assert same.lang == other.lang == one.lang
        assert same.cluster != one.cluster


def test_a_donor_is_never_the_same_fact_and_never_of_another_split():
    items = [item(0), item(3, cluster="fact-0"), item(6, split="final"), item(1)]
    found = {v.stratum: v.donor for v in variants_of(items, items[0], ["shuffled"])}
    # Items 3 and 6 have its answer, but one is the same fact and the other of another split.
    assert found == {None: None, "different_answer": "sw-1"}


def test_a_symbol_with_another_text_behind_it_is_no_same_answer():
    animals, places = ("mammal", "bird", "fish"), ("Asia", "Africa", "Europe")
    items = [replace(item(n, answer="(1)"), labels=animals if n < 2 else places) for n in range(4)]
    found = {v.stratum: v.donor for v in variants_of(items, items[0], ["shuffled"])}
    assert found[None] is None
    assert found["same_answer"] == "sw-1"
    assert found["same_symbol"] in ("sw-2", "sw-3")
    assert "different_answer" not in found


def test_donors_differ_between_seeds_and_not_between_calls():
    def donors(seed):
        return [variant_of(one, "shuffled", "different_answer", seed).donor for one in ITEMS]

    assert donors(0) == donors(0)
    assert donors(0) != donors(1)


def test_items_without_gold_answers_have_one_stratum():
    items = [replace(one, answer=None, options=None) for one in ITEMS[:4]]
    found = variants_of(items, items[0], ["shuffled"])
    assert [variant.stratum for variant in found] == [None, "any"]


def label_of(one):
    labelled = one.options is not None and one.labels is not None
    return dict(zip(one.options, one.labels, strict=True))[one.answer] if labelled else one.answer


def plain_draws(items, one, seed):
    """Stratum -> donor, by the definition."""
    others = [
        other
        for other in items
        if (other.lang, other.aux_lang, other.split) == (one.lang, one.aux_lang, one.split)
        and other.cluster != one.cluster
        and (other.aux, other.shots) != (one.aux, one.shots)
    ]
    alike = [o for o in others if None is not one.answer == o.answer]
    strata = {
        "same_answer": [o.id for o in alike if label_of(o) == label_of(one)],
        "same_symbol": [o.id for o in alike if label_of(o) != label_of(one)],
        "different_answer": [
            o.id for o in others if None not in (one.answer, o.answer) and o.answer != one.answer
        ],
        "any": [o.id for o in others if one.answer is None],
    }
    return {
        stratum: random.Random(f"{seed}/{one.id}/{stratum}").choice(sorted(ids))
        for stratum, ids in strata.items()
        if ids
    }


@pytest.mark.parametrize("case", range(60))
def test_draws_are_those_of_the_definition(case):
    chance = random.Random(case)
    answers = ["(1)", "(2)", "(3)", None][: chance.randint(1, 4)]
    items = [
        replace(
            item(n, chance.choice(["sw", "hi"]), split=chance.choice(["pilot", "unseen", None])),
            answer=chance.choice(answers),
            aux=f"Question {chance.randrange(60)}:",
            cluster=f"fact-{chance.randrange(60)}",
            labels=chance.choice([None, ("a", "b", "c"), ("b", "a", "c")]),
        )
        for n in chance.sample(range(1000), chance.randint(2, 80))
    ]
    found = Donors(items, seed=case)
    for one in items * 2:
        drawn = found.variants(one, ["shuffled"])[1:]
        assert {v.stratum: v.donor for v in drawn} == plain_draws(items, one, case)


def test_what_is_kept_of_draws_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr("crosslatent.sweeps.control.KEPT", 5)
    found = Donors(ITEMS)
    first = [found.variants(one, CONTROLS) for one in ITEMS]
    assert len(found._kept) == 5
    found.variants(ITEMS[-1], CONTROLS).clear()
    assert [pickle.loads(pickle.dumps(found)).variants(one, CONTROLS) for one in ITEMS] == first
    assert [found.variants(one, CONTROLS) for one in ITEMS] == first
    assert found.variants(ITEMS[0], ()) == [Variant("none")]
    changed = replace(ITEMS[0], answer=None)
    assert [v.stratum for v in found.variants(changed, ["shuffled"])] == [None, "any"]


def test_shuffled_vectors_are_the_donors(model, vectors):
    one = ITEMS[0]
    variant = variant_of(one, "shuffled", "same_answer")
    donor = next(other for other in ITEMS if other.id == variant.donor)
    expected = capture_ids(model, [ids_of(model, donor.aux)], KINDS)
    for kind in KINDS:
        assert torch.allclose(vectors.layers(one, variant, kind), expected[kind][0], atol=1e-5)


def test_self_vectors_come_from_main(model, vectors):
    one = ITEMS[0]
    expected = capture_ids(model, [ids_of(model, one.main)], KINDS)
    got = vectors.layers(one, Variant("self"), "ffn")
    assert torch.allclose(got, expected["ffn"][0], atol=1e-5)


def test_noise_has_the_true_norm_and_one_draw_per_source(model, vectors):
    one = ITEMS[0]
    true = vectors.layers(one, Variant("none"), "attn")
    noise = vectors.layers(one, Variant("noise"), "attn")
    assert torch.allclose(noise.norm(dim=-1), true.norm(dim=-1), rtol=1e-4)
    assert torch.equal(noise, vectors.layers(one, Variant("noise"), "attn"))
    cosine = torch.nn.functional.cosine_similarity(noise, true, dim=-1)
    assert cosine.abs().max() < 0.8
    other = vectors_of(model, ITEMS, seed=1).layers(one, Variant("noise"), "attn")
    assert not torch.allclose(noise, other)
    # Different sources, items and components get different draws.
    directions = [
        noise[0],
        noise[1],
        vectors.layers(one, Variant("noise"), "ffn")[0],
        vectors.layers(ITEMS[1], Variant("noise"), "attn")[0],
    ]
    unit = torch.stack([vector / vector.norm() for vector in directions])
    assert (unit @ unit.T - torch.eye(4)).abs().max() < 0.95


def test_the_mean_leaves_the_item_itself_out(vectors):
    pool = [one for one in ITEMS if one.lang == "sw"]
    true = torch.stack([vectors.layers(one, Variant("none"), "ffn") for one in pool])
    mean = vectors.layers(pool[2], Variant("mean"), "ffn")
    others = torch.cat([true[:2], true[3:]]).mean(0)
    assert torch.allclose(mean, others, atol=1e-5)


def test_an_item_with_the_same_aux_prompt_is_neither_donor_nor_part_of_the_mean(model):
    items = [item(n) for n in range(4)]
    items[3] = replace(items[3], aux=items[0].aux, answer="(2)")
    vectors = vectors_of(model, items)
    donors = {v.stratum: v.donor for v in variants_of(items, items[0], ["shuffled"])}
    assert donors["different_answer"] in ("sw-1", "sw-2")
    others = [vectors.layers(items[n], Variant("none"), "ffn") for n in (1, 2)]
    mean = vectors.layers(items[0], Variant("mean"), "ffn")
    assert torch.allclose(mean, torch.stack(others).mean(0), atol=1e-5)


def test_mean_main_is_of_the_main_prompts_of_the_other_facts(model, vectors):
    pool = [one for one in ITEMS if one.lang == "sw"]
    found = vectors.layers(pool[2], Variant("mean-main"), "ffn")
    others = [ids_of(model, one.main) for one in (*pool[:2], *pool[3:])]
    assert torch.allclose(found, capture_ids(model, others, KINDS)["ffn"].mean(0), atol=1e-5)
    assert not torch.allclose(found, vectors.layers(pool[2], Variant("mean"), "ffn"), atol=1e-2)
    assert CONTROL_KINDS["mean-main"].__module__.endswith("controls.mean_main")


@pytest.mark.parametrize("positions", [1, 2])
def test_skip_is_zero_at_each_target_layer_once(model, positions):
    vectors = vectors_of(model, ITEMS, positions=positions)
    for kind in KINDS:
        found = vectors.layers(ITEMS[0], Variant("skip"), kind)
        assert found.shape == vectors.layers(ITEMS[0], Variant("none"), kind).shape
        assert not found.any()
    skip = Donors(ITEMS).control("skip")
    assert skip.pairs([(0, 2), (1, 2), (3, 0)]) == [(2, 2), (0, 0)]


def test_controls_with_fewer_attempts_are_those_that_say_so():
    fewer = {name for name in CONTROL_KINDS if not CONTROL_KINDS[name].every_pair}
    assert fewer == FEWER_ATTEMPTS
    said = [described_kind(CONTROL_KINDS[name]) for name in ("skip", "mean-main")]
    assert said == [{"knows_answer": False, "every_pair": False}, {"knows_answer": False}]


def test_a_pool_of_one_has_neither_mean_nor_donor():
    alone = [item(0)]
    found = variants_of(alone, alone[0], (*CONTROLS, "mean-main"))
    assert [variant.control for variant in found] == ["none", "noise", "self"]


def test_a_paraphrase_is_the_same_question_in_the_same_language(model):
    both = [replace(item(0), paraphrase="Nini? Mji 0"), item(1)]
    vectors = vectors_of(model, both, paraphrase=lambda one: ids_of(model, one.paraphrase))
    kinds = [[v.control for v in variants_of(both, one, ["paraphrase"])] for one in both]
    assert kinds == [["none", "paraphrase"], ["none"]]  # only where the data has one
    found = vectors.layers(both[0], Variant("paraphrase"), "ffn")
    assert torch.allclose(found, capture(model, "Nini? Mji 0", ["ffn"])["ffn"], atol=1e-5)


def test_few_vectors_are_held_and_no_number_depends_on_it(model, monkeypatch):
    items = [item(n, cluster=f"fact-{n}") for n in range(200)]
    read = []

    def counting(model, prompts, *arguments, **settings):
        read.append(len(prompts))
        return capture_ids(model, prompts, *arguments, **settings)

    monkeypatch.setattr(capturing, "capture_ids", counting)
    large, small = vectors_of(model, items), vectors_of(model, items, room=1)
    for vectors, most in ((large, 200), (small, 2000)):
        read.clear()
        for one in (items[0], items[150], items[0]):
            vectors.prepare([(one, variants_of(items, one, ["mean", "shuffled"]))])
            vectors.layers(one, Variant("mean"), "ffn")
        assert 200 <= sum(read) <= most
    assert len(small._kept) == 128
    for one in items[:3]:
        for control in ("none", "mean"):
            found = [v.layers(one, Variant(control), "ffn") for v in (large, small)]
            assert torch.allclose(*found, atol=1e-4)


@pytest.mark.parametrize("room", [1, 2**30])
def test_no_bit_depends_on_what_was_asked_before(model, room):
    items = [item(n, cluster=f"fact-{n}", lang="sw" if n % 3 else "hi") for n in range(40)]
    forwards, backwards = (vectors_of(model, items, room=room) for _ in range(2))
    controls = (*CONTROLS, *PART_CONTROLS)
    variants = [(one, v) for one in items for v in variants_of(items, one, controls)]
    first = [forwards.layers(one, v, "attn") for one, v in variants]
    second = [backwards.layers(one, v, "attn") for one, v in reversed(variants)]
    assert all(map(torch.equal, first, reversed(second)))


def test_unknown_controls_are_refused():
    assert check_controls(["self", "noise", "self"]) == ("noise", "self")
    assert check_controls(["skip", "mean-main", "mean"]) == ("mean", "mean-main", "skip")
    with pytest.raises(UsageError, match="Unknown control 'placebo': use shuffled, noise"):
        check_controls(["placebo"])
