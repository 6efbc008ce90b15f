"""Every sentence that judges: figures where it must appear, and figures where it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crosslatent.analysis.across_runs import ModuleClaim, ModuleHalf
from crosslatent.analysis.attribution_quality import AttributionResult, Trust
from crosslatent.analysis.bounds import BoundVersus, OverControls, Rival, UpperBound, Versus
from crosslatent.analysis.carried import Follow, SpelledGroup, Spelling
from crosslatent.analysis.headline import Headline
from crosslatent.analysis.inference import Corrected
from crosslatent.analysis.language_traits import LanguageCorrelation
from crosslatent.analysis.layers import LayerGain
from crosslatent.analysis.other_ways import OtherWay
from crosslatent.analysis.passk import PassAtK
from crosslatent.analysis.picked import ControlAtPair
from crosslatent.analysis.replication import Replication
from crosslatent.analysis.run_differences import RunDifference
from crosslatent.report.verdicts import CARRIED, FAMILIES, FEWEST
from crosslatent.report.verdicts.choosing import Choice
from crosslatent.report.verdicts.diagnosis import Carried, Spelled
from crosslatent.report.verdicts.effects import Beside, PairNamed, Union
from crosslatent.report.verdicts.grid_verdicts import Maps, Sampled, Side
from crosslatent.selectors.findings import Alternative, Finding
from crosslatent.selectors.selector_results import (
    Baseline,
    SelectorEvaluation,
    SelectorResult,
    Used,
)
from crosslatent.stats import Estimate, cluster_permutation


def about(value: float | None, spread: float | None = 0.05, n: int = 80) -> Estimate:
    """An estimate; its interval is `spread` wide on both sides."""
    if value is None or spread is None:
        return Estimate(value, None, None, n, 1 if value is None else 40, 0)
    return Estimate(value, value - spread, value + spread, n, 40, 0)


UP, DOWN, FLAT, NOTHING = about(0.2), about(-0.2), about(0.01), about(None)


def over(gap: Estimate, p_value: float | None, own: float | None = None, lacking: Any = ()) -> Any:
    test = replace(
        cluster_permutation([1, 0], [0, 0], ["a", "b"]),
        p_two_sided=p_value if own is None else own,
    )
    rival = Rival("noise", UP, UP, gap, test)
    return OverControls("ffn", rival, p_value, [rival], list(lacking))


def union(before: float, after: float, rival: str | None, *others: str) -> Union:
    bound = UpperBound("ffn", ["final"], about(before), about(after), [], [], {}, (4, 4))

    def versus(name: str) -> BoundVersus:
        control, _, stratum = name.partition("/")
        sides = Versus(about(after), about(0.5), UP)
        return BoundVersus("ffn", control, stratum or None, (4, 4), sides, [], [], {})

    names = [*([rival] if rival else []), *others]
    return Union(bound, versus(rival) if rival else None, [versus(name) for name in names])


def sampled(gap: Estimate | None) -> Sampled:
    """pass@4 beside a bound; None: of fewer samples than pairs."""
    versus = None if gap is None else Versus(about(0.9), about(0.7), gap)
    name = "pass@3" if gap is None else "pass@4"
    return Sampled(PassAtK("ffn", name, (4, 4), 0, 9, 3, about(0.7), versus, {}))


def follow(share: float | None, difference: Estimate) -> Follow:
    return Follow("ffn", "final", (0, 0), about(share), about(0.2), difference)


def way(name: str, over_best: Estimate | None, measured_by: dict[str, int] | None = None) -> Beside:
    pair = ("attn", 7, 0) if name == "preset" else None
    best = None if over_best is None else ("ffn", 0, 0)
    best_share = None if over_best is None else about(0.8)
    shown = OtherWay(name, "final", pair, about(0.9), DOWN, best, best_share, over_best)
    return Beside(replace(shown, measured_by=measured_by or {}))


def named(**changes: Any) -> PairNamed:
    default = {"component": "attn", "pair": (0, 0), "same": 9, "questions": 9}
    return PairNamed(**({**default, "plain": True, "changes": True} | changes))


def donor(gain: float, gap: float, n: int = FEWEST) -> ControlAtPair:
    return ControlAtPair(
        "shuffled", "x", about(0.5, n=n), about(gain, n=n), about(gap, n=n), identity=False
    )


NONE = donor(0.0, 0.4)


def carried(
    same: ControlAtPair | None,
    symbol: ControlAtPair | None,
    true: float = 0.4,
    other: ControlAtPair | None = NONE,
) -> Carried:
    return Carried("ffn", about(true), same, symbol, other)


LIKE, LESS = donor(0.4, 0.0), donor(0.2, 0.2)
FEW = replace(donor(0.4, 0.0), gain=about(0.4, n=FEWEST - 1))


def group(gain: Estimate, over_donor: Estimate | None = None, *languages: str) -> SpelledGroup:
    donor = None if over_donor is None else FLAT
    return SpelledGroup(FLAT, gain, donor, over_donor, dict.fromkeys(languages or ("es",), 40))


def spelled(same: Any, other: Any, gap: Estimate, over: Any = None, *languages: str) -> Spelled:
    groups = group(same, over), group(other, over, *languages)
    return Spelled(Spelling("ffn", "final", False, *groups, gap, 3))


FEW_UP = replace(UP, n=FEWEST - 1)


def side(*means: float, best: Any = None, spread: float | None = 1.5) -> Side:
    gains = [LayerGain(layer, about(mean), FLAT) for layer, mean in enumerate(means)]
    return Side("source", gains, spread, best)


def maps(**changes: Any) -> Maps:
    default = {"judged": True, "gains": True, "losses": True, "tuned": "pilot", "tested": True}
    return Maps(**(default | changes))


def correlation(rho: float | None, holm: float | None) -> LanguageCorrelation:
    test = Corrected(holm, holm, holm, "traits", 4)
    return LanguageCorrelation("ffn", "gain", "same_script", rho, 6, test, 100, 0, "")


def compared(outcome: str, gap: Estimate) -> RunDifference:
    test = Corrected(0.01, 0.04, 0.02, "figures", 3)
    sides = ("picked_pair", "ffn", ((0, 0), (1, 1)), None, FLAT, UP)
    return RunDifference(*sides, gap, {}, 0.05, test, 0.08, outcome)


def repeated(
    verdict: str = "replicated", gain: Estimate = UP, over: Estimate = UP, **changes: Any
) -> Replication:
    controls = [ControlAtPair("noise", None, FLAT, FLAT, over, identity=False)]
    default = {"declared_again": True, "own_pair": False, "not_run": []} | changes
    return Replication(
        declared=Headline(),
        pair=(3, 7),
        first=UP,
        gain=gain,
        p_value=0.01,
        controls=controls,
        visible=0.1,
        verdict=verdict,
        **default,
    )


def claim(*halves: ModuleHalf) -> ModuleClaim:
    return ModuleClaim("Attention?", ["tiny"], list(halves), "undecided", [])


def selector(name: str = "pilot", **changes: Any) -> SelectorResult:
    fixed = name == "pilot"
    default: dict[str, Any] = {
        "about": "",
        "accuracy": about(0.8),
        "gain": UP,
        "recovered": about(0.8),
        "shuffled_gain": FLAT,
        "over_shuffled": UP,
        "strict_room": about(0.03, 0.02),
        "versus_pilot": None if fixed else FLAT,
        "p_value": None if fixed else 0.5,
        "p_holm": None if fixed else 0.5,
        "cost": 2.0,
        "abstained": about(0.0),
        "other": about(0.0),
        "used": [],
        "report": {},
    }
    return SelectorResult(name, **(default | changes))


def choice(*selectors: SelectorResult, **changes: Any) -> Choice:
    gap = changes.pop("gap", UP)
    default: dict[str, Any] = {
        "tuned_on": "run",
        "tested_on": "run",
        "tune": "pilot",
        "test": "final",
        "components": ["ffn"],
        "candidates": 9,
        "tune_items": 80,
        "items": 80,
        "clusters": 40,
        "left_out": 0,
        "seed": 0,
        "selectors": list(selectors),
        "baselines": [Baseline("upper_bound", "", about(0.9), gap, None)],
        "strict_controls": ["shuffled", "noise", "mean", "self"],
    }
    return Choice(SelectorEvaluation(**(default | changes)))


BETTER = selector("vote-3", versus_pilot=UP, p_holm=0.01, p_value=0.01)
WEAK = selector("vote-3", versus_pilot=UP, p_holm=0.2, p_value=0.02)
HARMLESS = replace(BETTER, gain=FLAT)
OTHER = selector("vote-3", recovered=about(0.4))


def ranked(questions: int, hits: int) -> AttributionResult:
    trust = Trust(questions, hits)
    return AttributionResult("ffn", "all", 80, 20, (64, 64), [], [], trust)


def alternative(
    name: str, over: Estimate, gain: Estimate = FLAT, p: float | None = None
) -> Alternative:
    return Alternative(name, about(0.5), gain, over, p)


def finding(gain: Estimate, p: float | None, **changes: Any) -> Finding:
    usual: dict[str, Any] = {
        "kind": "dealt",
        "names": ("pilot", "unseen"),
        "chosen_on": 40,
        "rule": "pilot",
        "about": "the best pair",
        "fixed": True,
        "mixed": False,
        "kept": 1,
        "pair": Used("ffn", 12, 14, 80),
        "pairs": 1,
        "used": [Used("ffn", 12, 14, 80)],
        "aux_lang": "en",
        "vanilla": about(0.4),
        "accuracy": about(0.6),
        "gain": gain,
        "p_value": p,
        "repaired": 20,
        "broken": 4,
        "controls": [alternative(name, UP) for name in ("shuffled", "noise", "self")],
        "plain": [alternative("surer", UP, FLAT, 0.4)],
        "uncovered": [],
    }
    return Finding(**{**usual, **changes})


LIFTS = finding(UP, 0.01)
NO_GAIN = finding(FLAT, 0.6)
RATHER = finding(UP, 0.01, plain=[Alternative("surer", about(0.9), UP, DOWN, 0.001)])
PLAINLY = finding(FLAT, 0.6, plain=RATHER.plain)
LUCKY = finding(UP, 0.01, controls=[alternative("noise", FLAT)])
UNPROVEN = finding(UP, 0.01, uncovered=["noise"])
HARMS = finding(DOWN, 0.01)

CASES: dict[str, tuple[Any, Any]] = {
    "ranking.trusted": (ranked(8, 6), ranked(8, 5)),
    "ranking.untrusted": (ranked(8, 5), ranked(8, 6)),
    "ranking.untried": (ranked(7, 7), ranked(8, 8)),
    "gain.shown": (UP, FLAT),
    "gain.loss": (DOWN, FLAT),
    "gain.not_shown": (FLAT, DOWN),
    "gain.unmeasured": (NOTHING, FLAT),
    "headline.holds": ({"a": True, "b": True}, {"a": True, "b": None}),
    "headline.fails": ({"a": False, "b": None}, {"a": None, "b": True}),
    "headline.open": ({"a": None, "b": True}, {"a": False, "b": True}),
    "bound.above": (over(UP, 0.001), over(UP, 0.2)),
    # Another rival has the largest p-value: the sentence is on the strongest one alone.
    "bound.below": (over(DOWN, 0.9, own=0.001), over(DOWN, 0.2)),
    "bound.not_shown": (over(FLAT, 0.9), over(DOWN, 0.001)),
    "bound.interval_alone": (over(UP, 0.2), over(FLAT, 0.2)),
    "bound.not_run": (over(UP, 0.001, lacking=["self"]), over(UP, 0.001)),
    "union.lifts": (union(0.5, 0.9, "noise"), union(0.9, 0.5, "noise")),
    "union.lifts_nothing": (union(0.9, 0.5, None), union(0.5, 0.9, None)),
    "union.beside": (union(0.5, 0.9, "noise"), union(0.5, 0.9, None, "paraphrase")),
    "union.diagnosis_alone": (
        union(0.5, 0.9, None, "shuffled/same_answer"),
        union(0.5, 0.9, "noise", "shuffled/same_answer"),
    ),
    "union.no_control": (union(0.5, 0.9, None), union(0.5, 0.9, None, "paraphrase")),
    "pass_at_k.above": (sampled(UP), sampled(FLAT)),
    "pass_at_k.below": (sampled(DOWN), sampled(UP)),
    "pass_at_k.not_shown": (sampled(FLAT), sampled(DOWN)),
    "pass_at_k.too_few": (sampled(None), sampled(FLAT)),
    "follow.shares": (follow(0.5, UP), follow(None, NOTHING)),
    "follow.follows": (follow(0.5, UP), follow(0.5, DOWN)),
    "follow.not_shown": (follow(0.2, FLAT), follow(0.5, UP)),
    "ways.better": (way("translate_test", UP), way("surer", FLAT)),
    "ways.not_worse": (way("surer", about(0.0)), way("surer", DOWN)),
    "ways.worse": (way("translate_test", about(-0.01)), way("translate_test", about(0.0))),
    "ways.alone": (way("surer", None), way("preset", None)),
    "ways.first_tokens": (
        way("surer", DOWN, {"all tokens": 8, "first token": 2}),
        way("surer", DOWN, {"whole options": 4, "all tokens": 8}),
    ),
    "ways.preset": (way("preset", DOWN), way("translate_test", DOWN)),
    "pair.whole_state": (named(), named(same=8)),
    "pair.whole_state_of_some": (named(same=8), named(same=0)),
    "carried.symbol": (carried(LIKE, LIKE), carried(LIKE, LESS)),
    "carried.symbol_alone": (carried(FEW, LIKE), carried(LIKE, LIKE)),
    "carried.symbol_in_part": (carried(LIKE, LESS), carried(LIKE, FEW)),
    "carried.text_matters": (carried(LESS, LIKE), carried(LIKE, LIKE)),
    # Donors with another symbol repair as well: any question in English would do.
    "carried.symbol_or_anything": (carried(LIKE, LIKE, other=LIKE), carried(LIKE, LIKE)),
    "carried.symbol_not_shown": (carried(LIKE, NONE), carried(LIKE, None)),
    "spelled.spelling": (spelled(UP, FLAT, UP), spelled(UP, UP, UP)),
    "spelled.in_part": (spelled(UP, UP, UP), spelled(UP, FLAT, UP)),
    "spelled.content": (spelled(FLAT, UP, FLAT), spelled(UP, UP, UP)),
    "spelled.open": (spelled(UP, FLAT, FLAT), spelled(UP, FLAT, UP)),
    "spelled.other_languages": (spelled(UP, FLAT, UP, None, "hi"), spelled(UP, FLAT, UP)),
    "layers.gain": (side(0.2, 0.0), side(-0.2, 0.0)),
    "layers.lose": (side(-0.2, 0.0), side(0.2, 0.0)),
    "layers.neither": (side(0.0, 0.0), side(-0.2, 0.0)),
    # The one bright cell stands in a row that loses on average.
    "layers.best_elsewhere": (
        side(-0.2, 0.0, best=((0, 0), UP)),
        side(0.2, 0.0, best=((0, 0), UP)),
    ),
    "layers.spread": (side(0.2, 0.0), side(0.0, 0.0)),
    "map.changes": (maps(judged=False), maps()),
    "map.cells": (maps(), maps(judged=False)),
    "map.gains": (maps(), maps(gains=False)),
    "map.losses": (maps(), maps(losses=False)),
    "map.flat": (maps(gains=False, losses=False), maps(gains=False)),
    "map.outline": (maps(), maps(tuned=None)),
    "map.optimistic": (maps(), maps(gains=False)),
    "map.tested": (maps(), maps(tested=False)),
    "traits.none": ([correlation(0.5, 0.4)], [correlation(0.9, 0.01)]),
    "claim.verdict": (
        claim(ModuleHalf("understanding", "attn", ["run"], [], "confirmed")),
        claim(),
    ),
    "finding.lifts": (LIFTS, LUCKY),
    "finding.unproven": (UNPROVEN, LIFTS),
    "finding.luck": (LUCKY, LIFTS),
    "finding.plain": (PLAINLY, RATHER),
    "finding.harms": (HARMS, NO_GAIN),
    "finding.nothing": (NO_GAIN, LIFTS),
    "finding.transplant": (LIFTS, RATHER),
    "finding.rather": (RATHER, LIFTS),
    "beats.not_run": (choice(OTHER), choice(selector())),
    "beats.better": (choice(selector(), BETTER), choice(selector(), WEAK)),
    "beats.none": (choice(selector(), OTHER), choice(selector(), BETTER)),
    "beats.pair_alone": (choice(selector(), HARMLESS), choice(selector(), WEAK)),
    "beats.interval_alone": (choice(selector(), WEAK), choice(selector(), HARMLESS)),
    "recovers.no_gap": (choice(selector(), gap=DOWN), choice(selector())),
    "recovers.pilot": (choice(selector()), choice(selector(), gap=DOWN)),
    "recovers.over_shuffled": (choice(selector()), choice(selector(over_shuffled=None))),
    "recovers.no_shuffled": (choice(selector(over_shuffled=None)), choice(selector())),
    "recovers.one_candidate": (choice(selector(), candidates=1), choice(selector())),
    "recovers.half": (choice(selector(), BETTER), choice(selector(), OTHER)),
    "recovers.no_half": (choice(selector(), OTHER), choice(selector(), BETTER)),
    "strict.room": (choice(selector()), choice(selector(strict_room=None))),
    "strict.lacking": (choice(selector(), strict_missing=["self"]), choice(selector())),
    "strict.no_control": (choice(selector(), strict_controls=[]), choice(selector())),
    "compared.more": (compared("more", UP), compared("same", FLAT)),
    "compared.less": (compared("less", DOWN), compared("more", UP)),
    "compared.same": (compared("same", FLAT), compared("undecided", FLAT)),
    "compared.undecided": (compared("undecided", FLAT), compared("same", FLAT)),
    "replication.replicated": (repeated("replicated", UP), repeated("undecided", UP)),
    "replication.refuted": (repeated("refuted", DOWN), repeated("replicated", UP)),
    "replication.undecided": (repeated("undecided", FLAT), repeated("refuted", DOWN)),
    "replication.not_beaten": (repeated(gain=UP, over=FLAT), repeated(gain=UP)),
    "replication.not_run": (repeated(not_run=["noise"]), repeated()),
    "replication.same_pair": (repeated(), repeated(own_pair=True)),
    "replication.own_pair": (repeated(own_pair=True), repeated()),
    "replication.not_declared": (repeated(declared_again=False), repeated()),
}
"""By id: a subject that the sentence is true of, and one that it is not."""

FAMILY_OF = {identity: family for family in FAMILIES for identity in family.ids()}

MORE_WITHOUT = {
    # Fewer than thirty items get no sentence at all.
    "carried.symbol": [
        carried(FEW, LIKE),
        carried(LIKE, FEW),
        carried(LIKE, LIKE, true=0.0),
        *(carried(LIKE, LIKE, other=other) for other in (LIKE, donor(0.31, 0.1), FEW, None)),
    ],
    "carried.symbol_alone": [
        carried(None, FEW),
        carried(FEW, LESS),
        carried(FEW, NONE),
        carried(FEW, LIKE, other=LIKE),
    ],
    "carried.symbol_in_part": [
        carried(LIKE, LIKE),
        carried(FEW, NONE),
        carried(None, None),
        carried(LIKE, LESS, other=LESS),
    ],
    "carried.text_matters": [carried(LESS, LIKE, other=LIKE)],
    "carried.symbol_or_anything": [
        carried(LIKE, LIKE, other=FEW),
        carried(LIKE, NONE, other=LIKE),
        carried(LIKE, FEW, other=LIKE),
        carried(None, None, other=None),
    ],
    "carried.symbol_not_shown": [carried(LIKE, FEW), carried(LIKE, LESS)],
    "spelled.spelling": [
        spelled(UP, FLAT, FLAT),
        spelled(FLAT, DOWN, UP),
        spelled(UP, FLAT, UP, FLAT),
        spelled(FEW_UP, FLAT, UP),
        spelled(UP, replace(FLAT, n=FEWEST - 1), UP),
    ],
    "spelled.in_part": [
        spelled(UP, UP, FLAT),
        spelled(UP, UP, UP, FLAT),
        spelled(FEW_UP, UP, UP),
        spelled(UP, FEW_UP, UP),
    ],
    "spelled.content": [spelled(UP, FLAT, FLAT), spelled(FLAT, FEW_UP, FLAT)],
    "spelled.open": [
        spelled(UP, UP, UP),
        spelled(UP, UP, FLAT),
        spelled(FEW_UP, FLAT, FLAT),
        spelled(about(None, n=0), FLAT, NOTHING),
    ],
    "spelled.other_languages": [spelled(FEW_UP, FLAT, UP, None, "hi")],
    "pair.whole_state": [
        named(component="ffn"),
        named(component="attn_residual"),
        named(pair=(0, 1)),
        named(pair=(1, 1)),
        named(plain=False),
        named(changes=False),
        named(same=0, questions=0),
    ],
    "bound.above": [over(UP, None), over(DOWN, 0.001), over(about(0.2, None), 0.06)],
    "bound.below": [over(UP, 0.001), over(FLAT, 0.001), over(DOWN, None)],
    "headline.holds": [{"a": False}, {"a": True, "b": False}, {"a": None}],
    "finding.lifts": [UNPROVEN, PLAINLY, HARMS, NO_GAIN, finding(UP, 0.06), finding(UP, None)],
    "finding.nothing": [PLAINLY, HARMS, LUCKY],
    "finding.transplant": [LUCKY, PLAINLY, NO_GAIN, finding(UP, 0.01, plain=[])],
    "finding.rather": [PLAINLY, NO_GAIN, LUCKY],
    "beats.better": [choice(BETTER), choice(selector(), replace(BETTER, cost=11.0))],
    "recovers.half": [
        choice(selector(), replace(BETTER, recovered=about(0.52))),
        choice(selector(), replace(BETTER, over_shuffled=FLAT)),
        choice(selector(), replace(BETTER, cost=20.0)),
        choice(selector(), replace(BETTER, p_value=None)),
    ],
    "union.no_control": [union(0.5, 0.9, "self"), union(0.5, 0.9, None, "shuffled/same_symbol")],
    "layers.best_elsewhere": [
        side(-0.2, 0.1, best=((1, 0), UP)),
        side(-0.2, best=((0, 0), FLAT)),
        side(-0.2, best=None),
    ],
    "pass_at_k.above": [
        sampled(DOWN),
        sampled(None),
        sampled(replace(about(0.2, None), clusters=5)),
    ],
    "pass_at_k.not_shown": [sampled(UP), sampled(None)],
    # Said once: of the calibrated answer it is the same.
    "ways.first_tokens": [
        way("surer_calibrated", DOWN, {"first tokens of options": 3}),
        way("translate_test", DOWN),
    ],
    "ways.better": [way("preset", UP), way("surer", None), way("translate_test", DOWN)],
}


def test_every_id_has_its_cases() -> None:
    assert set(CASES) == set(FAMILY_OF)
    assert len(FAMILY_OF) == sum(len(family.verdicts) for family in FAMILIES)


@pytest.mark.parametrize("identity", CASES)
def test_a_sentence_appears_where_it_is_true_and_nowhere_else(identity: str) -> None:
    family: Any = FAMILY_OF[identity]
    with_it, *without = (*CASES[identity], *MORE_WITHOUT.get(identity, []))
    assert identity in family.allowed(with_it)
    said = family.say(with_it)
    assert "{" not in said
    # Its words before the first figure stand in what is said.
    template = family.verdicts[identity.partition(".")[2]].template
    longest = max((part.split("{")[0] for part in template.split("}")), key=len)
    assert longest in said
    for other in without:
        assert identity not in family.allowed(other), other
        family.say(other)


@pytest.mark.parametrize(
    ("group", "subjects"),
    [
        (("gain.shown", "gain.loss", "gain.not_shown", "gain.unmeasured"), [UP, DOWN, FLAT]),
        (
            ("bound.above", "bound.below", "bound.not_shown"),
            [over(gap, p) for gap in (UP, DOWN, FLAT) for p in (0.001, 0.2, None)],
        ),
        (
            ("union.beside", "union.diagnosis_alone", "union.no_control"),
            [CASES[f"union.{name}"][0] for name in ("beside", "diagnosis_alone", "no_control")],
        ),
        (
            ("ways.better", "ways.not_worse", "ways.worse", "ways.alone", "ways.preset"),
            [
                way(name, gap)
                for name in ("translate_test", "surer", "preset")
                for gap in (UP, DOWN, FLAT, about(0.0), None)
            ],
        ),
        (
            tuple(f"pass_at_k.{name}" for name in ("above", "below", "not_shown", "too_few")),
            [sampled(gap) for gap in (UP, DOWN, FLAT, about(0.2, None), None)],
        ),
        (
            ("recovers.half", "recovers.no_half", "recovers.one_candidate"),
            [choice(selector(), BETTER), choice(selector(), OTHER), choice(selector())],
        ),
        (
            ("spelled.spelling", "spelled.in_part", "spelled.content", "spelled.open"),
            [
                spelled(same, other, gap, over)
                for same in (UP, FLAT, DOWN)
                for other in (UP, FLAT, DOWN)
                for gap in (UP, FLAT, DOWN)
                for over in (None, UP, FLAT)
            ],
        ),
        (
            (
                "finding.lifts",
                "finding.unproven",
                "finding.luck",
                "finding.plain",
                "finding.harms",
                "finding.nothing",
            ),
            [LIFTS, UNPROVEN, LUCKY, PLAINLY, HARMS, NO_GAIN],
        ),
        (("beats.better", "beats.none", "beats.not_run"), [CASES["beats.better"][0]]),
    ],
)
def test_of_sentences_that_exclude_each_other_one_is_said(
    group: tuple[str, ...], subjects: list[Any]
) -> None:
    for subject in subjects:
        assert len(set(FAMILY_OF[group[0]].allowed(subject)) & set(group)) == 1, subject


@pytest.mark.parametrize("same", [FEW, LIKE, LESS, NONE, None])
@pytest.mark.parametrize("symbol", [FEW, LIKE, LESS, NONE, None])
@pytest.mark.parametrize("other", [FEW, LIKE, LESS, NONE, None])
def test_strata_get_one_sentence_at_most(same: Any, symbol: Any, other: Any) -> None:
    said = FAMILY_OF["carried.symbol"].allowed(carried(same, symbol, other=other))
    assert len(said) <= 1
    if symbol in (FEW, None):
        assert not said


def test_strata_without_variation_are_compared_by_their_value() -> None:
    still = replace(LIKE, gain=replace(LIKE.gain, low=None, high=None))
    assert "more than donors with another symbol" in CARRIED.say(carried(LIKE, still))
    flat = replace(NONE, gain=replace(NONE.gain, low=None, high=None))
    assert "more than donors" in CARRIED.say(carried(LIKE, LIKE, other=flat))
    unknown = replace(flat, gain=replace(flat.gain, undefined=True))
    said = CARRIED.say(carried(LIKE, LIKE, other=unknown))
    assert "could not be shown. So a symbol need not be what is carried" in said
