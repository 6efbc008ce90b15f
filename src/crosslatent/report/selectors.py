"""Choosing the pair for each question: selectors on data that they were not fitted on."""

from __future__ import annotations

from crosslatent.report import words
from crosslatent.report.forest import SPREAD, Forest, Row, row, sizes
from crosslatent.report.views import Panel, Section, Table
from crosslatent.select import ENOUGH_PILOT_ITEMS
from crosslatent.selectors import Choosing
from crosslatent.selectors.registry import REFERENCE
from crosslatent.selectors.results import MOST_COST, Baseline, Evaluation, SelectorResult
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
_MOST_NAMED = 3
"""Selectors that a sentence names."""
_BEFORE = ("vanilla", "random_pair")


def missing(choosing: Choosing) -> list[str]:
    """What could not be fitted or computed, and why."""
    if choosing.evaluation is None:
        return [choosing.missing] if choosing.missing else []
    return list(choosing.evaluation.missing)


def selectors_section(evaluation: Evaluation) -> Section:
    """A heading with the verdict, and one row for each way to choose."""
    return Section(
        "Choosing the pair without the answer",
        verdict(evaluation),
        [accuracy_panel(evaluation), *_against_pilot(evaluation)],
    )


def verdict(evaluation: Evaluation) -> list[str]:
    """What came of it, in plain sentences: as plain for a bad result as for a good one.

    Nothing, where questions are tested on that were fitted on.
    """
    if evaluation.trained_on:
        told = f"{_trained(evaluation)}: nothing is concluded from these figures."
        return [_setting(evaluation), told]
    sentences = [_setting(evaluation), _beating(evaluation), _recovering(evaluation)]
    other = evaluation.baseline("translate_test")
    if other is not None:
        sentences.append(
            "Answering the counterpart instead (translate-test, cost 1) is right on "
            f"{words.with_interval(other.accuracy, difference=False)}."
        )
    return [sentence for sentence in sentences if sentence]


def _setting(evaluation: Evaluation) -> str:
    out = evaluation.left_out
    left = f"; {words.count(out, 'question')} left out, whose fact is in both" if out else ""
    number = len(evaluation.selectors)
    what = words.listing(words.component(name) for name in evaluation.components)
    few = ""
    if evaluation.tune_items < ENOUGH_PILOT_ITEMS:
        few = f" Below about {ENOUGH_PILOT_ITEMS} tuning questions a choice is close to noise."
    return (
        f"{words.count(number, 'selector')} {'choose' if number > 1 else 'chooses'} among "
        f"{words.count(evaluation.candidates, 'candidate pair')} ({what}). Fitted on "
        f"{words.count(evaluation.tune_items, evaluation.tune + ' question')}; tested on "
        f"{evaluation.items:,} {evaluation.test} ones about {evaluation.clusters:,} facts{left}."
        f"{few}"
    )


def _trained(evaluation: Evaluation) -> str:
    return f"{evaluation.trained_on:,} of {evaluation.items:,} questions were trained on"


def _beating(evaluation: Evaluation) -> str:
    """Whether any selector is better than the fixed pilot pair and than no transplant."""
    found = evaluation.selectors
    if all(one.name != REFERENCE.name for one in found):
        return "The fixed pilot pair was not run on these questions: nothing is compared with it."
    within = f"at no more than {MOST_COST:g} times the cost of an unmodified answer"
    better = [one for one in found if one.beats_pilot]
    if better:
        parts = _several([f"{_quoted(one)} by {_both_gains(one)}" for one in better])
        return f"Better than the fixed pilot pair, {within}: {parts}."
    sentence = f"No selector could be shown to beat the fixed pilot pair {within}"
    harmless = [one for one in found if one.above_pilot]
    if harmless:
        parts = _several([f"{_quoted(one)} ({_both_gains(one)})" for one in harmless])
        return (
            f"{sentence} and the unmodified model too: {parts} would beat the pair, but no gain "
            "over the unmodified model could be shown."
        )
    weak = [
        one
        for one in found
        if one.affordable and one.versus_pilot is not None and one.versus_pilot.above_zero
    ]
    if not weak:
        return f"{sentence}."
    parts = _several(
        [
            f"{_quoted(one)} ({_both_gains(one)}, corrected p\u202f{_equals(one.p_holm)})"
            for one in weak
        ]
    )
    number = sum(one.p_value is not None for one in found)
    return (
        f"{sentence}: by the interval alone, {parts} would, but not after correction for "
        f"{words.count(number, 'comparison')}."
    )


def _several(parts: list[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(parts) - _MOST_NAMED
    return words.listing(parts[:_MOST_NAMED] + ([f"{more} more"] if more > 0 else []))


def _quoted(found: SelectorResult) -> str:
    return f"\u201c{found.name}\u201d"


def _both_gains(found: SelectorResult) -> str:
    return f"{_points(found.versus_pilot)}, {_points(found.gain)} over the unmodified model"


def _recovering(evaluation: Evaluation) -> str:
    """How much of the gap the pilot pair recovers, and whether a choice recovers over half."""
    bound = evaluation.baseline("upper_bound")
    if bound is None or not bound.gain.value or bound.gain.value <= 0:
        return (
            "The upper bound lies no higher than the unmodified model, so there is no gap to "
            "recover."
        )
    if all(one.name != REFERENCE.name for one in evaluation.selectors):
        return ""
    gap = f"the {words.points(bound.gain.value)} points up to the upper bound"
    if not any(found.recovered_net and found.recovered_net.n for found in evaluation.selectors):
        return (
            f"How much of {gap} is recovered net of luck is not known: no shuffled control of it."
        )
    return " ".join(
        part for part in (_pilot_share(evaluation, gap), _half(evaluation, gap)) if part
    )


def _pilot_share(evaluation: Evaluation, gap: str) -> str:
    """The share of the pair that is chosen once for all."""
    pilot = next(one for one in evaluation.selectors if one.name == REFERENCE.name)
    return f"The fixed pilot pair recovers of {gap}: {_shares(pilot)}. {_harm(pilot)}".strip()


def _half(evaluation: Evaluation, gap: str) -> str:
    """How many selectors that differ from the pilot pair recover more than half."""
    if evaluation.candidates == 1:
        return "With one candidate pair there is nothing to choose."
    half = [found for found in evaluation.selectors if found.differs and found.recovers_half]
    if not half:
        return (
            f"No selector that differs from it recovers more than half of {gap}, net of luck, at "
            f"no more than {MOST_COST:g} times the cost of an unmodified answer."
        )
    best = min(half, key=lambda found: (found.cost, -(found.accuracy.value or 0.0)))
    tried = sum(found.differs for found in evaluation.selectors)
    sentence = (
        f"Of {words.count(tried, 'selector')} that {'differ' if tried > 1 else 'differs'} from it, "
        f"{len(half)} {'recover' if len(half) > 1 else 'recovers'} more than half, net of luck "
        f"(not corrected for their number); the cheapest is {_quoted(best)}: {_shares(best)}."
    )
    return f"{sentence} {_harm(best)}".strip()


def _shares(found: SelectorResult) -> str:
    """Gross and net share with intervals, and the cost."""
    return (
        f"{_share(found.recovered)} gross, {_share(found.recovered_net)} net of luck, at cost "
        f"{found.cost:g}"
    )


def _harm(found: SelectorResult) -> str:
    if found.shuffled_gain is None or not found.shuffled_gain.below_zero:
        return ""
    return (
        "The net share exceeds the gross one because vectors of other questions do harm here: "
        f"{_points(found.shuffled_gain)}."
    )


def accuracy_panel(evaluation: Evaluation) -> Panel:
    """Share of right answers by selector, between the plain ways to answer and the upper bound."""
    lines = [_baseline_row(found) for found in _baselines(evaluation, before=True)]
    ordered = sorted(evaluation.selectors, key=lambda found: found.cost)
    lines += [
        row(found.name, "true", found.accuracy, _detail(found.cost, found.abstained))
        for found in ordered
    ]
    lines += [_baseline_row(found) for found in _baselines(evaluation, before=False)]
    caption = (
        f"Share of right answers on the {evaluation.test} questions, by cost. Cost: forward passes "
        "relative to one unmodified answer, as if no prefix were shared. "
        f"{sizes([line.marks[0].estimate for line in lines])}. {SPREAD}"
    )
    return Panel("Right answers", [], Forest(tuple(lines), False, caption))


def _baselines(evaluation: Evaluation, *, before: bool) -> list[Baseline]:
    return [found for found in evaluation.baselines if (found.name in _BEFORE) == before]


def _baseline_row(found: Baseline) -> Row:
    detail = found.about if found.cost is None else f"cost {found.cost:g}"
    return row(_label(found), _KINDS.get(found.name, "reference"), found.accuracy, detail)


def _label(found: Baseline) -> str:
    return _NAMES.get(found.name, words.first_upper(found.about))


def _detail(cost: float, abstained: Estimate) -> str:
    left = f", {words.percent(abstained.value)} left unmodified" if abstained.value else ""
    return f"cost {cost:g}{left}"


def _against_pilot(evaluation: Evaluation) -> list[Panel]:
    """Points of difference to the fixed pilot pair; none if only that pair was tested."""
    compared = [
        (found, found.versus_pilot)
        for found in evaluation.selectors
        if found.versus_pilot is not None
    ]
    if not compared:
        return []
    lines = tuple(
        row(found.name, "true", difference, _corrected(found)) for found, difference in compared
    )
    caption = (
        f"Points of accuracy more (or fewer) than the fixed pilot pair, {evaluation.test} "
        "questions. P-values: the two exchanged by fact, corrected after Holm for all rows. "
        f"{sizes([difference for _, difference in compared])}. {SPREAD}"
    )
    return [Panel("Against the fixed pilot pair", [], Forest(lines, True, caption))]


def selectors_table(evaluation: Evaluation) -> Table:
    """Every figure of every selector, then the baselines."""
    head = ["selector", "what it does", "right", "gain", "of the gap", "net of luck"]
    head += ["against pilot pair", "cost", "unmodified"]
    rows = [_selector_cells(found) for found in evaluation.selectors]
    rows += [_baseline_cells(found) for found in evaluation.baselines]
    if evaluation.trained_on:
        head.append("trained on")
        told = f"{evaluation.trained_on:,} of {evaluation.items:,}"
        rows = [
            [*cells, told if place < len(evaluation.selectors) else ""]
            for place, cells in enumerate(rows)
        ]
    caption = (
        f"Selectors fitted on the {evaluation.tune} split of {evaluation.tuned_on}, tested on the "
        f"{evaluation.test} split of {evaluation.tested_on} (n\u202f=\u202f{evaluation.items:,} "
        f"questions, {evaluation.clusters:,} independent facts). Of the gap: gain over the gap "
        "between the unmodified model and the upper bound. Net of luck: the gain minus that of the "
        "same selector on the shuffled control\u2019s rows, over the same gap; "
        "attribution scores and the answer to aux stay those of the true counterpart there, so for "
        "attribution and for learned selectors with aux some luck is left in. Cost: forward passes "
        "relative to one unmodified answer."
    )
    if evaluation.trained_on:
        caption = f"{_trained(evaluation)}. {caption}"
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def _selector_cells(found: SelectorResult) -> list[str]:
    return [
        found.name,
        found.about,
        words.with_interval(found.accuracy, difference=False),
        words.with_interval(found.gain, difference=True),
        _share(found.recovered),
        _share(found.recovered_net),
        _difference(found.versus_pilot),
        f"{found.cost:g}",
        words.percent(found.abstained.value),
    ]


def _baseline_cells(found: Baseline) -> list[str]:
    return [
        _label(found),
        found.about,
        words.with_interval(found.accuracy, difference=False),
        _difference(found.gain) if found.name != "vanilla" else "\u2013",
        *["\u2013"] * 3,
        "\u2013" if found.cost is None else f"{found.cost:g}",
        "\u2013",
    ]


def _share(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "\u2013"
    return words.with_interval(estimate, difference=False)


def _difference(estimate: Estimate | None) -> str:
    return "\u2013" if estimate is None else words.with_interval(estimate, difference=True)


def _points(estimate: Estimate | None) -> str:
    if estimate is None:
        return "\u2013"
    ends = words.interval(estimate, difference=True)
    return f"{words.points(estimate.value)} points ({ends})"


def _corrected(found: SelectorResult) -> str:
    if found.p_holm is None:
        return "no question differs"
    return f"corrected p\u202f{_equals(found.p_holm)}"


def _equals(value: float | None) -> str:
    text = words.p_value(value)
    return text if text.startswith("<") else f"= {text}"
