"""Choosing the pair for each question: selectors on data that they were not fitted on.

And attribution: whether scores from gradients rank the pairs as the true sweep does.
"""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.attribution_quality import AttributionResult
from crosslatent.analysis.items import ALL
from crosslatent.analysis.pair_choice import ENOUGH_PILOT_ITEMS
from crosslatent.report import formatting, verdicts
from crosslatent.report.forest import SPREAD, Forest, Row, row, sizes
from crosslatent.report.verdicts.choosing import Choice, groups
from crosslatent.report.verdicts.outcome import spread, whole
from crosslatent.report.views import Passage, Table
from crosslatent.selectors import Choosing
from crosslatent.selectors.selector_results import Baseline, SelectorEvaluation, SelectorResult
from crosslatent.stats import Estimate

_KINDS = {"vanilla": "base", "random_pair": "control"}
_NAMES = {
    "vanilla": "Unmodified",
    "translate_test": "Translate-test",
    "surer": "The surer of both prompts",
    "surer_calibrated": "The surer of both prompts, calibrated",
    "majority": "Majority option",
    "random_pair": "A random pair",
    "upper_bound": "Upper bound (an oracle)",
}
_BEFORE = ("vanilla", "random_pair")
_OUTCOMES = {
    "rise": "largest rise of an option",
    "gold_logprob": "gain of the gold answer",
    "correct": "right or wrong",
}
_GROUPS = {
    "all": "all questions",
    "wrong": "wrong without a transplant",
    "right": "right without a transplant",
}


def missing(choosing: Choosing) -> list[str]:
    """What could not be fitted or computed, and why."""
    if choosing.evaluation is None:
        return [choosing.missing] if choosing.missing else []
    return list(choosing.evaluation.missing)


def verdict(evaluation: SelectorEvaluation, new: Sequence[str] = ()) -> list[str]:
    """What came of it, in plain sentences: as plain for a bad result as for a good one.

    Nothing, where questions are tested on that were fitted on.
    """
    if evaluation.trained_on:
        warning = f"{_trained(evaluation)}: nothing is concluded from these figures."
        return [_setting(evaluation), warning]
    choice = Choice(evaluation, verdicts.exploratory(new, "strict_room"))
    sentences = [
        _setting(evaluation),
        *(family.say(choice) for family in (verdicts.BEATS, verdicts.RECOVERS, verdicts.STRICT)),
        *(_other(evaluation, name, new) for name in ("translate_test", "surer")),
    ]
    return [sentence for sentence in sentences if sentence]


def advice(evaluation: SelectorEvaluation, name: str) -> str:
    """What to use, in one line: a selector if it is shown to help, or none.

    Args:
        evaluation: on questions that were not fitted on.
        name: of the selector.
    """
    found = next((one for one in evaluation.selectors if one.name == name), None)
    if found is None or evaluation.trained_on:
        return ""
    used = [f"{one.component} {one.source} -> {one.target}" for one in found.used]
    what = used[0] if len(used) == 1 and not found.other.value else f"{name} ({found.about})"
    before = evaluation.baseline("vanilla")
    from_to = f"{whole(before.accuracy)} -> {whole(found.accuracy)}" if before else ""
    tested = f"{evaluation.items:,} {evaluation.test} questions"
    figures = f"{from_to} on {tested} ({spread(found.gain)})"
    if not found.gain.above_zero:
        return f"Leave the answers as they are: {what} is not shown to help, {figures}."
    if found.over_shuffled is not None and not found.over_shuffled.above_zero:
        return f"Use {what} with care: {figures}, but not shown to be more than other vectors do."
    unproven = "" if found.over_shuffled is not None else " Other vectors were not run there."
    return f"Use {what}: {figures}.{unproven}{_better(evaluation, found)}"


def _better(evaluation: SelectorEvaluation, found: SelectorResult) -> str:
    """A way without a transplant that is right more often, and better than the unmodified model."""
    ways = [evaluation.baseline(name) for name in ("translate_test", "surer")]
    least = found.accuracy.value or 0.0
    higher = [w for w in ways if w and w.gain.above_zero and (w.accuracy.value or 0.0) > least]
    if not higher:
        return ""
    best = max(higher, key=lambda way: way.accuracy.value or 0.0)
    return f" {_label(best)} is right more often ({whole(best.accuracy)}), without a transplant."


def _other(evaluation: SelectorEvaluation, name: str, new: Sequence[str]) -> str:
    found = evaluation.baseline(name)
    if found is None:
        return ""
    return (
        f"{_label(found)} (cost {found.cost:g}: {found.about}) is right on "
        f"{formatting.with_interval(found.accuracy, difference=False)}"
        f"{verdicts.exploratory(new, name)}."
    )


def _setting(evaluation: SelectorEvaluation) -> str:
    out = evaluation.left_out
    left = f"; {formatting.count(out, 'question')} left out, whose fact is in both" if out else ""
    number, apart = len(evaluation.selectors), len(groups(evaluation))
    ways = "" if apart == number else f", in {formatting.count(apart, 'way')} that differ,"
    what = formatting.listing(formatting.component(name) for name in evaluation.components)
    few = ""
    if evaluation.tune_items < ENOUGH_PILOT_ITEMS:
        few = f" Below about {ENOUGH_PILOT_ITEMS} tuning questions a choice is close to noise."
    fitted = (
        f"Fitted on {formatting.count(evaluation.tune_items, evaluation.tune + ' question')}; "
        f"tested on {evaluation.items:,} {evaluation.test} ones about {evaluation.clusters:,} "
        f"facts{left}."
    )
    return (
        f"{formatting.count(number, 'selector')}{ways} {'choose' if number > 1 else 'chooses'} "
        "among "
        f"{formatting.count(evaluation.candidates, 'candidate pair')} ({what}). "
        f"{evaluation.divided or fitted}"
        f"{few}"
    )


def _trained(evaluation: SelectorEvaluation) -> str:
    return f"{evaluation.trained_on:,} of {evaluation.items:,} questions were trained on"


def accuracy_forest(evaluation: SelectorEvaluation) -> Forest:
    """Share of right answers by selector, between the plain ways to answer and the upper bound."""
    lines = [_baseline_row(found) for found in _baselines(evaluation, before=True)]
    lines += [
        row(_short(group), "true", group[0].accuracy, _detail(group))
        for group in sorted(groups(evaluation), key=lambda group: group[0].cost)
    ]
    lines += [_baseline_row(found) for found in _baselines(evaluation, before=False)]
    caption = (
        f"Share of right answers on the {evaluation.test} questions, by cost. Cost: forward passes "
        "relative to one unmodified answer, as if no prefix were shared. "
        f"{sizes([line.marks[0].estimate for line in lines])}. {SPREAD}"
    )
    return Forest(tuple(lines), False, caption)


def _baselines(evaluation: SelectorEvaluation, *, before: bool) -> list[Baseline]:
    return [found for found in evaluation.baselines if (found.name in _BEFORE) == before]


def _baseline_row(found: Baseline) -> Row:
    detail = found.about if found.cost is None else f"cost {found.cost:g}"
    return row(_label(found), _KINDS.get(found.name, "reference"), found.accuracy, detail)


def _label(found: Baseline) -> str:
    return _NAMES.get(found.name, formatting.first_upper(found.about))


def _short(group: Sequence[SelectorResult]) -> str:
    """The first of selectors that are alike, and how many more there are."""
    more = f" and {len(group) - 1} alike" if len(group) > 1 else ""
    return f"{group[0].name}{more}"


def _cost(group: Sequence[SelectorResult]) -> str:
    costs = [found.cost for found in group]
    low, high = min(costs), max(costs)
    return f"{low:g}" if low == high else f"{low:g}\u2013{high:g}"


def _detail(group: Sequence[SelectorResult]) -> str:
    shares = {
        "left unmodified": group[0].abstained.value,
        "answered as aux is": group[0].other.value,
    }
    left = "".join(f", {formatting.percent(n)} {what}" for what, n in shares.items() if n)
    names = formatting.listing(found.name for found in group[1:])
    alike = f"; right on the same questions: {names}" if names else ""
    return f"cost {_cost(group)}{left}{alike}"


def versus_pilot_forest(evaluation: SelectorEvaluation) -> Forest:
    """Points of difference to the fixed pilot pair; no rows if only that pair was tested."""
    compared = [
        (group, group[0].versus_pilot)
        for group in groups(evaluation)
        if group[0].versus_pilot is not None
    ]
    lines = tuple(
        row(_short(group), "true", difference, _corrected(group[0]))
        for group, difference in compared
    )
    caption = (
        f"Points of accuracy more (or fewer) than the fixed pilot pair, {evaluation.test} "
        "questions. P-values: the two exchanged by fact, corrected after Holm for all rows. "
        f"{sizes([difference for _, difference in compared])}. {SPREAD}"
    )
    return Forest(lines, True, caption)


def selectors_table(evaluation: SelectorEvaluation) -> Table:
    """Every figure of every selector, then the baselines."""
    head = ["selector", "what it does", "right", "gain", "of the gap", "right \u2212 shuffled"]
    head += ["strict room", "against pilot pair", "cost", "unmodified", "answer to aux"]
    rows = [_selector_cells(group) for group in groups(evaluation)]
    rows += [_baseline_cells(found) for found in evaluation.baselines]
    if evaluation.trained_on:
        head.append("trained on")
        exposed = f"{evaluation.trained_on:,} of {evaluation.items:,}"
        rows = [
            [*cells, exposed if place < len(groups(evaluation)) else ""]
            for place, cells in enumerate(rows)
        ]
    caption = (
        f"Selectors fitted on the {evaluation.tune} split of {evaluation.tuned_on}, tested on the "
        f"{evaluation.test} split of {evaluation.tested_on} (n\u202f=\u202f{evaluation.items:,} "
        f"questions, {evaluation.clusters:,} independent facts). Of the gap: gain over the gap "
        "between the unmodified model and the upper bound. Right \u2212 shuffled: points of "
        "accuracy more than the same selector on rows with vectors of other questions, drawn "
        "blindly; attribution scores and the answer to aux stay those of the true counterpart "
        "there. Strict room: questions that some true pair solves, and neither this choice nor "
        f"any pair of any control does (controls run over the same pairs: {_controls(evaluation)}; "
        "of the shuffled one, every stratum). Selectors that are right on the same questions share "
        "a row. Cost: forward passes relative to one unmodified answer."
    )
    if evaluation.trained_on:
        caption = f"{_trained(evaluation)}. {caption}"
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def _controls(evaluation: SelectorEvaluation) -> str:
    return formatting.listing(evaluation.strict_controls) or "none"


def _selector_cells(group: Sequence[SelectorResult]) -> list[str]:
    found = group[0]
    names = formatting.listing(one.name for one in group[1:])
    return [
        _short(group),
        f"{found.about}; right on the same questions: {names}" if names else found.about,
        formatting.with_interval(found.accuracy, difference=False),
        formatting.with_interval(found.gain, difference=True),
        _share(found.recovered),
        _difference(found.over_shuffled),
        _share(found.strict_room),
        _difference(found.versus_pilot),
        _cost(group),
        formatting.percent(found.abstained.value),
        formatting.percent(found.other.value),
    ]


def _baseline_cells(found: Baseline) -> list[str]:
    return [
        _label(found),
        found.about,
        formatting.with_interval(found.accuracy, difference=False),
        _difference(found.gain) if found.name != "vanilla" else "\u2013",
        *["\u2013"] * 2,
        _share(found.strict_room),
        "\u2013",
        "\u2013" if found.cost is None else f"{found.cost:g}",
        *["\u2013"] * 2,
    ]


def _share(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "\u2013"
    return formatting.with_interval(estimate, difference=False)


def _difference(estimate: Estimate | None) -> str:
    return "\u2013" if estimate is None else formatting.with_interval(estimate, difference=True)


def _corrected(found: SelectorResult) -> str:
    if found.p_holm is None:
        return "no question differs"
    return f"corrected {formatting.p_equals(found.p_holm)}"


def attribution(results: Sequence[AttributionResult]) -> list[Passage]:
    """How good the scores are; empty if the run has none."""
    if not results:
        return []
    failed = {one.component for one in results if one.trust and one.trust.granted is False}
    ranked = [one for one in results if one.component not in failed]
    tables = [_found(ranked), _agreement(results)]
    said = [
        [verdicts.RANKING.say(one), "" if one.component in failed else _sentence(one)]
        for one in results
        if one.split == ALL
    ]
    return [
        Passage([" ".join(filter(None, parts)) for parts in said]),
        Passage(tables=tables, fold="Attribution: all pairs ranked from gradients"),
    ]


def _sentence(result: AttributionResult) -> str:
    name = formatting.first_upper(formatting.component(result.component))
    if not result.found:
        return f"{name}: no question is both wrong unmodified and repaired by some pair."
    least = result.found[0]
    found = formatting.with_interval(least.attribution, difference=False)
    random, fixed = formatting.percent(least.random.value), formatting.percent(least.fixed.value)
    return (
        f"{name}: of {formatting.count(result.solvable, 'question')} that are wrong unmodified "
        "and that "
        f"some pair repairs, the {least.k} pairs with the highest scores hold a repairing one for "
        f"{found}; as many drawn at random {random}, the same {least.k} for every question {fixed}."
    )


def _found(results: Sequence[AttributionResult]) -> Table:
    rows = [
        [
            formatting.component(result.component),
            _split(result),
            str(found.k),
            formatting.with_interval(found.attribution, difference=False),
            formatting.percent(found.random.value),
            formatting.with_interval(found.over_random, difference=True),
            formatting.percent(found.fixed.value),
            formatting.with_interval(found.over_fixed, difference=True),
        ]
        for result in results
        for found in result.found
    ]
    head = ["component", "split", "k", "found", "random", "over random", "fixed", "over fixed"]
    caption = (
        "Share of the questions that some pair repairs with such a pair among the k that are run: "
        "those with the highest scores, k drawn at random (expected), or the same k for every "
        "question, the best on questions about other facts. No score sees a gold answer."
    )
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def _agreement(results: Sequence[AttributionResult]) -> Table:
    rows = [
        [
            formatting.component(result.component),
            _split(result),
            _OUTCOMES[agreement.outcome],
            _GROUPS[agreement.group],
            _number(agreement.correlation.value),
            f"{_number(agreement.correlation.low)} to {_number(agreement.correlation.high)}",
            f"{agreement.correlation.n:,}",
        ]
        for result in results
        for agreement in result.agreement
    ]
    head = ["component", "split", "with", "among", "correlation", "interval", "n"]
    caption = (
        "Spearman\u2019s rank correlation of the scores with what the pairs did, within each "
        "question; mean over questions."
    )
    return Table(head, rows, caption, frozenset((4, 5, 6)))


def _split(result: AttributionResult) -> str:
    return "all" if result.split == ALL else result.split


def _number(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.2f}".replace("-", formatting.MINUS)
