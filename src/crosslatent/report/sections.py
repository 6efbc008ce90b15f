"""From a run's summary to panels: accuracy, upper bound, donors, cost, what needs care."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.analysis.accuracy import Accuracy
from crosslatent.analysis.bounds import BoundVersus, LayerTest
from crosslatent.analysis.carried import Follow
from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.passk import PassAtK
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.report import diagnosis, formatting, graded, verdicts
from crosslatent.report.forest import (
    SPREAD,
    STRATA_ORDER,
    Forest,
    Mark,
    Row,
    in_order,
    row,
    sizes,
)
from crosslatent.report.verdicts.effects import Union
from crosslatent.report.verdicts.sampled import Sampled
from crosslatent.report.views import Fact, Panel

_WAYS = ("vanilla", "translate_test", "majority")


def accuracy_panel(run: RunSummary) -> Panel | None:
    """The unmodified model by language, over all splits, with its baselines on the same row."""
    by_lang: dict[str, dict[str, Accuracy]] = {}
    for entry in run.accuracy:
        if entry.split == ALL:
            by_lang.setdefault(entry.lang, {})[entry.name] = entry
    if len(by_lang) == 2:
        del by_lang[ALL]
    rows = [_accuracy_row(lang, ways) for lang, ways in by_lang.items() if "vanilla" in ways]
    if not rows:
        return None
    marks = [line.marks[0].estimate for line in rows]
    caption = f"Share of right answers. {sizes(marks)}. {SPREAD}"
    sentences = [_accuracy_sentence(by_lang, run.direction), _majority_sentence(by_lang)]
    shown = [sentence for sentence in (*sentences, graded.rule_sentence(run)) if sentence]
    return Panel("", shown, Forest(tuple(rows), False, caption))


def _accuracy_row(lang: str, ways: dict[str, Accuracy]) -> Row:
    kinds = ("base", "reference", "majority")
    marks = tuple(
        Mark(kind, formatting.control(way), ways[way].accuracy)
        for kind, way in zip(kinds, _WAYS, strict=False)
        if way in ways
    )
    unparseable = ways["vanilla"].unparseable
    detail = f"{formatting.percent(unparseable.value)} name no option" if unparseable else ""
    return Row(formatting.first_upper(formatting.language(lang)), marks, detail)


def _accuracy_sentence(by_lang: dict[str, dict[str, Accuracy]], direction: str) -> str:
    scores = {
        lang: ways["vanilla"].accuracy.value or 0.0
        for lang, ways in by_lang.items()
        if lang != ALL and "vanilla" in ways
    }
    best, worst = max(scores, key=lambda k: scores[k]), min(scores, key=lambda k: scores[k])
    if len(scores) == 1:
        return (
            f"Unmodified, the model answers {formatting.percent(scores[best])} of the "
            "questions right."
        )
    if scores[best] == scores[worst]:
        return (
            f"Unmodified, the model is right on {formatting.percent(scores[best])} of the "
            "questions in "
            "every language."
        )
    # Culture tasks ask in one language; what tells their questions apart is the counterpart's.
    which = "whose counterpart is in" if direction == "x->en" else "in"
    return (
        f"Unmodified, the model is right on {formatting.percent(scores[best])} of the questions "
        f"{which} "
        f"{formatting.language(best)} and on {formatting.percent(scores[worst])} of those in "
        f"{formatting.language(worst)}."
    )


def _majority_sentence(by_lang: dict[str, dict[str, Accuracy]]) -> str:
    """What a constant answer would get; nothing without options."""
    ways = by_lang.get(ALL) or next(iter(by_lang.values()))
    if "majority" not in ways:
        return ""
    return (
        "Always naming the option that is right most often, known only in hindsight, would get "
        f"{formatting.percent(ways['majority'].accuracy.value)}."
    )


def bound_panels(run: RunSummary) -> list[Panel]:
    """Upper bound and the same union over each control, one panel for each component."""
    return [
        panel for component in run.components if (panel := _bound_panel(run, component)) is not None
    ]


def _bound_panel(run: RunSummary, component: Component) -> Panel | None:
    bound = next((b for b in run.upper_bounds if b.component == component), None)
    if bound is None:
        return None
    rows = [
        row("Unmodified, one attempt", "base", bound.vanilla),
        row("True counterpart, any pair", "true", bound.overall),
    ]
    versus = {
        control_name(b.control, b.stratum): b for b in run.bounds_versus if b.component == component
    }
    for name in in_order(versus):
        sides = versus[name].overall
        gap = formatting.with_interval(sides.difference, difference=True)
        known = "; a diagnosis: chosen by its answer" if name in STRATA_ORDER else ""
        label = formatting.first_upper(diagnosis.stratum_name(run, name))
        rows.append(row(label, "control", sides.control, f"true minus this: {gap}{known}"))
    rows += [_sampled_row(run, one) for one in run.pass_at_k if one.component == component]
    low, high = bound.attempts
    tries = f"{low}" if low == high else f"{low}\u2013{high}"
    caption = (
        f"Share of {_of(bound.splits)}questions that at least one of {tries} pairs solves. "
        f"{sizes([bound.overall])}. {SPREAD} Each \u201ctrue minus this\u201d uses only questions "
        "and pairs that both have."
    )
    return Panel(
        formatting.first_upper(formatting.component(component)),
        [],
        Forest(tuple(rows), False, caption),
    )


def _sampled_row(run: RunSummary, found: PassAtK) -> Row:
    """The unmodified model sampled, beside the bound: a reference, and no control."""
    note = verdicts.exploratory(run.exploratory, "pass_at_k")
    if found.versus is None:
        gap = f"fewer samples than pairs, so not compared{note}"
    else:
        gap = formatting.with_interval(found.versus.difference, difference=True)
        gap = f"true minus this: {gap}; no control{note}"
    return row(f"Unmodified, sampled: {found.name}", "reference", found.share, gap)


def layer_panels(run: RunSummary) -> list[Panel]:
    """Unions per target and per source layer, beside the strongest control that knows no answer."""
    panels = []
    for component in run.components:
        rival = _strongest(run, component)
        if rival is not None and run.n_layers > 1:
            tests = [test for test in run.layer_tests if test.component == component]
            panels += [
                _layer_panel(rival, side, {test.layer: test for test in tests if test.side == side})
                for side in ("target", "source")
            ]
    return panels


def _layer_panel(bound: BoundVersus, side: str, tests: Mapping[int, LayerTest]) -> Panel:
    other = "source" if side == "target" else "target"
    layers = bound.by_target if side == "target" else bound.by_source
    name = formatting.control(control_name(bound.control, bound.stratum))
    rows = tuple(
        Row(
            f"{side} layer {layer}",
            (Mark("true", "true counterpart", both.true), Mark("control", name, both.control)),
            f"difference {formatting.with_interval(both.difference, difference=True)}"
            f"{_holm(tests.get(layer))}",
        )
        for layer, both in enumerate(layers)
        if both.true.n
    )
    caption = (
        f"Share of questions that any {other} layer solves, for each {side} layer. Filled: true "
        f"counterpart; open: {name}. {sizes([both.true for both in layers])}. {SPREAD} p: "
        "permutation test by fact, after Holm\u2019s correction for all layers of both sides."
    )
    title = f"{formatting.first_upper(formatting.component(bound.component))}, by {side} layer"
    return Panel(title, [], Forest(rows, False, caption))


def _holm(test: LayerTest | None) -> str:
    if test is None or test.test.holm is None:
        return ""
    return f", {formatting.p_equals(test.test.holm)}"


def _strongest(run: RunSummary, component: Component) -> BoundVersus | None:
    """The bound beside the strongest control that knows nothing of the answer."""
    found = [one.strongest.control for one in run.over_controls if one.component == component]
    bounds = (
        bound
        for bound in run.bounds_versus
        if bound.component == component and control_name(bound.control, bound.stratum) in found
    )
    return next(bounds, None)


def bounds_sentences(run: RunSummary) -> list[str]:
    """How much of each upper bound is luck, from the strongest control that knows no answer."""
    note = verdicts.exploratory(run.exploratory, "pass_at_k")
    said = []
    for bound in run.upper_bounds:
        others = [one for one in run.bounds_versus if one.component == bound.component]
        union = Union(bound, _strongest(run, bound.component), others)
        sampled = [
            verdicts.PASS_AT_K.say(Sampled(one, note))
            for one in run.pass_at_k
            if one.component == bound.component
        ]
        said += [verdicts.UNION.say(union), *sampled]
    return said


def _of(splits: list[str]) -> str:
    """``final `` before the word question, if only one split is meant."""
    return f"{splits[0]} " if len(splits) == 1 else ""


def follow_panel(run: RunSummary, split: str | None) -> Panel | None:
    """How often a different-answer donor's answer comes out."""
    entries = [f for f in run.follow if f.split == (split or ALL)]
    if not entries:
        return None
    rows = [line for entry in entries for line in _follow_rows(entry)]
    at_pair = [entry for entry in entries if entry.pair is not None] or entries
    caption = (
        f"Share of outputs that give the donor\u2019s answer, {split or 'all'} questions. "
        f"{sizes([entry.share for entry in entries])}. {SPREAD}"
    )
    sentences = [verdicts.FOLLOW.say(entry) for entry in at_pair]
    return Panel("", sentences, Forest(tuple(rows), False, caption))


def _follow_rows(entry: Follow) -> list[Row]:
    where = "all pairs, mean" if entry.pair is None else f"{entry.pair[0]} \u2192 {entry.pair[1]}"
    label = f"{formatting.first_upper(formatting.component(entry.component))}, {where}"
    gap = formatting.with_interval(entry.difference, difference=True)
    marks = (
        Mark("true", "with the donor\u2019s vector", entry.share),
        Mark("base", "unmodified", entry.vanilla_share),
    )
    return [Row(label, marks, f"{gap} over unmodified")]


def cost_facts(run: RunSummary) -> list[Fact]:
    """Rows, tokens, time."""
    cost = run.cost
    facts = [
        Fact(f"{cost.rows:,}", "answers generated"),
        Fact(f"{cost.generated_tokens:,}", "tokens generated"),
        Fact(f"{cost.prompt_tokens:,}", "prompt tokens"),
    ]
    if cost.seconds is not None and cost.rows_per_second is not None:
        facts.append(Fact(f"{cost.seconds:,.1f}\u202fs", "of forward passes and decoding"))
        facts.append(Fact(f"{cost.rows_per_second:,.0f}", "answers per second"))
    return facts


def notes(run: RunSummary) -> Sequence[str]:
    """What of the run needs care."""
    seen = run.coverage
    ties = seen.near_ties
    near = (
        f"{formatting.count(ties, 'answer')} of {seen.rows:,} had two next tokens (or options) "
        "within "
        f"{seen.near_tie_margin:g} logits of each other somewhere: another batch size may change "
        "those."
    )
    found = [near]
    if seen.near_ties_settled:
        settled = formatting.count(seen.near_ties_settled, "answer")
        found.append(f"{settled} as close were given again in float32, one by one.")
    for stratum, number in seen.without_donor.items():
        if number:
            name = diagnosis.stratum_name(run, control_name("shuffled", stratum))
            found.append(
                f"{formatting.count(number, 'question')} had no donor for \u201c{name}\u201d."
            )
    if seen.not_finite:
        found.append(
            f"{formatting.count(seen.not_finite, 'answer')} had a logit that was not finite."
        )
    if seen.respelled:
        found.append(
            f"In {formatting.count(seen.respelled, 'question')} an option or gold answer would be "
            "other "
            "tokens together with the end of its prompt; the prompt\u2019s tokens stay, and the "
            "answer\u2019s are those that decode to it after them."
        )
    if seen.not_run:
        found.append(
            f"{formatting.count(seen.not_run, 'question')} of the run have no answers "
            f"({seen.failures} failed)."
        )
    found += seen.repeats
    if seen.without_gold:
        found.append(f"{formatting.count(seen.without_gold, 'question')} have no gold answer.")
    return found
