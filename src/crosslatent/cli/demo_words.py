"""What ``crosslatent demo`` says: before anything is known, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.demo import FirstLook


def first_words(found: FirstLook) -> str:
    """What a first look says, and why it is no result yet."""
    pair = found.pair
    return (
        f"A first look, {pair.n} {pair.split} questions: {found.vanilla} right unmodified, "
        f"{pair.correct} with {pair.component} {pair.source} -> {pair.target}, the best of all "
        "pairs on these same questions. That is too good to be true: below, a pair is picked on "
        "some questions and tested on others."
    )


def introduction() -> Iterator[str]:
    """What is about to be done, for somebody who has never heard of it."""
    from crosslatent.demo import TASKS, task_of

    yield (
        "A model often knows a fact in one language and fails to give it in another. The demo asks "
        "a small multilingual model each question as it is, and again with one internal vector of "
        "the same question in the other language copied in (a transplant)."
    )
    yield (
        "A sweep does that for every pair of layers: the one that the vector is read in (source), "
        "and the one that it is copied to (target). Then it does the same with other vectors (of "
        "other questions, of the question itself, their mean, random noise: the controls), which "
        "say how much of the gain is luck."
    )
    for number, name in enumerate(TASKS, 1):
        task = task_of(name)
        size = f"{len(task.items):,} questions"
        yield f"Task {number} of {len(TASKS)}, {name}: {task.title} ({size})."
    yield (
        "While it runs: prompts are read once each; then items (questions) are answered, and a row "
        "is one answer with one vector copied in."
    )


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What summary.json says, in a few lines for people."""
    headline = summary["headline"]
    if headline is None:
        yield f"No headline: {summary['headline_missing']}"
    else:
        yield from _headline(headline)
        for run in summary["runs"]:
            if run["name"] == headline["run"]:
                yield from _ways(run)
    for run in summary["runs"]:
        if run["upper_bounds"]:
            yield (
                f"\n{run['title']}: share of the questions that at least one pair of layers "
                "solves, beside as many tries with other vectors"
            )
            yield from _bounds(run)


def _headline(headline: Mapping[str, Any]) -> Iterator[str]:
    from crosslatent.report.verdicts import HEADLINE

    declared = headline["declared"]
    yield (
        f"Declared before the run: {declared['component']} {headline['source']} -> "
        f"{headline['target']}, picked on the {declared['tune']} questions, tested on the "
        f"{headline['n']} {declared['test']} ones."
    )
    yield (
        f"  (This output of block {headline['source']}, read in the counterpart, is copied to "
        f"block {headline['target']} of the question.)"
    )
    yield f"  {'right, unmodified':<28} {_percent(headline['vanilla'])}"
    yield f"  {'right, with transplant':<28} {_percent(headline['transplant'])}"
    yield (
        f"  {'gain':<28} {_points(headline['gain'])}; {headline['repaired']} repaired, "
        f"{headline['broken']} broken"
    )
    yield "  Gain at the same pair with other vectors:"
    for control in headline["controls"]:
        yield f"    {_control(control):<26} {_points(control['gain'])}"
    yield f"  {HEADLINE.say(headline['conditions'])}"
    for held, said in ((False, "does not hold"), (None, "not judged")):
        for name, found in headline["conditions"].items():
            if found is held:
                yield f"    {said}: {name.replace('_', ' ')}"


def _ways(run: Mapping[str, Any]) -> Iterator[str]:
    """Other ways to answer the same questions, and the pair that the paper recommends."""
    names = {
        "translate_test": "the counterpart answered instead (translate-test)",
        "surer": "both answered, the likelier answer kept (surer)",
        "surer_calibrated": "the same, calibrated on the pilot questions",
        "preset": "the pair that the paper recommends",
    }
    if run["ways"]:
        yield "  Right without a transplant, or with the paper's own pair:"
    for way in run["ways"]:
        new = "surer" in run["exploratory"] and way["name"].startswith("surer")
        note = "; exploratory: defined after the rows were seen" if new else ""
        pair = " {} {} -> {}".format(*way["pair"]) if way["pair"] else ""
        yield (
            f"    {names[way['name']]}{pair}: {_percent(way['accuracy'])}, gain "
            f"{_points(way['gain'])}{note}"
        )


def _bounds(run: Mapping[str, Any]) -> Iterator[str]:
    for bound in run["upper_bounds"]:
        controls = [
            f"{_control(versus)} {_percent(versus['overall']['control'])}"
            for versus in run["bounds_versus"]
            if versus["component"] == bound["component"]
        ]
        beside = f" beside {', '.join(controls)}" if controls else ""
        yield f"  {bound['component']:<5} {_percent(bound['overall'])}{beside}"
        for found in run["pass_at_k"]:
            if found["component"] == bound["component"]:
                yield f"        {_sampled(found, run['exploratory'])}"


def _sampled(found: Mapping[str, Any], exploratory: Sequence[str]) -> str:
    """pass@K of a component, and the bound minus it."""
    note = "; exploratory: defined after the rows were seen" if "pass_at_k" in exploratory else ""
    gap = "fewer samples than pairs, so not compared"
    if found["versus"] is not None:
        gap = f"the pairs minus that: {_points(found['versus']['difference'])}"
    return f"sampled without a transplant ({found['name']}) {_percent(found['share'])}; {gap}{note}"


def _control(control: Mapping[str, Any]) -> str:
    name = str(control["control"])
    return f"{name} ({control['stratum'].replace('_', ' ')})" if control["stratum"] else name


def _percent(estimate: Mapping[str, Any]) -> str:
    value = estimate["value"]
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "-"
    text = f"{100 * estimate['value']:+.1f} points"
    if estimate["low"] is None:
        return text
    return f"{text} ({100 * estimate['low']:+.1f} to {100 * estimate['high']:+.1f})"
