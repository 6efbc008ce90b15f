"""From the picked pairs of a run to the panels that say what they gain, beside their controls."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.pair_choice import PairChoice
from crosslatent.analysis.picked import ControlAtPair, PairTest, Picked, StratumGain
from crosslatent.analysis.picked import judged_split as split_of_picks
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.report import formatting, verdicts
from crosslatent.report.forest import SPREAD, VERDICT_ORDER, Forest, Row, in_order, row, sizes
from crosslatent.report.verdicts.effects import PairNamed
from crosslatent.report.views import Panel, Table
from crosslatent.stats import Estimate, PairedMethod


def judged_split(run: RunSummary, wanted: str | None) -> str | None:
    """The split that gains are shown on: the declared one, else the last that was not tuned on."""
    return split_of_picks(run.picked, wanted)


def pooled(run: RunSummary, component: Component) -> Picked | None:
    """The pair picked over all languages, of one component."""
    picks = (p for p in run.picked if p.component == component and p.pooling == "pooled")
    return next(picks, None)


def outcome(pick: Picked | None, split: str | None, lang: str = ALL) -> PairTest | None:
    """One test of a picked pair."""
    tests = pick.tests if pick is not None else []
    return next((test for test in tests if (test.split, test.lang) == (split, lang)), None)


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


def gain_panels(run: RunSummary, split: str | None) -> list[Panel]:
    """Gain by language at the pooled pair, one panel for each component."""
    panels = []
    for component in run.components:
        pick = pooled(run, component)
        tests = [t for t in pick.tests if t.split == split] if pick else []
        if pick and tests:
            rows = [_gain_row(test) for test in tests]
            caption = (
                f"Points gained or lost on the {split} questions at the pair picked on "
                f"{pick.choices[ALL].split}. {sizes([t.gain for t in tests])}. {SPREAD}"
            )
            source, target = pick.choices[ALL].pair
            title = (
                f"{formatting.first_upper(formatting.component(component))}, {source} \u2192 "
                f"{target}"
            )
            panels.append(Panel(title, [], Forest(tuple(rows), True, caption)))
    return panels


_OTHER_WAYS = ("translate_test", "surer", "surer_calibrated")
"""Ways to answer without a transplant that know both prompts."""


def _gain_row(test: PairTest) -> Row:
    detail = f"{test.repaired} repaired, {test.broken} broken"
    return row(formatting.first_upper(formatting.language(test.lang)), "true", test.gain, detail)


def compared_panel(run: RunSummary, split: str | None) -> Panel | None:
    """Ways of answering the test split side by side."""
    ways = {a.name: a.accuracy for a in run.accuracy if (a.split, a.lang) == (split, ALL)}
    tests = {c: outcome(pooled(run, c), split) for c in run.components}
    if "vanilla" not in ways or not any(tests.values()):
        return None
    rows = [
        *(_way_row(way, "majority", ways) for way in ("majority", "majority_by_relation")),
        _way_row("vanilla", "base", ways),
        *(
            row(f"Transplant, {formatting.component(component)}", "true", test.transplant)
            for component, test in tests.items()
            if test is not None
        ),
        *(_way_row(way, "reference", ways, run.exploratory) for way in _OTHER_WAYS),
    ]
    caption = (
        f"Share of right answers on the {split} questions. {sizes([ways['vanilla']])}. {SPREAD}"
    )
    kept = tuple(line for line in rows if line is not None)
    return Panel("Beside other ways of answering", [], Forest(kept, False, caption))


def _way_row(way: str, kind: str, ways: dict[str, Estimate], new: Sequence[str] = ()) -> Row | None:
    if way not in ways:
        return None
    details = {
        "translate_test": "answers the counterpart prompt itself",
        "surer": "answers both prompts, keeps the likelier answer",
        "surer_calibrated": "the same, with a margin fitted on the pilot questions",
        "majority": "always names what is right most often",
    }
    label = formatting.first_upper(formatting.control(way))
    note = verdicts.exploratory(new, "surer") if way.startswith("surer") else ""
    return row(label, kind, ways[way], f"{details.get(way, '')}{note}")


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


def control_panels(run: RunSummary, split: str | None) -> list[Panel]:
    """True transplant and every control that knows no answer, at the same pair, by component."""
    panels = []
    for component in run.components:
        test = outcome(pooled(run, component), split)
        controls = _sorted(test) if test is not None else []
        if test is not None and controls:
            rows = [row("True counterpart", "true", test.gain), *map(_control_row, controls)]
            caption = (
                f"Points gained or lost against the unmodified answers on the {split} questions, "
                f"all at one pair. {sizes([test.gain, *(c.gain for c in controls)])}. {SPREAD}"
            )
            title = formatting.first_upper(formatting.component(component))
            panels.append(Panel(title, [], Forest(tuple(rows), True, caption)))
    return panels


def _sorted(test: PairTest) -> list[ControlAtPair]:
    names = {control_name(c.control, c.stratum): c for c in test.controls}
    return [names[name] for name in in_order(names, VERDICT_ORDER)]


def _control_row(control: ControlAtPair) -> Row:
    name = formatting.first_upper(
        formatting.control(control_name(control.control, control.stratum))
    )
    if control.identity:
        return row(name, "control", control.gain, "changes nothing by construction")
    gap = formatting.with_interval(control.difference, difference=True)
    return row(name, "control", control.gain, f"true minus this: {gap}")


def strata_panels(run: RunSummary, split: str | None) -> list[Panel]:
    """Gains in the groups that the task names, at the pooled pair."""
    panels = []
    for component in run.components:
        test = outcome(pooled(run, component), split)
        if test is not None and test.strata:
            rows = [_stratum_row(stratum) for stratum in test.strata]
            caption = f"Points gained or lost on the {split} questions of each group. {SPREAD}"
            title = formatting.first_upper(formatting.component(component))
            panels.append(Panel(title, [], Forest(tuple(rows), True, caption)))
    return panels


def _stratum_row(stratum: StratumGain) -> Row:
    label = f"{stratum.name.replace('_', ' ')}: {stratum.value}"
    unmodified = formatting.percent(stratum.vanilla.value)
    detail = f"unmodified {unmodified}, n\u202f=\u202f{stratum.gain.n}"
    return row(formatting.first_upper(label), "true", stratum.gain, detail)
