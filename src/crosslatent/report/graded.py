"""Graded scores, language fidelity, and what depends on the answer rule, in words."""

from __future__ import annotations

from crosslatent.analysis.grades import Fidelity
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.views import Table


def score_sentences(run: RunSummary) -> list[str]:
    """What the graded scores of a run are."""
    metrics = list(dict.fromkeys(score.metric for score in run.scores))
    if not metrics:
        return []
    sentences = [
        f"The figure that counts in this task is {formatting.metric(run.metric)}."
        if run.metric in metrics
        else "Beside right and wrong, by how much: graded scores, from 0 to 100\u202f%.",
        *(_meaning(metric) for metric in metrics if formatting.metric_meaning(metric)),
    ]
    return [" ".join(sentences)]


def _meaning(metric: str) -> str:
    return (
        f"{formatting.first_upper(formatting.metric(metric))}: {formatting.metric_meaning(metric)}."
    )


def fidelity_sentences(run: RunSummary) -> list[str]:
    """How often answers are in another language; empty if no output's language is identified."""
    whole = _whole(run)
    if whole is None or not whole.off_target.n:
        return []
    off, identified = formatting.percent(whole.off_target.value), whole.off_target.n
    sentence = (
        f"{off} of the unmodified answers are in another language than their question, among the "
        f"{identified:,} of {whole.outputs:,} whose language could be identified: the others are "
        "too short, such as \u201c(1)\u201d, or the identification is not sure."
    )
    return [sentence]


def _whole(run: RunSummary) -> Fidelity | None:
    return next((e for e in run.fidelity if (e.split, e.lang) == (ALL, ALL)), None)


def rule_sentence(run: RunSummary) -> str:
    """Under which rule an answer is right; empty if the run does not say."""
    if not run.rule:
        return ""
    meaning = formatting.rule(run.rule)
    what = f": an answer is right if {meaning}" if meaning else ""
    return f"The answer rule is \u201c{run.rule}\u201d{what}."


def rules_table(run: RunSummary) -> Table | None:
    """The unmodified model under every rule that fits; None if there is only one."""
    shares = {(entry.rule, entry.split): entry.accuracy for entry in run.rules}
    rules = list(dict.fromkeys(entry.rule for entry in run.rules))
    splits = list(dict.fromkeys(entry.split for entry in run.rules))
    if len(rules) < 2:
        return None
    if len(splits) == 2:
        splits.remove(ALL)
    rows = []
    for rule in rules:
        cells = [shares.get((rule, split)) for split in splits]
        rows.append(
            [
                f"{rule} (this run\u2019s)" if rule == run.rule else rule,
                formatting.rule(rule),
                *(formatting.percent(cell.value if cell else None) for cell in cells),
                f"{max(cell.n for cell in cells if cell):,}",
            ]
        )
    head = ["rule", "right if", *("all questions" if s == ALL else s for s in splits), "n"]
    caption = (
        "Share of unmodified answers that are right under each rule that fits the questions, all "
        "languages together. What differs much between rules depends on how answers are read."
    )
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def notes(run: RunSummary) -> list[str]:
    """Which of the graded figures could not be computed, and why."""
    whole = _whole(run)
    if whole is None or whole.off_target.n:
        return []
    answers = formatting.count(whole.outputs, "unmodified answer")
    return [f"The language of none of {answers} could be identified: too short, or not sure."]
