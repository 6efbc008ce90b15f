"""Graded scores, language fidelity, and what depends on the answer rule, as sections of a run."""

from __future__ import annotations

from crosslatent.analysis.grades import Fidelity, FidelityAtPair, MeanScore, ScoreAtPair
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.forest import SPREAD, Forest, Mark, Row, row, sizes
from crosslatent.report.views import Panel, Section, Table


def scores_section(run: RunSummary, split: str | None) -> Section | None:
    """Every graded score of the run: unmodified, translate-test, and at the picked pair."""
    metrics = list(dict.fromkeys(score.metric for score in run.scores))
    if not metrics:
        return None
    own = run.metric in metrics
    sentences = [
        f"The figure that counts in this task is {formatting.metric(run.metric)}."
        if own
        else "Beside right and wrong, by how much: graded scores, from 0 to 100\u202f%.",
        *(_meaning(metric) for metric in metrics if formatting.metric_meaning(metric)),
    ]
    return Section(
        "Graded scores",
        [" ".join(sentences)],
        [panel for metric in metrics for panel in score_panels(run, split, metric)],
        first=own,
    )


def _meaning(metric: str) -> str:
    return (
        f"{formatting.first_upper(formatting.metric(metric))}: {formatting.metric_meaning(metric)}."
    )


def score_panels(run: RunSummary, split: str | None, metric: str) -> list[Panel]:
    """One score by language, then what the picked pair of each component makes of it."""
    scores = [score for score in run.scores if (score.metric, score.split) == (metric, ALL)]
    panels = [_score_panel(metric, scores)]
    for component in run.components:
        found = [
            score
            for score in run.scores_at_pair
            if (score.metric, score.component, score.split) == (metric, component, split)
            and score.pooling == "pooled"
        ]
        if found:
            panels.append(_gain_panel(metric, formatting.component(component), found))
    return [panel for panel in panels if panel is not None]


def _score_panel(metric: str, scores: list[MeanScore]) -> Panel | None:
    by_lang: dict[str, dict[str, MeanScore]] = {}
    for score in scores:
        by_lang.setdefault(score.lang, {})[score.name] = score
    rows = [_score_row(lang, by_lang[lang]) for lang in _languages(list(by_lang))]
    if not rows:
        return None
    caption = (
        f"Mean {formatting.metric(metric)} of all questions; filled: unmodified, open: "
        "translate-test. "
        f"{sizes([line.marks[0].estimate for line in rows])}. {SPREAD}"
    )
    return Panel(
        formatting.first_upper(formatting.metric(metric)), [], Forest(tuple(rows), False, caption)
    )


def _score_row(lang: str, ways: dict[str, MeanScore]) -> Row:
    kinds = {"vanilla": "base", "translate_test": "reference"}
    marks = tuple(
        Mark(kind, formatting.control(way), ways[way].score)
        for way, kind in kinds.items()
        if way in ways
    )
    return Row(formatting.first_upper(formatting.language(lang)), marks, _translated(ways))


def _translated(ways: dict[str, MeanScore]) -> str:
    if len(ways) < 2:
        return ""
    return f"translate-test {formatting.percent(ways['translate_test'].score.value)}"


def _gain_panel(metric: str, component: str, scores: list[ScoreAtPair]) -> Panel:
    split, gains = scores[0].split, [score.gain for score in scores]
    rows = [
        row(
            formatting.first_upper(formatting.language(score.lang)),
            "true",
            score.gain,
            f"{formatting.percent(score.vanilla.value)} to "
            f"{formatting.percent(score.transplant.value)}",
        )
        for score in scores
    ]
    caption = (
        f"Points of {formatting.metric(metric)} gained or lost on the {split} questions at the "
        "picked "
        f"pair. {sizes(gains)}. {SPREAD}"
    )
    title = f"{formatting.first_upper(formatting.metric(metric))} with {component} transplants"
    return Panel(title, [], Forest(tuple(rows), True, caption))


def fidelity_section(run: RunSummary, split: str | None) -> Section | None:
    """How often answers are in another language; None if no output's language is identified."""
    everything = [entry for entry in run.fidelity if entry.split == ALL]
    whole = next((entry for entry in everything if entry.lang == ALL), None)
    if whole is None or not whole.off_target.n:
        return None
    off, identified = formatting.percent(whole.off_target.value), whole.off_target.n
    sentence = (
        f"{off} of the unmodified answers are in another language than their question, among the "
        f"{identified:,} of {whole.outputs:,} whose language could be identified: the others are "
        "too short, such as \u201c(1)\u201d, or the identification is not sure."
    )
    panels = [_fidelity_panel(everything)]
    for component in run.components:
        found = [
            entry
            for entry in run.fidelity_at_pair
            if (entry.component, entry.pooling, entry.split) == (component, "pooled", split)
        ]
        if found:
            panels.append(_fidelity_gain_panel(formatting.component(component), found))
    return Section("Does the answer stay in the language?", [sentence], panels)


def _fidelity_panel(entries: list[Fidelity]) -> Panel:
    by_lang = {entry.lang: entry for entry in entries if entry.off_target.n}
    rows = tuple(
        row(
            formatting.first_upper(formatting.language(lang)),
            "base",
            by_lang[lang].off_target,
            f"language identified in {by_lang[lang].off_target.n:,} of {by_lang[lang].outputs:,}",
        )
        for lang in _languages(list(by_lang))
    )
    estimates = [entry.off_target for entry in by_lang.values()]
    caption = (
        "Share of unmodified answers in another language than the question\u2019s. "
        f"{sizes(estimates)}. {SPREAD}"
    )
    return Panel("Unmodified", [], Forest(rows, False, caption))


def _fidelity_gain_panel(component: str, entries: list[FidelityAtPair]) -> Panel:
    rows = tuple(_fidelity_row(entry) for entry in entries)
    caption = (
        "Points of answers more (or fewer) in another language than the question\u2019s, on the "
        f"{entries[0].split} questions at the picked pair, where the language of both answers "
        f"could be identified. {sizes([entry.difference for entry in entries])}. {SPREAD}"
    )
    title = f"With {component} transplants, against unmodified"
    return Panel(title, [], Forest(rows, True, caption, losses=False))


def _fidelity_row(entry: FidelityAtPair) -> Row:
    before, after = (
        formatting.percent(entry.vanilla.value),
        formatting.percent(entry.transplant.value),
    )
    identified = f"identified in {entry.vanilla_identified} and {entry.transplant_identified}"
    detail = f"{before} to {after}; {identified} of {entry.outputs}"
    label = formatting.first_upper(formatting.language(entry.lang))
    return row(label, "true", entry.difference, detail)


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
    whole = next((e for e in run.fidelity if (e.split, e.lang) == (ALL, ALL)), None)
    if whole is None or whole.off_target.n:
        return []
    answers = formatting.count(whole.outputs, "unmodified answer")
    return [f"The language of none of {answers} could be identified: too short, or not sure."]


def _languages(langs: list[str]) -> list[str]:
    """All languages first; one language alone is not shown twice."""
    return [lang for lang in langs if lang != ALL] if len(langs) == 2 else langs
