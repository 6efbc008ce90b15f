"""What picked pairs gain, in words, and where a run's figures are found in its summary."""

from __future__ import annotations

from crosslatent.analysis.accuracy import Accuracy
from crosslatent.analysis.bounds import BoundVersus
from crosslatent.analysis.carried import Spelling
from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.pair_choice import PairChoice
from crosslatent.analysis.picked import ControlAtPair, PairTest, Picked
from crosslatent.analysis.picked import judged_split as split_of_picks
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.report import formatting, verdicts
from crosslatent.report.forest import STRATA_ORDER
from crosslatent.report.verdicts.diagnosis import Carried, Spelled
from crosslatent.report.verdicts.effects import PairNamed
from crosslatent.report.views import Table
from crosslatent.stats import Estimate, PairedMethod


def judged_split(run: RunSummary, wanted: str | None) -> str | None:
    """The split that gains are shown on: the declared one, else the first that was not tuned on."""
    return split_of_picks(run.picked, wanted)


def pooled(run: RunSummary, component: str) -> Picked | None:
    """The pair picked over all languages, of one component."""
    picks = (p for p in run.picked if p.component == component and p.pooling == "pooled")
    return next(picks, None)


def outcome(pick: Picked | None, split: str | None, lang: str = ALL) -> PairTest | None:
    """One test of a picked pair."""
    tests = pick.tests if pick is not None else []
    return next((test for test in tests if (test.split, test.lang) == (split, lang)), None)


def by_language(run: RunSummary) -> dict[str, dict[str, Accuracy]]:
    """Ways to answer, by name, of every language; all together only if there are several."""
    found: dict[str, dict[str, Accuracy]] = {}
    for entry in run.accuracy:
        if entry.split == ALL:
            found.setdefault(entry.lang, {})[entry.name] = entry
    if len(found) == 2:
        del found[ALL]
    return {lang: ways for lang, ways in found.items() if "vanilla" in ways}


FEW_FACTS = 20
"""Where fewer facts change than this, intervals of differences are somewhat too short."""


def gain_sentences(run: RunSummary, split: str | None) -> list[str]:
    """The picked pair of each component on the test split, in words; then what to beware of."""
    picks = [(c, pooled(run, c)) for c in run.components]
    found = [
        (component, pick.choices[ALL], test)
        for component, pick in picks
        if pick is not None and (test := outcome(pick, split)) is not None
    ]
    sentences = [
        " ".join(
            part for part in (_gain_sentence(*one), where_named(run, one[0], one[1].pair)) if part
        )
        for one in found
    ]
    return [*sentences, *dict.fromkeys(c.warning for _, c, _ in found if c.warning is not None)]


def where_named(run: RunSummary, component: Component, pair: tuple[int, int]) -> str:
    """What is to be known of a pair wherever it is named; mostly nothing."""
    changed = [
        grid.changed[pair[0]][pair[1]]
        for grid in run.grids
        if (grid.component, grid.split, grid.lang) == (component, ALL, ALL)
    ]
    return verdicts.PAIR.say(
        PairNamed(
            component=component,
            pair=pair,
            same=run.coverage.same_last_token,
            questions=run.coverage.items,
            plain=run.positions == 1 and run.strength == 1,
            changes=any(changed),
        )
    )


def _gain_sentence(component: Component, choice: PairChoice, test: PairTest) -> str:
    return (
        f"{formatting.first_upper(formatting.component(component))}: the pair {choice.source} "
        "\u2192 "
        f"{choice.target} did best on the {choice.split} questions ({choice.correct} of "
        f"{choice.n} right). On the {test.split} questions, which had no part in that choice: "
        f"{verdicts.GAIN.say(test.gain)}, with {formatting.count(test.repaired, 'answer')} "
        "repaired and "
        f"{test.broken} broken{test_note(test.p_value, test.p_method)}."
        f"{few_note(test.gain, test.changed_clusters)}{_repairs(test)}{_unparseable(test)}"
    )


def test_note(value: float | None, method: PairedMethod) -> str:
    """The test and its p-value in brackets, after a space; nothing if no answer changed."""
    if value is None:
        return ""
    test = "exact McNemar test" if method == "exact McNemar" else "permutation test by fact"
    return f" ({test}, {formatting.p_equals(value)})"


def few_note(gain: Estimate, changed: int) -> str:
    """After a blank, what an interval is worth where few facts change; nothing where many do."""
    if gain.low is None or changed >= FEW_FACTS:
        return ""
    return (
        f" Only {formatting.count(changed, 'fact')} changed: of so few, 95\u202f% intervals hold "
        "the "
        "truth in 91 to 95\u202f% of simulated cases, so the test is to be read first."
    )


def _repairs(test: PairTest) -> str:
    if test.repaired_format is None or not test.repaired:
        return ""
    return (
        f" Of the repaired ones, {test.repaired_format} had named no option before (format) and "
        f"{test.repaired_content} a wrong one (content)."
    )


def _unparseable(test: PairTest) -> str:
    if test.vanilla_unparseable is None or test.unparseable is None:
        return ""
    before, after = test.vanilla_unparseable.value, test.unparseable.value
    if before == after == 0:
        return " Every answer names one option, before and after."
    return (
        f" {formatting.percent(before)} of the answers named no option (or several) before, "
        f"{formatting.percent(after)} after."
    )


def gain_table(run: RunSummary) -> Table | None:
    """Every picked pair on every split, pooled over languages."""
    rows = [
        [
            formatting.component(pick.component),
            _pairs(pick),
            f"{test.split}{' (tuned on)' if test.in_sample else ''}",
            formatting.with_interval(test.gain, difference=True),
            f"{test.repaired} / {test.broken}",
            formatting.p_value(test.p_value),
            *_format_cells(test),
        ]
        for pick in run.picked
        for test in pick.tests
        if test.lang == ALL
    ]
    head = ["component", "pair", "split", "gain, points", "repaired / broken", "p"]
    head += ["format / content repair", "no option, before / after"]
    caption = (
        "Every pick on every split. Gains on the split that a pair was tuned on are optimistic by "
        "construction. p: permutation test that swaps before and after by fact; exact McNemar test "
        "where one language asks each fact once. Format repair: the answer had named no option (or "
        "several), content repair: a wrong one. No option: share of such answers."
    )
    return Table(head, rows, caption, frozenset(range(3, 8))) if rows else None


def _format_cells(test: PairTest) -> list[str]:
    if test.vanilla_unparseable is None or test.unparseable is None:
        return ["\u2013", "\u2013"]
    shares = (test.vanilla_unparseable, test.unparseable)
    return [
        f"{test.repaired_format} / {test.repaired_content}",
        " / ".join(formatting.percent(share.value) for share in shares),
    ]


def _pairs(pick: Picked) -> str:
    if pick.pooling == "pooled":
        return f"{pick.choices[ALL].source} \u2192 {pick.choices[ALL].target}, all languages"
    return ", ".join(f"{lang} {c.source}\u2192{c.target}" for lang, c in pick.choices.items())


def donors(
    run: RunSummary, component: str, split: str | None
) -> tuple[PairTest | None, dict[str, ControlAtPair]]:
    """The test of the pooled pair, and the donors chosen by their answers, by name."""
    test = outcome(pooled(run, component), split)
    found = {control_name(c.control, c.stratum): c for c in test.controls} if test else {}
    return test, {name: found[name] for name in STRATA_ORDER if name in found}


def carried_sentences(run: RunSummary, split: str | None) -> list[str]:
    """What the strata of donors say, for each component that has them all."""
    note = verdicts.exploratory(run.exploratory, "strata")
    said = []
    for component in run.components:
        test, found = donors(run, component, split)
        if test is not None and "shuffled/same_symbol" in found:
            same, symbol, other = (found.get(name) for name in STRATA_ORDER)
            carried = Carried(component, test.gain, same, symbol, other, note)
            said.append(verdicts.CARRIED.say(carried))
    return [sentence for sentence in said if sentence]


def spelled(run: RunSummary, component: str, split: str | None) -> Spelling | None:
    """Gains by spelling of one component on one split; None if no question tells."""
    found = (one for one in run.spelling if (one.component, one.split) == (component, split))
    return next((one for one in found if one.difference.n > 0), None)


def spelling_sentences(run: RunSummary, split: str | None) -> list[str]:
    """What the groups by spelling say, for each component."""
    note = verdicts.exploratory(run.exploratory, "spelling")
    groups = [one for c in run.components if (one := spelled(run, c, split)) is not None]
    said = [verdicts.SPELLED.say(Spelled(one, note)) for one in groups]
    return [sentence for sentence in said if sentence]


def stratum_name(run: RunSummary, name: str) -> str:
    """A control or stratum, called what it is in this run."""
    arms = {(one.control, one.stratum) for one in run.bounds_versus}
    arms |= {(c.control, c.stratum) for p in run.picked for t in p.tests for c in t.controls}
    return formatting.stratum(
        name,
        with_options=run.coverage.with_options > 0,
        with_labels=run.coverage.with_labels > 0,
        symbols=("shuffled", "same_symbol") in arms,
    )


def strongest_bound(run: RunSummary, component: str) -> BoundVersus | None:
    """The bound beside the strongest control that knows nothing of the answer."""
    found = [one.strongest.control for one in run.over_controls if one.component == component]
    bounds = (
        bound
        for bound in run.bounds_versus
        if bound.component == component and control_name(bound.control, bound.stratum) in found
    )
    return next(bounds, None)
