"""Each selector, where the best choice is known: what it finds, when it abstains, what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import SELECTORS, selectors_of
from crosslatent.selectors.candidates import ABSTAIN, NOT_RUN, OTHER, Labels, Steps, always
from crosslatent.selectors.kinds.attribution import Attribution
from crosslatent.selectors.kinds.confidence import Confidence, highest
from crosslatent.selectors.kinds.halving import Halving
from crosslatent.selectors.kinds.learned import Learned
from crosslatent.selectors.kinds.pilot import Pilot
from crosslatent.selectors.kinds.preset import Preset
from crosslatent.selectors.kinds.vote import Vote
from crosslatent.selectors.kinds.ways import Ways
from crosslatent.selectors.signals import Curve, check_kind, check_measure, fit_curve, signals
from support.choices import PAIRS, World, parts, simulate


def without_aux(seen):
    """The same questions without the answer to aux."""
    blank = np.full(len(seen), np.nan)
    nothing = np.full(len(seen), -1, dtype=np.int64)
    options = np.full_like(seen.aux.options, np.nan)
    return replace(seen, aux=Steps(options, blank, blank, blank, nothing))


GOOD = World({4: 0.9})
SURE = World({2: 0.6, 5: 0.6, 7: 0.6}, tells=5.0)


def score(selector, table, split="unseen"):
    fitted = selector.fit(*parts(table, "pilot"))
    seen, labels = parts(table, split)
    selection = fitted.choose(seen)
    return fitted, selection, selection.outcome(labels).mean()


def accuracy(table, split="unseen"):
    return parts(table, split)[1].vanilla.mean()


@pytest.mark.parametrize("selector", [Pilot(), Halving(0.5), Halving(0.25)])
def test_the_good_pair_is_found_and_always_taken(selector):
    fitted, selection, right = score(selector, simulate(GOOD))
    assert fitted.pairs == (PAIRS[4],)
    assert set(selection.choice.tolist()) == {4}
    assert (fitted.cost, fitted.reads) == (2.0, "nothing")
    assert right > 0.75


def test_halving_says_how_little_it_read():
    for fraction in (0.1, 0.25, 0.5):
        fitted = Halving(fraction).fit(*parts(simulate(GOOD), "pilot"))
        assert 0 < fitted.report["share_of_rows"] <= fraction
    few = np.flatnonzero(parts(simulate(GOOD), "pilot")[0].split == "pilot")[:12]
    seen, labels = parts(simulate(GOOD), "pilot")
    mask = np.isin(np.arange(len(seen)), few)
    tight = Halving(0.1).fit(seen.take(mask), labels.take(mask))
    assert tight.report["share_of_rows"] <= 0.1  # one row a pair and round would be 16 %
    mask = np.isin(np.arange(len(seen)), few[:9])
    with pytest.raises(UsageError, match="81 rows are fewer than one for each of its 9 pairs"):
        Halving(0.1).fit(seen.take(mask), labels.take(mask))
    with pytest.raises(UsageError, match="fraction is 2"):
        Halving(2).fit(*parts(simulate(GOOD), "pilot"))


def test_a_single_candidate_or_cluster_is_no_trouble():
    seen, labels = parts(simulate(GOOD), "pilot")
    columns = [3]  # into the first layer, so that it is in every scope
    single = replace(
        seen,
        pairs=PAIRS[3:4],
        steps=seen.steps.at(np.s_[:, columns]),
        ran=seen.ran[:, columns],
        attribution=seen.attribution[:, columns],
        cluster=np.full(len(seen), "one"),
    )
    alone = Labels(
        labels.correct[:, columns], labels.vanilla, labels.gold_logprob[:, columns], labels.aux
    )
    for selector in selectors_of("all"):
        if "preset" not in selector.name:
            fitted = selector.fit(single, alone)
            assert set(fitted.choose(single).choice.tolist()) <= {0, ABSTAIN, OTHER}
            assert not any(np.isnan(value) for value in fitted.report.values())


def test_each_language_can_have_its_own_pair_and_scopes_compete_apart():
    table = simulate(World({0: 0.95, 4: 0.95}))
    seen, labels = parts(table, "pilot")
    right = labels.correct.copy()
    right[np.ix_(seen.lang == "hi", [0])] = 0
    right[np.ix_(seen.lang == "sw", [4])] = 0
    fitted = Pilot(per_language=True).fit(seen, replace(labels, correct=right))
    assert dict(fitted.by_language) == {"hi": PAIRS[4], "sw": PAIRS[0]}
    choice = fitted.choose(seen).choice
    assert set(choice[seen.lang == "hi"].tolist()) == {4}
    first = Pilot(scope="target-first", tie="authors").fit(seen, labels)
    assert first.pooled.target == 0


def test_presets_resolve_layers_from_the_end_and_refuse_what_was_not_run():
    seen, labels = parts(simulate(GOOD), "pilot")
    assert Preset("generation").fit(seen, labels).pairs == (TransplantSpec("ffn", 0, 0),)
    with pytest.raises(UsageError, match="'understanding' is attn 2 -> 0, which this run does not"):
        Preset("understanding").fit(seen, labels)


@pytest.mark.parametrize("measure", ["probability", "entropy", "margin"])
@pytest.mark.parametrize("calibration", ["logistic", "isotonic"])
def test_confidence_beats_any_fixed_pair_where_it_tells(measure, calibration):
    table = simulate(SURE)
    fixed = score(Pilot(), table)[2]
    fitted, _, right = score(Confidence(measure, 3, calibration), table)
    assert right > fixed + 0.1
    assert fitted.cost == 5.0
    assert set(fitted.pairs) == {PAIRS[2], PAIRS[5], PAIRS[7]}


def test_confidence_abstains_where_the_unmodified_answer_is_surer():
    harmful = World(dict.fromkeys(range(9), 0.05), vanilla=0.9, tells=1.0)
    _, selection, right = score(Confidence(most=3), simulate(harmful))
    assert selection.abstained.mean() > 0.9
    assert right >= accuracy(simulate(harmful)) - 0.05
    _, never, _ = score(Confidence(most=3, calibration=None), simulate(harmful))
    assert not never.abstained.any()
    _, always, _ = score(Confidence(most=3, threshold=1.0), simulate(SURE))
    assert always.abstained.all()


def test_calibrating_each_pair_finds_the_good_one_where_confidence_says_nothing():
    _, selection, right = score(Confidence(per_pair=True), simulate(GOOD))
    assert (selection.choice == 4).mean() > 0.9
    assert right > score(Confidence(), simulate(GOOD))[2]


def test_without_options_confidence_is_over_the_vocabulary():
    seen, labels = parts(simulate(SURE), "pilot")

    def opened(steps):
        return Steps(
            steps.options[..., :0], steps.logprob, steps.entropy, steps.margin, steps.answer
        )

    opened_up = replace(
        seen, vanilla=opened(seen.vanilla), steps=opened(seen.steps), aux=opened(seen.aux)
    )
    for measure in ("probability", "entropy", "margin"):
        both = signals(opened_up, measure)[1], signals(seen, measure)[1]
        # The simulation's vocabulary says the same thing: the order of candidates stays.
        assert (both[0].argmax(axis=1) == both[1].argmax(axis=1)).mean() > 0.99
    for selector in (Confidence(most=3), Vote(3), Learned(most=3), Attribution(4)):
        assert len(selector.fit(opened_up, labels).choose(opened_up).choice) == len(seen)


def test_where_nothing_is_known_of_confidence_it_is_said():
    seen, labels = parts(simulate(SURE), "pilot")

    def blank(steps):
        gone = np.full_like(steps.logprob, np.nan)
        return Steps(steps.options[..., :0], gone, gone, gone, steps.answer)

    unknown = replace(seen, vanilla=blank(seen.vanilla), steps=blank(seen.steps))
    with pytest.raises(UsageError, match="older than the columns first_"):
        Confidence().fit(unknown, labels)
    fitted = Confidence(most=3).fit(seen, labels)
    assert fitted.choose(unknown).abstained.all()


def test_voters_agree_on_what_most_of_the_weight_says():
    table = simulate(World({1: 0.8, 3: 0.8, 5: 0.8}, vanilla=0.3))
    fixed = score(Pilot(), table)[2]
    fitted, selection, right = score(Vote(3), table)
    assert right > fixed
    assert fitted.reads == "answers"
    seen, _ = parts(table, "unseen")
    chosen = seen.steps.answer[np.arange(len(seen)), np.maximum(selection.choice, 0)]
    given = np.where(selection.abstained, seen.vanilla.answer, chosen)
    voters = seen.steps.answer[:, [1, 3, 5]]
    unanimous = (voters == voters[:, :1]).all(axis=1)
    assert (given == voters[:, 0])[unanimous].all()


def test_a_vote_for_the_unmodified_answer_needs_no_transplant():
    table = simulate(World(vanilla=0.9))
    _, selection, right = score(Vote(3), table)
    seen, _ = parts(table, "unseen")
    chosen = seen.steps.answer[np.arange(len(seen)), np.maximum(selection.choice, 0)]
    assert (chosen != seen.vanilla.answer)[~selection.abstained].all()
    assert right >= 0.85


@pytest.mark.parametrize("method", ["logistic", "boosting"])
def test_learning_uses_what_the_features_tell(method):
    table = simulate(SURE)
    fixed = score(Pilot(), table)[2]
    selector = Learned(method, 3, without_aux=True, folds=(2, 2))
    fitted, _, right = score(selector, table)
    assert right > fixed
    assert abs(fitted.report["pilot_accuracy"] - right) < 0.2  # out of fold, so no great optimism


def test_with_the_answer_to_aux_learning_turns_into_translate_test_and_without_it_does_not():
    world = World(dict.fromkeys(range(9), 0.5), vanilla=0.3, aux=1.0, clusters=80)
    table = simulate(world)
    seen, _ = parts(table, "unseen")
    agreeing = {}
    for without in (False, True):
        fitted, selection, _ = score(Learned(most=8, without_aux=without), table)
        chosen = seen.steps.answer[np.arange(len(seen)), np.maximum(selection.choice, 0)]
        agreeing[without] = (chosen == seen.aux.answer).mean()
        assert any("aux" in name for name in fitted.features) != without
    assert agreeing[False] > agreeing[True] + 0.2
    blind = Learned(without_aux=True).fit(*parts(table, "pilot"))
    assert (blind.choose(seen).choice == blind.choose(without_aux(seen)).choice).all()


def test_attribution_runs_only_the_highest_and_takes_the_surest():
    table = simulate(SURE)
    seen, labels = parts(table, "unseen")
    fitted = Attribution(4).fit(*parts(table, "pilot"))
    choice = fitted.choose(seen).choice
    order = np.argsort(-seen.attribution, axis=1)[:, :4]
    assert all(c == ABSTAIN or c in row for c, row in zip(choice.tolist(), order, strict=True))
    assert [Attribution(k).fit(*parts(table, "pilot")).cost for k in (4, 8)] == [9.0, 13.0]
    with pytest.raises(UsageError, match="no attribution scores"):
        Attribution().fit(replace(seen, attribution=None), labels)


def test_the_highest_are_of_those_that_were_run():
    scores = np.array([[3.0, 2.0, 1.0, np.nan]])
    ran = np.array([[False, True, True, True]])
    assert highest(scores, ran, 1).tolist() == [[False, True, False, False]]
    assert highest(scores, ran, 9).tolist() == [[False, True, True, False]]
    assert not highest(None, ran, 2).any()


def test_what_was_not_run_is_never_chosen():
    table = simulate(GOOD)
    pilot = parts(table, "pilot")
    seen, _ = parts(table, "unseen")
    ran = seen.ran.copy()
    ran[:, 4] = False
    for selector in (Pilot(), Confidence(most=3), Vote(3), Learned(most=3), Attribution(4)):
        choice = selector.fit(*pilot).choose(replace(seen, ran=ran)).choice
        assert (choice != 4).all()
    assert (Pilot().fit(*pilot).choose(replace(seen, ran=ran)).choice == NOT_RUN).all()


@pytest.mark.parametrize("name", [s.name for s in selectors_of("all") if "preset" not in s.name])
def test_gold_answers_of_the_test_split_change_no_choice(name):
    table, other = simulate(SURE), simulate(SURE)
    rng = np.random.default_rng(1)
    unseen = np.flatnonzero(other.seen.split == "unseen")
    for labels in (other.labels, *(found for _, found in other.shuffled.values())):
        labels.correct[unseen] = labels.correct[rng.permutation(unseen)]
        labels.vanilla[unseen] = labels.vanilla[rng.permutation(unseen)]
        labels.aux[unseen] = labels.aux[rng.permutation(unseen)]
        labels.gold_logprob[unseen] = 0.0
    selector = next(one for one in selectors_of("all") if one.name == name)
    if isinstance(selector, Learned):
        selector = replace(selector, folds=(2, 2))
    choices = [
        selector.fit(*parts(one, "pilot")).choose(parts(one, "unseen")[0]).choice
        for one in (table, other)
    ]
    assert (choices[0] == choices[1]).all()


def test_the_way_that_is_likeliest_right_is_taken():
    """One of the three is nearly always right and the others seldom."""
    poor = dict.fromkeys(range(9), 0.1)
    worlds = {
        ABSTAIN: World(poor, vanilla=0.95, aux=0.1, tells=4.0),
        OTHER: World(poor, vanilla=0.1, aux=0.95, tells=4.0),
        0: World(poor | {0: 0.95}, vanilla=0.1, aux=0.1, tells=4.0),
    }
    for way, world in worlds.items():
        table = simulate(world)
        seen, labels = parts(table, "unseen")
        for selector in (Ways(), Ways("margin"), Learned(other=True)):
            selection = selector.fit(*parts(table, "pilot")).choose(seen)
            # Others may give the same answer.
            taken = np.minimum(selection.choice, 0)
            assert isinstance(selector, Learned) or (taken == way).mean() > 0.7
            assert selection.outcome(labels).mean() > 0.85


def test_the_answer_to_aux_is_judged_in_its_own_language():
    seen, labels = parts(simulate(GOOD), "unseen")
    labels = replace(labels, aux=np.where(np.arange(len(seen)) % 2, 1.0, 0.0))
    assert always(OTHER, len(seen), 1.0).outcome(labels).tolist() == labels.aux.tolist()


def test_no_answer_to_aux_is_none_to_take():
    table = simulate(World(vanilla=0.3, aux=0.95))
    seen, _ = parts(table, "unseen")
    for selector in (Ways(), Learned(other=True)):
        choice = selector.fit(*parts(table, "pilot")).choose(without_aux(seen)).choice
        assert not (choice == OTHER).any()


def test_curves_never_fall_and_keep_gaps():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=300)
    right = (rng.random(300) < 1 / (1 + np.exp(-2 * signal))).astype(float)
    signal[0], right[1] = np.nan, np.nan
    at = np.linspace(-4, 4, 50)
    for kind in ("logistic", "isotonic"):
        curve = fit_curve(signal, right, kind)
        values = curve(at)
        assert (np.diff(values) >= -1e-12).all()
        assert values[0] < 0.2 < 0.8 < values[-1]
        assert np.isnan(curve(np.array([np.nan]))).all()
        again = Curve.from_arrays(kind, curve.arrays("x"), "x")
        assert (again(at) == values).all()
    constant = fit_curve(signal, np.ones(300), "logistic")(at)
    assert np.allclose(constant, constant[0])
    assert constant[0] < 1


def test_unknown_names_say_what_there_is():
    with pytest.raises(
        UsageError,
        match="use attribution, confidence, halving, learned, pilot, preset, vote, ways, oracle",
    ):
        selectors_of("magic")
    with pytest.raises(UsageError, match="use probability, entropy, margin"):
        check_measure("hunch")
    with pytest.raises(UsageError, match="use logistic, isotonic"):
        check_kind("hunch")
    assert [s.name for s in selectors_of("vote-all")] == ["vote-all"]
    names = [s.name for s in selectors_of("all")]
    strategies = [name for name in SELECTORS if list(SELECTORS[name].variants())]
    assert len(set(names)) == len(names) == sum(len(selectors_of(name)) for name in strategies)
    with pytest.raises(UsageError, match="Unknown strategy 'untransplanted'"):
        selectors_of("untransplanted")  # a baseline of every evaluation
