"""What a comparison of methods says, in sentences, and as a table of texts."""

from __future__ import annotations

from collections.abc import Iterator

from crosslatent.analysis.method_rows import VANILLA
from crosslatent.analysis.method_scores import LEAGUES, MethodScore, MethodTable
from crosslatent.report import formatting
from crosslatent.stats import Estimate

LEAGUE_TITLES = {
    "given": "Given the English prompt of the same question",
    "made": "Makes its own English prompt",
    "none": "Without an English prompt",
}
HEAD = ("method", "league", "accuracy", "change", "p (Holm)", "English", "tokens")
"""Titles of `lines`."""


def lines(table: MethodTable) -> list[tuple[str, ...]]:
    """The table as texts, of methods with figures."""
    return [_line(one) for one in table.scores if not one.reason]


def without_figures(table: MethodTable) -> list[str]:
    """Each method without figures, and why."""
    return [f"{one.title} ({one.name}): {one.reason}" for one in table.scores if one.reason]


def sentences(table: MethodTable) -> list[str]:
    """What can be said, one sentence a league."""
    return [sentence for league in LEAGUES for sentence in _said(table, league)]


def _said(table: MethodTable, league: str) -> Iterator[str]:
    others = [one for one in table.of(league) if one.name != VANILLA and not one.reason]
    if not others:
        return
    best, vanilla = table.best(league), table.score(VANILLA).accuracy
    title = LEAGUE_TITLES[league]
    if best is None or best.accuracy is None or vanilla is None:
        yield f"{title}: no method is shown to be better than the unmodified model."
        return
    yield (
        f"{title}: {best.title} is right on {_percent(best.accuracy.value)} of the questions, "
        f"the unmodified model on {_percent(vanilla.value)}: {_points(best.change)} points."
    )
    alike = [
        one.title
        for one in others
        if one.behind is not None and not one.behind.above_zero and one.is_better
    ]
    if alike:
        yield f"Not told apart from it: {', '.join(alike)}."


def _line(one: MethodScore) -> tuple[str, ...]:
    english = "" if one.english is None else _percent(one.english.value)
    verdict = f", {one.kept}" if one.kept else ""
    return (
        one.title,
        one.league,
        _percent(one.accuracy.value if one.accuracy else None),
        "" if one.name == VANILLA else _points(one.change),
        "" if one.holm is None else f"{one.holm:.3f}",
        f"{english}{verdict}",
        "" if one.relative_tokens is None else f"{one.relative_tokens:.1f}",
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(change: Estimate | None) -> str:
    if change is None or change.value is None:
        return "-"
    low, high = change.low, change.high
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * change.value:+.1f}{ends}"


def opening(table: MethodTable, division: str) -> list[str]:
    """The first lines of the page."""
    said = sentences(table)
    worse = [one.title for one in table.scores if one.is_worse]
    if worse:
        said.append(f"Shown to be worse than the unmodified model: {formatting.listing(worse)}.")
    costly = [one.title for one in table.scores if one.is_better and one.kept == "lost"]
    if costly:
        named = formatting.listing(costly)
        said.append(f"Better in the language, but more than 2 points of English are lost: {named}.")
    return [*said, division]


def of_league(table: MethodTable, league: str) -> list[str]:
    """What is not told apart from the best of a league."""
    best = table.best(league)
    if best is None:
        return []
    alike = [
        one for one in table.of(league) if one.behind is not None and not one.behind.above_zero
    ]
    if not alike:
        return [f"{best.title} is the best of this league, and told apart from all others."]
    cheapest = min([best, *alike], key=lambda one: one.relative_tokens or 0.0)
    said = f"Not told apart from {best.title}: {formatting.listing(o.title for o in alike)}."
    if cheapest is not best:
        said += f" Of these, {cheapest.title} passes the fewest tokens through the model."
    return [said]


def luck(table: MethodTable) -> list[str]:
    """What as many samples as pairs were tried would solve."""
    if table.pass_at is None:
        return ["Transplants were not tried, or the gold options were not scored."]
    share = formatting.with_interval(table.pass_at, difference=False)
    said = (
        f"At least one of {table.attempts:,} samples of the unmodified model, as many as pairs "
        f"were tried, is the gold option for {share} of the questions (pass@{table.attempts:,}). "
        "Pairs were chosen on other questions, so no figure above profits from that; an upper "
        "bound over all pairs would."
    )
    return [said]
