"""Which part of a transplant carries its gain, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.data import control_name
from crosslatent.analysis.gain_split import EPS, WHOLE, GainPart, GainSplit, SplitBeside
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.forest import in_order
from crosslatent.report.gains import stratum_name
from crosslatent.report.views import Table
from crosslatent.stats import Estimate

NAMES = {
    "loss": "the module\u2019s own output is lost",
    "size": "something of that layer\u2019s size is written",
    "language": "it comes from the other language",
    "content": "it comes from this very question",
    WHOLE: "the whole gain",
}
"""Parts of a gain, in a few words."""

ABOUT = (
    "A transplant does several things at once. Four steps tell them apart: zeros in place of the "
    "module\u2019s own output (loss), then the mean vector of other questions\u2019 main prompts "
    "(size), then that of their counterparts (language), then the vector of this "
    "question\u2019s own counterpart (content). The parts add up, question by question. They are "
    "measured by the lead of the right option over the best other one (of open questions: by the "
    "log-probability of the right answer), in nats."
)


def split_of(
    run: RunSummary, component: str, split: str | None, lang: str = ALL
) -> GainSplit | None:
    """The parts of one component on one split; None if the run does not tell them."""
    wanted = (component, split, lang)
    return next((s for s in run.gain_split if (s.component, s.split, s.lang) == wanted), None)


def split_sentences(run: RunSummary, split: str | None) -> list[str]:
    """What the parts say, for each component."""
    found = [one for c in run.components if (one := split_of(run, c, split)) is not None]
    return [ABOUT, *(_said(run, one) for one in found)] if found else []


def split_table(run: RunSummary, split: str | None) -> Table | None:
    """The parts of every component on a split, pooled and in each language."""
    shown = [one for one in run.gain_split if one.split == split]
    rows = [line for one in shown for part in one.parts for line in [_cells(one, part)]]
    rows += [_beside_cells(run, one, other) for one in shown for other in beside(one)]
    head = ["component", "language", "part", "lead, nats", "right answers, points", "n"]
    caption = (
        f"Parts of the gains on the {split} questions. Of each language: the five rows that add "
        "up, then other vectors at the same pair minus the unmodified run. A part whose interval "
        "holds 0 is not shown to do anything."
    )
    return Table(head, rows, caption, frozenset(range(3, 6))) if rows else None


def _cells(one: GainSplit, part: GainPart) -> list[str]:
    name = f"{part.name}: {NAMES[part.name]}" if part.name != WHOLE else NAMES[WHOLE]
    return _line(one, name, part.gap, part.correct)


def _beside_cells(run: RunSummary, one: GainSplit, other: SplitBeside) -> list[str]:
    return _line(one, f"beside: {beside_name(run, other)}", other.gap, other.correct)


def _line(one: GainSplit, name: str, gap: Estimate, correct: Estimate) -> list[str]:
    return [
        f"{formatting.component(one.component)} {one.source} \u2192 {one.target}",
        formatting.language(one.lang),
        name,
        formatting.signed_interval(gap),
        formatting.with_interval(correct, difference=True),
        f"{gap.n:,}",
    ]


def beside(one: GainSplit) -> list[SplitBeside]:
    """The other controls, as they are listed everywhere."""
    found = {control_name(other.control, other.stratum): other for other in one.beside}
    return [found[name] for name in in_order(found)]


def beside_name(run: RunSummary, other: SplitBeside) -> str:
    """What another control at the same pair is called."""
    return stratum_name(run, control_name(other.control, other.stratum))


def _said(run: RunSummary, one: GainSplit) -> str:
    name = formatting.first_upper(formatting.component(one.component))
    start = f"{name} {one.source} \u2192 {one.target} on the {one.split} questions: "
    if not one.whole.gap.n:
        return f"{start}the lead is not known, as options share their first token."
    moved = (
        f"the right answer\u2019s lead changes by {formatting.signed_interval(one.whole.gap)} nats "
        f"(n\u202f=\u202f{one.whole.gap.n:,})."
    )
    said = [start + moved, _carrying(one), *_others(run, one), *_recovered(one)]
    return " ".join(sentence for sentence in said if sentence)


def _carrying(one: GainSplit) -> str:
    """Which parts are shown, and which intervals hold 0."""
    parts = [part for part in one.parts if part.name != WHOLE]
    above = sorted((p for p in parts if p.raises), key=_size, reverse=True)
    below = sorted((p for p in parts if p.lowers), key=_size)
    open_ = [p.name for p in parts if not (p.raises or p.lowers)]
    sentences = [
        f"Raised by {_listed(above)}." if above else "No part is shown to raise it.",
        f"Lowered by {_listed(below)}." if below else "",
        f"The {_intervals(open_)} 0." if open_ else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _intervals(names: Sequence[str]) -> str:
    held = formatting.listing(names)
    return f"intervals of {held} hold" if len(names) > 1 else f"interval of {held} holds"


def _size(part: GainPart) -> float:
    return part.gap.value or 0.0


def _listed(parts: Sequence[GainPart]) -> str:
    return formatting.listing(f"{p.name}, {formatting.signed_interval(p.gap)}" for p in parts)


def _others(run: RunSummary, one: GainSplit) -> list[str]:
    """The true counterpart against the question's own vectors and those of other questions."""
    return [
        f"The true counterpart minus \u201c{beside_name(run, other)}\u201d: "
        f"{formatting.signed_interval(other.over_gap)}."
        for other in beside(one)
        if (other.control, other.stratum) in (("self", None), ("shuffled", "any"))
    ]


def _recovered(one: GainSplit) -> list[str]:
    """How much of the way to the counterpart's own answer is made; and what is left out."""
    found = []
    if one.recovery.n:
        found.append(
            "Of the way from the main prompt\u2019s lead to that of the counterpart\u2019s own "
            f"answer, the pair makes {formatting.signed_interval(one.recovery)} on average, where "
            f"1 is all of it ({formatting.count(one.recovery.n, 'question')}; of the means: "
            f"{formatting.signed(one.recovery_of_means.value)})."
        )
    if one.apart.n:
        found.append(
            f"On {formatting.count(one.apart.n, 'question')} there is no way to make (both leads "
            f"are within {EPS:g} nats): there the lead changes by "
            f"{formatting.signed_interval(one.apart)}."
        )
    if one.no_aux:
        found.append(
            f"The counterpart\u2019s own lead is not known for "
            f"{formatting.count(one.no_aux, 'question')}."
        )
    if one.left_out:
        found.append(
            f"{formatting.count(one.left_out, 'question')} left out: a row or a number is missing."
        )
    return found
