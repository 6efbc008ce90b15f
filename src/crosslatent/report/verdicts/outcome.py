"""What a choice is worth on questions that it was not made on, in one sentence for anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosslatent.core.languages import UNKNOWN
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Phrase
from crosslatent.selectors.findings import Alternative, Finding
from crosslatent.selectors.selector_results import Used
from crosslatent.stats import Estimate

OTHERS = {
    "shuffled": "vectors of other questions",
    "noise": "random noise",
    "mean": "the mean vector",
    "self": "vectors of the question itself",
}
"""Controls, as what is copied instead."""


def whole(estimate: Estimate) -> str:
    """A share in whole percent."""
    return "\u2013" if estimate.value is None else f"{100 * estimate.value:.0f}{formatting.NARROW}%"


def spread(estimate: Estimate) -> str:
    """The interval of a difference in whole points: ``+6 to +24 points``."""
    if estimate.low is None or estimate.high is None:
        return f"{formatting.interval(estimate, difference=True)}"
    low, high = (round(100 * end) for end in (estimate.low, estimate.high))
    return f"{low:+d} to {high:+d} points".replace("-", formatting.MINUS)


def _prompt(one: Finding) -> str:
    lang = one.aux_lang
    named = lang not in (None, UNKNOWN)
    return f"the {formatting.language(lang)} prompt" if named and lang else "the other prompt"


def copied(one: Finding) -> str:
    """What was tested: one pair, one in each fold, or one of several for each question.

    ``copying feed-forward 12 of the English prompt into 14``.
    """
    if one.mixed:
        return (
            f"copying what was best in each fold (one layer pair of {_prompt(one)}, or the surest "
            f"of {one.pairs} for each question, or none)"
        )
    if not one.fixed:
        return f"copying{_surest(one, one.pairs)},"
    pair = one.used[0] if one.used else one.pair
    more = len(one.used) - 1
    others = f" ({formatting.count(more, 'other pair')} in some folds)" if more > 0 else ""
    return f"copying{_one_pair(one, pair)}{others}"


def _surest(one: Finding, pairs: int) -> str:
    return f", for each question, the surest of {pairs} layer pairs of {_prompt(one)}, or none"


def _one_pair(one: Finding, pair: Used) -> str:
    name = formatting.component(pair.component)
    return f" {name} {pair.source} of {_prompt(one)} into {pair.target}"


def method(one: Finding, name: str) -> str:
    """A plain method, as an activity."""
    return {
        "translate_test": f"answering {_prompt(one)} instead",
        "surer": f"answering {_prompt(one)} too and keeping the surer answer",
    }[name]


def strongest(one: Finding) -> Alternative | None:
    """The control that is right most often."""
    return max(one.controls, key=lambda each: each.accuracy.value or 0.0, default=None)


def in_three_lines(one: Finding, everywhere: Estimate) -> Iterator[str]:
    """The unmodified model, the picked pair on questions not picked on, and the best control.

    Args:
        one: the finding.
        everywhere: share of all questions that are right unmodified.
    """
    yield f"Unmodified, {whole(everywhere)} of {everywhere.n:,} questions are right."
    yield (
        f"Picked on some and tested on {one.gain.n:,} others, {copied(one)}: {whole(one.vanilla)} "
        f"-> {whole(one.accuracy)} ({spread(one.gain)})."
    )
    top = strongest(one)
    yield (
        "No control was run there, so luck is not ruled out: add --controls shuffled,noise,self."
        if top is None
        else f"Strongest control there, {OTHERS[top.name]}: {whole(top.accuracy)}."
    )


def _is_higher(best: Alternative | None, one: Finding) -> bool:
    return best is not None and (best.accuracy.value or 0.0) > (one.accuracy.value or 0.0)


def _controls(one: Finding) -> str:
    top = strongest(one)
    if top is None:
        return "what other vectors do there was not run"
    return f"with {OTHERS[top.name]}, the strongest control, it is {whole(top.accuracy)}"


def _plain(one: Finding) -> str:
    if not one.plain:
        return "what a plain method does is not known (no gold answers of the other prompt)"
    best = max(one.plain, key=lambda each: each.accuracy.value or 0.0)
    return f"{method(one, best.name)} is right on {whole(best.accuracy)}"


def _values(one: Finding) -> Mapping[str, str]:
    what, best = copied(one), one.best_plain
    questions = f"{one.gain.n:,} {'held-out' if one.kind == 'folds' else 'unseen'} questions"
    return {
        "What": formatting.first_upper(what),
        "what": what,
        "before": whole(one.vanilla),
        "after": whole(one.accuracy),
        "questions": questions,
        "spread": spread(one.gain),
        "controls": _controls(one),
        "plain": _plain(one),
        "Plain": formatting.first_upper(_plain(one)),
        "lucky": formatting.listing(OTHERS[each.name] for each in one.lucky),
        "lucky_share": formatting.listing(whole(each.accuracy) for each in one.lucky),
        "best": "" if best is None else method(one, best.name),
        "Best": "" if best is None else formatting.first_upper(method(one, best.name)),
        "best_share": "" if best is None else whole(best.accuracy),
        "still": "better still," if _is_higher(best, one) else "shown to help too,",
        "best_spread": "" if best is None else spread(best.gain),
    }


FINDING: Family[Finding] = Family(
    "finding",
    _values,
    {
        "lifts": Phrase(
            lambda one: one.verdict == "lifts",
            "{What} lifts {before} to {after} on {questions} ({spread}); {controls}.",
        ),
        "unproven": Phrase(
            lambda one: one.verdict == "unproven",
            "{What} lifts {before} to {after} on {questions} ({spread}), but that other vectors do "
            "not is not known: not all of shuffled, noise and self were run there.",
        ),
        "luck": Phrase(
            lambda one: one.verdict == "luck",
            "{What} is right on {after} of {questions} instead of {before} ({spread}), but that is "
            "not shown to be more than {lucky} ({lucky_share}): what is copied may not matter.",
        ),
        "plain": Phrase(
            lambda one: one.verdict == "plain",
            "{Best} lifts {before} to {best_share} on {questions} ({best_spread}); {what} is not "
            "shown to help ({after}, {spread}).",
        ),
        "harms": Phrase(
            lambda one: one.verdict == "harms",
            "Nothing that was tried is shown to be better than chance, and {what} does harm: "
            "{before} falls to {after} on {questions} ({spread}); {plain}.",
        ),
        "nothing": Phrase(
            lambda one: one.verdict == "nothing",
            "Nothing that was tried is shown to be better than chance: {what} is right on {after} "
            "of {questions}, the unmodified model on {before} ({spread}); {plain}.",
        ),
        "transplant": Phrase(
            lambda one: one.recommended == "choice" and bool(one.plain),
            "{Plain}.",
        ),
        "rather": Phrase(
            lambda one: (
                one.verdict not in ("plain", "nothing")
                and one.best_plain is not None
                and one.recommended != "choice"
            ),
            "{Best} is {still} {best_share}, and needs no transplant.",
        ),
    },
)


def use(one: Finding) -> str:
    """What to do now, as an imperative."""
    name = one.recommended
    if name is None:
        return "Leave the answers as they are."
    if name == "choice":
        what = _one_pair(one, one.pair) if one.kept == 1 else _surest(one, one.kept)
        return f"Use: copy{what}."
    if name == "translate_test":
        return f"Use: answer {_prompt(one)} instead."
    return "Use: answer both prompts and keep the surer answer."
