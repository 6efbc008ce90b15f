"""A few questions as the model saw them, with the answer before and after the transplant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosslatent.analysis.accuracy import RELATION
from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component, Pair

MOST_REPAIRED = 4
LONGEST_PROMPT = 320
"""Characters of a prompt shown: its end, since that is where the transplant happens."""


@dataclass(frozen=True, slots=True)
class ExampleSite:
    """The place that the examples are taken from: one pair, and the split looked at."""

    component: Component
    pair: Pair
    split: str | None
    picked: bool


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt cut in two: everything, and the last token, which is the one touched."""

    lang: str
    head: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An output, the words of the option that it names, and whether it is right."""

    output: str
    label: str
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Example:
    """One question. `outcome`: repaired, broken, still wrong, still right, changed, unchanged."""

    outcome: str
    main: ShownPrompt
    aux: ShownPrompt
    gold: str
    before: Answer
    after: Answer


def site_of(run: RunSummary, component: Component | None, test: str | None) -> ExampleSite | None:
    """Where to take examples: the pair picked on the pilot split, else the best in hindsight."""
    wanted = [component] if component is not None else run.components
    pooled = [p for p in run.picked if p.pooling == "pooled" and p.component in wanted and p.tests]
    if pooled:
        best = max(pooled, key=lambda pick: pick.choices[ALL].correct)
        splits = [t.split for t in best.tests if not t.in_sample] or [best.tests[0].split]
        split = test if test in splits else splits[0]
        return ExampleSite(best.component, best.choices[ALL].pair, split, True)
    cells = [
        (value, grid.component, (i, j))
        for grid in run.grids
        if (grid.split, grid.lang) == (ALL, ALL)
        for i, line in enumerate(grid.gain if grid.vanilla.n else grid.changed)
        for j, value in enumerate(line)
        if value is not None
    ]
    if not cells:
        return None
    _, best_component, pair = max(cells)
    return ExampleSite(best_component, pair, None, False)


def examples(data: RunData, site: ExampleSite) -> list[Example]:
    """Repaired questions (one language after the other), one still wrong, one broken."""
    records = _records(data, site)
    by_outcome: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_outcome.setdefault(_outcome(record), []).append(record)
    repaired = _varied(by_outcome.get("repaired", []))
    others = [by_outcome[name][0] for name in ("still wrong", "broken") if name in by_outcome]
    changed = by_outcome.get("changed", [])[:MOST_REPAIRED]
    chosen = [*repaired, *others, *changed]
    # Where nothing changed at all, one question still shows what was asked.
    return [_example(record) for record in chosen or records[:1]]


def _records(data: RunData, site: ExampleSite) -> list[dict[str, Any]]:
    query = """
        SELECT i.*, v.output AS before, v.prediction AS before_prediction,
               v.correct AS before_correct, r.output AS after,
               r.prediction AS after_prediction, r.correct AS after_correct
        FROM rows r JOIN items i USING (item)
        JOIN plain v ON v.item = r.item AND v.control = 'vanilla'
        WHERE r.control = 'none' AND r.component = $component AND r.source = $source
              AND r.target = $target AND ($split IS NULL OR i.split = $split)
        ORDER BY i.item
    """
    source, target = site.pair
    values = {
        "component": site.component,
        "source": source,
        "target": target,
        "split": site.split,
    }
    result = data.con.execute(query, values)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]


def _outcome(record: dict[str, Any]) -> str:
    before, after = record["before_correct"], record["after_correct"]
    if before is None or after is None:
        return "changed" if record["before"] != record["after"] else "unchanged"
    if before == after:
        return "still right" if after else "still wrong"
    return "repaired" if after else "broken"


def _varied(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """First one of each language, then the second ones, kinds of questions as varied as can be."""
    queues: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        queues.setdefault((record["lang"], record["aux_lang"]), []).append(record)
    chosen: list[dict[str, Any]] = []
    shown: list[str] = []
    while any(queues.values()) and len(chosen) < MOST_REPAIRED:
        for queue in filter(None, queues.values()):
            # min keeps the order of the ids among kinds that were shown equally often.
            record = min(queue, key=lambda record: shown.count(_kind(record)))
            queue.remove(record)
            chosen.append(record)
            shown.append(_kind(record))
    return chosen[:MOST_REPAIRED]


def _kind(record: dict[str, Any]) -> str:
    return str((record["strata"] or {}).get(RELATION, ""))


def _example(record: dict[str, Any]) -> Example:
    return Example(
        outcome=_outcome(record),
        main=prompt_of(record, "main"),
        aux=prompt_of(record, "aux"),
        gold=gold_of(record),
        before=_answer(record, "before"),
        after=_answer(record, "after"),
    )


def gold_of(record: Mapping[str, Any]) -> str:
    """What is right: the label of the option, else all that counts as right."""
    golds = (record["answer"], *(record["other_answers"] or ()))
    return label_of(record, record["answer"]) or ", or ".join(filter(None, golds))


def _answer(record: dict[str, Any], when: str) -> Answer:
    return Answer(
        output=record[when].strip() or "(nothing)",
        label=label_of(record, record[f"{when}_prediction"]),
        correct=record[f"{when}_correct"],
    )


def label_of(record: Mapping[str, Any], option: str | None, which: str = "labels") -> str:
    """What an option says; empty if there is no option or the options speak for themselves.

    Args:
        record: a row of the table of items.
        option: that an answer names.
        which: ``labels`` of main, or ``aux_labels``: options may mean something else there.
    """
    named = dict(zip(record["options"] or (), record.get(which) or (), strict=False))
    return "" if option is None else str(named.get(option) or "")


def prompt_of(record: Mapping[str, Any], which: str, most: int = LONGEST_PROMPT) -> ShownPrompt:
    """A question's prompt, with its last token cut off, if the text visibly ends with it.

    Args:
        record: a row of the table of items.
        which: ``main`` or ``aux``.
        most: characters of its end that are shown.
    """
    lang = record["lang" if which == "main" else "aux_lang"]
    text, visible = record[which], (record[f"{which}_token"] or "").strip()
    shown = text if len(text) <= most else "\u2026" + text[-most:]
    if visible and shown.rstrip().endswith(visible):
        return ShownPrompt(lang, shown.rstrip().removesuffix(visible), visible)
    return ShownPrompt(lang, shown, "")
