"""From a run's summary to panels: accuracy, upper bound, donors, cost, what needs care."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.accuracy import Accuracy
from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting, graded, verdicts
from crosslatent.report.gains import by_language, stratum_name, strongest_bound
from crosslatent.report.verdicts.effects import Union
from crosslatent.report.verdicts.grid_verdicts import Sampled
from crosslatent.report.views import Fact

_WAYS = ("vanilla", "translate_test", "majority")


def accuracy_sentences(run: RunSummary) -> list[str]:
    """How much the unmodified model knows, and by which rule answers are right."""
    by_lang = by_language(run)
    if not by_lang:
        return []
    said = (_accuracy_sentence(by_lang, run.direction), _majority_sentence(by_lang))
    return [sentence for sentence in (*said, graded.rule_sentence(run)) if sentence]


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


def bounds_sentences(run: RunSummary) -> list[str]:
    """How much of each upper bound is luck, from the strongest control that knows no answer."""
    note = verdicts.exploratory(run.exploratory, "pass_at_k")
    said = []
    for bound in run.upper_bounds:
        others = [one for one in run.bounds_versus if one.component == bound.component]
        union = Union(bound, strongest_bound(run, bound.component), others)
        sampled = [
            verdicts.PASS_AT_K.say(Sampled(one, note))
            for one in run.pass_at_k
            if one.component == bound.component
        ]
        said += [verdicts.UNION.say(union), *sampled]
    return said


def follow_sentences(run: RunSummary, split: str | None) -> list[str]:
    """Whether outputs give the answer of a donor with a different answer."""
    entries = [entry for entry in run.follow if entry.split == (split or ALL)]
    at_pair = [entry for entry in entries if entry.pair is not None]
    return [verdicts.FOLLOW.say(entry) for entry in at_pair or entries]


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
            name = stratum_name(run, control_name("shuffled", stratum))
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
