"""Which sentences a report says of planted models: `python -m scripts.planted_verdicts`.

Every id of a sentence that judges has an experiment in which it must be said, and one in which it
must not; `TRUTH` was written down from the circuits.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from crosslatent.analysis import Headline, declaration, summarise
from crosslatent.analysis.data import RunData
from crosslatent.model import load
from crosslatent.planted.planting import PlantingSettings, plant
from crosslatent.planted.weights import build
from crosslatent.planted.world import LANGUAGES
from crosslatent.report import drawing
from crosslatent.report.build import pages_of
from crosslatent.report.verdicts import Family
from crosslatent.runs.reader import RunReader
from crosslatent.selectors import summarise_choosing
from crosslatent.sweeps import SweepSpec, run_sweep

CONTROLS = ("shuffled", "noise", "mean", "self")
ALIKE = dict.fromkeys(LANGUAGES, 0.5)
"""Half of the names are the English ones."""
KNOWING: Mapping[str, Any] = {"english_wrong": 0.0, "english_nothing": 0.0, "local": {}}
"""English knows all, the other languages nothing."""


@dataclass(frozen=True)
class Experiment:
    """A planted model, a sweep over it, and its report.

    Attributes:
        variant: its name.
        settings: fields of `PlantingSettings`; 24 entities by default.
        spec: fields of `SweepSpec`; feed-forward and all controls by default.
        gold: whether the right answers are given.
        limit: questions of each language; None for all.
        headline: declared beforehand.
    """

    variant: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    gold: bool = True
    limit: int | None = None
    headline: Headline | None = None


BELOW_READING = tuple((source, target) for source in (1, 2, 3, 4) for target in (2, 5))
"""Pairs of blocks below the one in which what is known becomes a symbol or a word."""


def symbolic(variant: str, entities: int = 48, *components: str) -> Experiment:
    """Whether a symbol or a text is carried, where English knows all."""
    return Experiment(
        variant,
        {"entities": entities, "world": KNOWING},
        {
            "component": components or ("ffn",),
            "pairs": BELOW_READING,
            "controls": ("shuffled",),
        },
    )


def spelled(
    variant: str, alike: Mapping[str, float] = ALIKE, knowing: Mapping[str, Any] = KNOWING
) -> Experiment:
    """Open questions, some of whose answers are spelled as in English."""
    return Experiment(
        variant,
        {"options": False, "entities": 48, "world": {**knowing, "alike": alike}},
        {"pairs": BELOW_READING, "controls": ("shuffled",)},
    )


BOTH: Mapping[str, Any] = {"component": ("attn", "ffn")}
RANKED: Mapping[str, Any] = BOTH | {"attribution": True}

EXPERIMENTS: Mapping[str, Experiment] = {
    "plain": Experiment("plain", spec=RANKED, headline=Headline(test="unseen")),
    "nothing": Experiment("nothing", spec=RANKED, headline=Headline(test="unseen")),
    "diagonal": Experiment(
        "diagonal",
        {"world": KNOWING},
        BOTH,
        headline=Headline(test="unseen", controls=("shuffled/different_answer", *CONTROLS[1:])),
    ),
    "two ends": Experiment("two_ends", {"entities": 12}, BOTH | {"controls": ("noise",)}),
    "scattered": Experiment("scattered", spec={"attribution": True}),
    "symbol": symbolic("symbol", 48, "attn", "ffn"),
    "symbol, few": symbolic("symbol", 16),
    "content": symbolic("content"),
    "half symbol": symbolic("half_symbol"),
    "known twins": symbolic("known_twins"),
    "symbol, all wrong": Experiment(
        "symbol", {"world": {"english_wrong": 1.0, "english_nothing": 0.0}}
    ),
    "alike": spelled("plain"),
    "spelling": spelled("lookup"),
    "half spelling": spelled("half_spelling"),
    "nothing alike": spelled("nothing", knowing={}),
    "spelling by language": spelled("lookup", {"es": 1.0, "id": 1.0}),
    "split": Experiment(
        "split_fact",
        spec={"controls": ()},
        headline=Headline(test="unseen", controls=("noise",)),
    ),
    "wrong English": Experiment("wrong_english", spec={"controls": ("noise", "self")}),
    "paraphrase": Experiment("filler", {"entities": 12}, {"controls": ("paraphrase",)}),
    "one pair": Experiment("plain", spec={"pairs": ((2, 5),), "controls": ("noise",)}),
    "sampled": Experiment(
        "plain", {"options": False, "entities": 12}, {"controls": (), "samples": 8}
    ),
    "alone": Experiment("diagonal", {"world": KNOWING}, {"component": "attn"}),
    "alone, noise": Experiment(
        "diagonal", {"world": KNOWING}, {"component": "attn", "controls": ("noise",)}
    ),
    "switch": Experiment("lookup", spec={"component": "attn"}),
    "unknown": Experiment("nothing"),
    "split, controls": Experiment("split_fact"),
    "gate": Experiment("closed_gate", spec={"attribution": True, "controls": ()}),
    "idle": Experiment("plain", {"entities": 12}, {"pairs": ((7, 7),), "controls": ("noise",)}),
    "no gold": Experiment("plain", {"entities": 12}, {"controls": ()}, gold=False),
    "few": Experiment("plain", {"entities": 12}, {"controls": (), "attribution": True}, limit=1),
    "conditions": Experiment(
        "plain",
        {"entities": 12},
        {"conditions": ("ablate:heads:1:0",), "component": (), "controls": ()},
    ),
}


def about(subject: Any) -> str:
    """What a sentence speaks of: a component, another way to answer, a side of the maps."""
    for name in ("component", "side"):
        if isinstance(value := getattr(subject, name, None), str):
            return value
    for name in ("found", "bound", "way"):
        if (inner := getattr(subject, name, None)) is not None:
            return about(inner) or str(getattr(inner, "name", ""))
    return ""


def said(experiment: Experiment, folder: Path) -> dict[str, list[str]]:
    """Ids of the sentences of a report, with what each speaks of."""
    planted = plant(experiment.variant, PlantingSettings(**{"entities": 24, **experiment.settings}))
    task = planted.task.select(splits=["pilot", "unseen"], limit=experiment.limit)
    if not experiment.gold:
        golds = {"answer": None, "aux_answer": None}
        task = replace(task, items=tuple(replace(item, **golds) for item in task.items))
    build(planted.circuit, folder / "model")
    model = load(str(folder / "model"), device="cpu", dtype="float32")
    usual = {"component": "ffn", "pairs": "all", "controls": CONTROLS, "seed": 0}
    if "conditions" in experiment.spec:
        del usual["pairs"]
    spec = SweepSpec(**(usual | experiment.spec))
    headline = experiment.headline and declaration(experiment.headline)
    run_sweep(model, task, spec, folder / "run", headline=headline)
    found: dict[str, list[str]] = {}
    say = Family.say

    def recorded(family: Family[Any], subject: Any) -> str:
        for identity in family.allowed(subject):
            named = found.setdefault(identity, [])
            named += [] if about(subject) in named else [about(subject)]
        return say(family, subject)

    data = RunData(RunReader(folder / "run"))
    summary = summarise([folder / "run"], seed=0)
    choosing = summarise_choosing(data, test=None, seed=0)
    with mock.patch.object(drawing, "FORMATS", ()), mock.patch.object(Family, "say", recorded):
        pages_of(summary, [data], [choosing], folder / "figures")
    return found


TRUTH: Mapping[str, tuple[str, str]] = {
    "gain.shown": ("diagonal", "nothing"),
    "gain.loss": ("nothing", "diagonal"),
    "gain.not_shown": ("nothing", "symbol"),
    "headline.holds": ("diagonal", "nothing"),
    "headline.fails": ("nothing", "diagonal"),
    "headline.open": ("split", "diagonal"),
    # In `plain` any English question carries as much with attention, and none with feed-forwards.
    "bound.above": ("plain/ffn", "plain/attn"),
    "bound.not_shown": ("plain/attn", "plain/ffn"),
    "bound.below": ("symbol, all wrong/ffn", "plain/ffn"),
    "bound.not_run": ("one pair/ffn", "plain/ffn"),
    "union.lifts": ("plain/ffn", "split/ffn"),
    "union.lifts_nothing": ("split/ffn", "plain/ffn"),
    "union.beside": ("plain/ffn", "split/ffn"),
    "union.diagnosis_alone": ("paraphrase/ffn", "plain/ffn"),
    "union.no_control": ("split/ffn", "plain/ffn"),
    "pass_at_k.above": ("plain/ffn", "split/ffn"),
    "pass_at_k.below": ("split/ffn", "plain/ffn"),
    "pass_at_k.too_few": ("sampled/ffn", "plain/ffn"),
    "follow.shares": ("plain/ffn", "split/ffn"),
    "follow.follows": ("plain/ffn", "plain/attn"),
    "follow.not_shown": ("plain/attn", "plain/ffn"),
    # No single feed-forward repairs what is split; in `diagonal`, one pair gives all of English.
    "ways.better": ("split/translate_test", "diagonal/translate_test"),
    "ways.not_worse": ("diagonal/translate_test", "split/translate_test"),
    "ways.worse": ("wrong English/translate_test", "split/translate_test"),
    "ways.alone": ("conditions/translate_test", "split/translate_test"),
    "ways.preset": ("plain/preset", "conditions/preset"),
    "pair.whole_state": ("diagonal/attn", "diagonal/ffn"),
    "pair.whole_state_of_some": ("two ends/attn", "diagonal/attn"),
    "carried.symbol": ("symbol/ffn", "content/ffn"),
    "carried.symbol_alone": ("symbol, few/ffn", "content/ffn"),
    "carried.symbol_in_part": ("half symbol/ffn", "symbol/ffn"),
    "carried.text_matters": ("known twins/ffn", "symbol/ffn"),
    # Attention carries "look it up in English".
    "carried.symbol_or_anything": ("symbol/attn", "symbol/ffn"),
    "carried.symbol_not_shown": ("content/ffn", "symbol/ffn"),
    "spelled.spelling": ("spelling/ffn", "alike/ffn"),
    "spelled.in_part": ("half spelling/ffn", "alike/ffn"),
    "spelled.content": ("alike/ffn", "spelling/ffn"),
    "spelled.open": ("nothing alike/ffn", "alike/ffn"),
    "spelled.other_languages": ("spelling by language/ffn", "spelling/ffn"),
    "layers.gain": ("plain/source", "nothing/source"),
    "layers.lose": ("nothing/source", "idle/source"),
    "layers.neither": ("idle/source", "plain/source"),
    "layers.best_elsewhere": ("diagonal/target", "nothing/target"),
    "layers.spread": ("plain/source", "nothing/source"),
    "map.changes": ("no gold", "plain"),
    "map.cells": ("plain", "no gold"),
    "map.gains": ("plain", "nothing"),
    "map.losses": ("plain", "idle"),
    "map.flat": ("idle", "plain"),
    "map.outline": ("plain", "no gold"),
    "map.optimistic": ("plain", "nothing"),
    "map.tested": ("plain", "no gold"),
    "ranking.trusted": ("plain/ffn", "gate/ffn"),
    "ranking.untrusted": ("gate/ffn", "plain/ffn"),
    "ranking.untried": ("few/ffn", "plain/ffn"),
    # The block of a fact is drawn for each fact, and attribution finds it.
    "beats.better": ("scattered", "nothing"),
    "beats.none": ("nothing", "scattered"),
    "recovers.no_gap": ("nothing", "plain"),
    "recovers.pilot": ("plain", "nothing"),
    "recovers.over_shuffled": ("plain", "wrong English"),
    "recovers.no_shuffled": ("wrong English", "plain"),
    "recovers.one_candidate": ("one pair", "plain"),
    "recovers.half": ("scattered", "wrong English"),
    "recovers.no_half": ("wrong English", "scattered"),
    "strict.room": ("plain", "split"),
    "strict.lacking": ("wrong English", "plain"),
    "strict.no_control": ("split", "plain"),
    # Of pages without a declared headline: what the picked pair is worth on unseen questions.
    "finding.lifts": ("alone", "unknown"),
    "finding.unproven": ("alone, noise", "alone"),
    # Any English question carries the switch as well as this one.
    "finding.luck": ("switch", "alone"),
    "finding.plain": ("split, controls", "unknown"),
    "finding.nothing": ("unknown", "alone"),
    "finding.transplant": ("alone", "switch"),
    "finding.rather": ("switch", "alone"),
}
"""By the id of a sentence: an experiment in which it must be said, and one in which it must not; of
components, other ways to answer, and sides of the maps apart."""

NOT_PLANTED: Mapping[str, str] = {
    "gain.unmeasured": "rows without gold answers on the split that is tested",
    "bound.interval_alone": "an interval and a test that disagree",
    "pass_at_k.not_shown": "a difference that is near zero",
    "ways.first_tokens": "rows of an earlier release",
    "beats.not_run": "rows of the picked pair that are missing",
    "beats.pair_alone": "a pilot pair that harms, by more than chance",
    "beats.interval_alone": "an interval and a corrected test that disagree",
    "finding.harms": "a pair that helps on pilot questions and harms others",
    "traits.none": "more languages",
    "claim.verdict": "runs of two types of tasks",
    **dict.fromkeys(
        (f"compared.{name}" for name in ("more", "less", "same", "undecided")), "two runs"
    ),
    **dict.fromkeys(
        (
            f"replication.{name}"
            for name in (
                *("replicated", "refuted", "undecided", "not_beaten", "not_run"),
                *("same_pair", "own_pair", "not_declared"),
            )
        ),
        "a second run on other questions",
    ),
}
"""Ids that no experiment decides, and what they need: `tests/report/test_verdicts.py` has them."""


def holds(where: str, identity: str, found: Mapping[str, Mapping[str, Sequence[str]]]) -> bool:
    """Whether a sentence is said in an experiment, of what stands after the slash."""
    name, _, subject = where.partition("/")
    named = found[name].get(identity)
    return named is not None and (not subject or subject in named)


def measured(names: Iterable[str] = EXPERIMENTS) -> dict[str, dict[str, list[str]]]:
    """What is said in experiments, by their names."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = said(EXPERIMENTS[name], Path(folder))
    return found


def main() -> None:
    """Run experiments, and print the table of docs/planted.md; the exit code is 1 if it fails."""
    found = measured(sys.argv[1:] or EXPERIMENTS)
    wrong = 0
    print("| sentence | said in | not said in | as it must be |")
    print("| --- | --- | --- | --- |")
    for identity, (must, must_not) in TRUTH.items():
        if {must.partition("/")[0], must_not.partition("/")[0]} <= set(found):
            right = holds(must, identity, found) and not holds(must_not, identity, found)
            wrong += not right
            print(f"| `{identity}` | {must} | {must_not} | {'yes' if right else 'NO'} |")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
