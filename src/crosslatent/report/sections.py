"""From a run's summary to panels: accuracy, bounds, donors, cost, layers, tests of picked pairs."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.accuracy import Accuracy
from crosslatent.analysis.data import control_name
from crosslatent.analysis.inference import LEVEL, PairEffect, Significance
from crosslatent.analysis.items import ALL
from crosslatent.analysis.layers import LayerProfile
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Pair
from crosslatent.report import formatting, graded, verdicts
from crosslatent.report.gains import by_language, stratum_name, strongest_bound
from crosslatent.report.verdicts.effects import Union
from crosslatent.report.verdicts.grid_verdicts import Sampled, Side
from crosslatent.report.views import Fact, Passage, Table
from crosslatent.stats import Estimate, OddsRatio

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


def significance(run: RunSummary, split: str | None) -> list[Passage]:
    """Tests of the picked pairs: what is corrected, and what could have been found at all."""
    if not run.significance:
        return []
    shown = [test for test in run.significance if test.split == split] or run.significance
    tables = [_effects_table(run.significance), *_without_tables(run.significance)]
    return [
        Passage([sentence for test in shown for sentence in _sentences(test)]),
        Passage(tables=tables, fold="Tests, corrections and sizes of the effects"),
    ]


def _sentences(test: Significance) -> list[str]:
    """What the languages say after correction, what the sample could find, and shared facts."""
    name = formatting.first_upper(formatting.component(test.component))
    found = []
    if test.by_language:
        kept = [e for e in test.by_language if e.test.holm is not None and e.test.holm < LEVEL]
        found.append(
            f"{name}: on the {test.split} questions, {len(kept)} of {len(test.by_language)} "
            "languages change significantly after Holm\u2019s correction. "
            f"{_detectable(test.overall)}".strip()
        )
    if test.shared is not None:
        found.append(_shared_sentence(test))
    return found


def _detectable(effect: PairEffect) -> str:
    if effect.detectable.value is None:
        return ""
    size = formatting.points(effect.detectable.value).lstrip("+")
    return (
        f"A sample of this size finds a gain of {size} points or more in four of five cases, all "
        "languages together."
    )


def _shared_sentence(test: Significance) -> str:
    shared = test.shared
    assert shared is not None
    start = (
        f"{formatting.count(shared.questions, 'question')} of the {test.overall.gain.n:,} "
        f"{test.split} "
        f"ones ask about {formatting.count(shared.clusters, 'fact')} that the pair was also "
        "picked on."
    )
    if shared.without is None:
        return f"{start} Nothing is left without them."
    gain = formatting.with_interval(shared.without.gain, difference=True)
    return (
        f"{start} Without them, {formatting.component(test.component)} gains {gain} points "
        f"({formatting.p_equals(shared.without.test.p_value)})."
    )


_EFFECT_HEAD = [
    "component",
    "split",
    "language",
    "gain, points",
    "p",
    "Holm / B-H",
    "Cohen\u2019s h",
    "odds ratio",
    "detectable",
]
_NUMERIC = frozenset(range(3, 9))


def _effects_table(tests: Sequence[Significance]) -> Table:
    rows = [
        _effect_cells(test, effect)
        for test in tests
        for effect in (test.overall, *test.by_language)
    ]
    caption = (
        "p: permutation test that swaps before and after by fact, two-sided; exact McNemar test "
        "where one language asks each fact once. Holm, B-H (Benjamini-Hochberg): the same "
        "corrected, each language for the languages of its component and split, all languages "
        "together for the components and splits; the comparison declared beforehand is not "
        "corrected. Odds ratio: repaired to broken, without a bound where none broke. Detectable: "
        "the gain that a sample like this finds in four of five cases at the 5\u202f% level, "
        "before any correction."
    )
    return Table(_EFFECT_HEAD, rows, caption, _NUMERIC)


def _without_tables(tests: Sequence[Significance]) -> list[Table]:
    """The pooled effects without facts that the tuning split asks about, too."""
    rows = [
        _effect_cells(test, test.shared.without)
        for test in tests
        if test.shared is not None and test.shared.without is not None
    ]
    caption = "The same without questions about facts that the pair was also picked on."
    return [Table(_EFFECT_HEAD, rows, caption, _NUMERIC)] if rows else []


def _effect_cells(test: Significance, effect: PairEffect) -> list[str]:
    adjusted = (effect.test.holm, effect.test.benjamini_hochberg)
    return [
        formatting.component(test.component),
        test.split,
        formatting.language(effect.lang),
        formatting.with_interval(effect.gain, difference=True),
        formatting.p_value(effect.test.p_value),
        " / ".join(map(formatting.p_value, adjusted))
        if effect.test.family
        else _alone(test, effect),
        formatting.plain(effect.cohens_h.value),
        _odds(effect.odds_ratio),
        formatting.points(effect.detectable.value).lstrip("+"),
    ]


def _alone(test: Significance, effect: PairEffect) -> str:
    """Why a test is not corrected."""
    return "declared" if test.declared and effect is test.overall else "\u2013"


def _odds(odds: OddsRatio) -> str:
    if odds.low is None:
        return "\u2013"
    value, high = (
        "\u221e" if end is None else formatting.plain(end) for end in (odds.value, odds.high)
    )
    return f"{value} ({formatting.plain(odds.low)} to {high})"


def layer_sentence(run: RunSummary, profile: LayerProfile) -> str:
    """Which layers matter as source and as target, of one component."""
    best = _best_pair(run, profile)
    sides = (
        Side("source", profile.by_source, profile.effective_sources, best),
        Side("target", profile.by_target, profile.effective_targets, best),
    )
    sentences = " ".join(verdicts.LAYERS.say(side) for side in sides)
    name = formatting.first_upper(formatting.component(profile.component))
    where = "" if profile.split == ALL else f" ({profile.split} questions)"
    return f"{name}{where}: {sentences}{_variance(profile)}"


def _best_pair(run: RunSummary, profile: LayerProfile) -> tuple[Pair, Estimate] | None:
    """The pair with the highest gain on the questions of a profile, with its interval."""
    grids = (g for g in run.grids if (g.component, g.lang) == (profile.component, ALL))
    grid = next((g for g in grids if g.split == profile.split), None)
    cells = [
        (value, (source, target))
        for source, line in enumerate(grid.gain if grid is not None else [])
        for target, value in enumerate(line)
        if value is not None
    ]
    if grid is None or not cells:
        return None
    value, (source, target) = max(cells, key=lambda cell: cell[0])
    low, high = grid.gain_low[source][target], grid.gain_high[source][target]
    return (source, target), Estimate(value, low, high, grid.n, grid.clusters, grid.seed)


def _variance(profile: LayerProfile) -> str:
    if profile.source_share is None or profile.target_share is None:
        return ""
    return (
        f" Of the differences between pairs, {formatting.percent(profile.source_share)} go with "
        "the "
        f"source layer, {formatting.percent(profile.target_share)} with the target layer, and "
        f"{formatting.percent(profile.rest_share)} with neither alone."
    )
