"""What the runs say together: attention against feed-forward, and runs that were made twice."""

from __future__ import annotations

from pathlib import Path

from crosslatent.analysis import Summary
from crosslatent.analysis.across_runs import ModuleHalf, ModuleMeasure, Repeat
from crosslatent.report import compared_runs, formatting, verdicts
from crosslatent.report.figure import draw_forest
from crosslatent.report.forest import SPREAD, Forest, row, sizes
from crosslatent.report.safe import file_stem
from crosslatent.report.views import Passage, Section, Table

_MEASURES = {
    "all_pairs": "mean gain over the pairs of both",
    "picked_pair": "gain at each one\u2019s own picked pair, on questions it was not picked on",
}
_OUTCOMES = {
    "for": "speaks for it",
    "against": "speaks against it",
    "equal": "no difference that matters",
    "unclear": "cannot tell",
}


def sections(summary: Summary, folder: Path) -> list[Section]:
    """What the runs say together; empty if they say nothing. The figures go to `folder`."""
    found = compared_runs.sections(summary.comparison, summary.comparison_missing, folder)
    claim = summary.modules
    # Without any figure, a sentence about the claim is only in the way.
    if claim is not None and claim.halves:
        said = [verdicts.CLAIM.say(claim), " ".join(claim.missing)]
        figures = [
            draw_forest(_title(half), _forest(half), folder / file_stem(f"modules-{half.type}"))
            for half in claim.halves
        ]
        block = Passage([sentence for sentence in said if sentence], figures)
        found.append(Section(f"\u201c{claim.claim}\u201d?", [block]))
    table = repeats_table(summary)
    if table is not None:
        found.append(Section("Do repeated runs agree?", [Passage(tables=[table])]))
    return found


def _title(half: ModuleHalf) -> str:
    name = formatting.component(half.predicted)
    return f"{formatting.first_upper(half.type)}: {name} is predicted, {half.verdict}"


def _forest(half: ModuleHalf) -> Forest:
    rows = tuple(
        row(formatting.first_upper(_MEASURES[one.measure]), "true", one.difference, _detail(one))
        for one in half.measures
    )
    caption = (
        "Points that attention gains more than feed-forward; left of zero, feed-forward gains "
        f"more. {sizes([one.difference for one in half.measures])}. {SPREAD} p: permutation test "
        "by fact, after Holm\u2019s correction for all measures of the claim."
    )
    return Forest(rows, True, caption, losses=False)


def _detail(measure: ModuleMeasure) -> str:
    return (
        f"{formatting.points(measure.attn.value)} against {formatting.points(measure.ffn.value)}, "
        "corrected "
        f"{formatting.p_equals(measure.test.holm)}, margin {100 * measure.margin:.0f}: "
        f"{_OUTCOMES[measure.outcome]}"
    )


def repeats_table(summary: Summary) -> Table | None:
    """Runs of one task on one model, two by two."""
    rows = [_repeat_cells(one) for one in summary.repeats]
    head = ["task", "runs", "what differs", "component", "rank correlation", "largest difference"]
    head += ["picked pairs", "n"]
    caption = (
        "Runs of one task on one model. Rank correlation (Spearman) of the gains of all pairs, on "
        "the questions of both runs; the interval resamples facts. Largest difference: of one "
        "pair\u2019s gain, in points."
    )
    return Table(head, rows, caption, frozenset({4, 5, 7})) if rows else None


def _repeat_cells(one: Repeat) -> list[str]:
    found = one.agreement
    ends = (
        ""
        if found.low is None
        else f" ({formatting.plain(found.low)} to {formatting.plain(found.high)})"
    )
    picks = [f"{source} \u2192 {target}" for source, target in one.picked or ()]
    return [
        one.task,
        " and ".join(one.runs),
        one.differs or "nothing",
        formatting.component(one.component),
        f"{formatting.plain(found.value)}{ends}",
        formatting.points(one.largest).lstrip("+"),
        " and ".join(picks) if len(set(picks)) > 1 else " ".join(picks[:1]) or "\u2013",
        f"{found.n:,}",
    ]
