"""Questions with candidate pairs whose quality is known: what selectors are tried on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from crosslatent.analysis.items import Items
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.candidates import Candidates, Labels, Steps
from crosslatent.selectors.table import SelectorTable, TableSplit

LAYERS = 3
OPTIONS = 4
PAIRS = tuple(TransplantSpec("ffn", s, t) for s in range(LAYERS) for t in range(LAYERS))


@dataclass(frozen=True)
class World:
    """What is true of the simulated questions.

    Attributes:
        right: chance of being right by candidate, beside what the unmodified answer knows.
        vanilla: chance of the unmodified answer.
        aux: chance of the answer to aux.
        tells: how much confidence says about being right: 0 = nothing.
        clusters: facts of each split; each is asked in two languages.
    """

    right: dict[int, float] = field(default_factory=dict)
    vanilla: float = 0.4
    aux: float = 0.9
    tells: float = 0.0
    clusters: int = 60


def simulate(world: World, seed: int = 0, *, null: bool = False) -> SelectorTable:
    """Questions of the splits pilot and unseen.

    With `null`, gold answers are exchanged between facts: then nothing is right but by luck.
    """
    rng = np.random.default_rng(seed)
    facts = 2 * world.clusters
    gold_of = rng.integers(OPTIONS, size=facts)
    gold = np.repeat(gold_of, 2)
    n, k = len(gold), len(PAIRS)
    vanilla = answers(rng, gold, np.full(n, world.vanilla))
    aux = answers(rng, gold, np.full(n, world.aux))
    true = np.tile(vanilla[:, None], (1, k))
    for place in range(k):
        moved = rng.random(n) < (0.9 if place in world.right else 0.25)
        drawn = answers(rng, gold, np.full(n, world.right.get(place, world.vanilla)))
        true[:, place] = np.where(moved, drawn, vanilla)
    donors = {
        "same_answer": np.where(rng.random((n, k)) < 0.5, gold[:, None], vanilla[:, None]),
        "different_answer": np.where(
            rng.random((n, k)) < 0.5, (gold[:, None] + 1) % OPTIONS, vanilla[:, None]
        ),
    }
    seen = [_steps(rng, found, gold, world.tells) for found in (vanilla, aux, true)]
    shuffled = {name: _steps(rng, found, gold, world.tells) for name, found in donors.items()}
    if null:
        gold = np.repeat(np.random.default_rng(seed + 10**6).permutation(gold_of), 2)
    split = np.repeat(["pilot", "unseen"], n // 2)
    cluster = np.array([f"fact-{fact}" for fact in range(facts)]).repeat(2)
    candidates = Candidates(
        ids=tuple(f"q{place}" for place in range(n)),
        lang=np.tile(["hi", "sw"], facts),
        cluster=cluster,
        split=split,
        pairs=PAIRS,
        n_layers=LAYERS,
        vanilla=seen[0],
        steps=seen[2],
        aux=seen[1],
        ran=np.ones((n, k), dtype=np.bool_),
        attribution=rng.normal(size=(n, k)),
    )
    return SelectorTable(
        seen=candidates,
        labels=judged(true, (vanilla, aux), gold, seen[2]),
        shuffled={
            name: (
                replace(candidates, steps=steps),
                judged(steps.answer, (vanilla, aux), gold, steps),
            )
            for name, steps in shuffled.items()
        },
        donor_shares={
            "same_answer": np.full(n, 1 / OPTIONS),
            "different_answer": np.full(n, 1 - 1 / OPTIONS),
        },
        items=_items(candidates, gold, vanilla, aux),
    )


def answers(rng: np.random.Generator, gold: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Answers that are right with a chance, and else any other one."""
    wrong = (gold + rng.integers(1, OPTIONS, size=len(gold))) % OPTIONS
    return np.where(rng.random(len(gold)) < chance, gold, wrong).astype(np.int64)


def judged(
    found: np.ndarray, without: tuple[np.ndarray, np.ndarray], gold: np.ndarray, steps: Steps
) -> Labels:
    """What is right of some answers; `without` a transplant, to main and to aux."""
    vanilla, aux = ((given == gold).astype(np.float64) for given in without)
    at = np.broadcast_to(gold[:, None, None], (*found.shape, 1))
    chance = np.take_along_axis(steps.options, at, axis=-1)[..., 0]
    return Labels(
        correct=(found == gold[:, None]).astype(np.float64),
        vanilla=vanilla,
        gold_logprob=np.log(chance),
        aux=aux,
    )


def _steps(rng: np.random.Generator, found: np.ndarray, gold: np.ndarray, tells: float) -> Steps:
    """First steps in which the answer given is likeliest, and the surer the more it is right."""
    right = found == gold.reshape(-1, *[1] * (found.ndim - 1))
    top = 1 / (1 + np.exp(-(0.5 + tells * (right - 0.5) + 0.5 * rng.normal(size=found.shape))))
    top = 0.3 + 0.69 * top
    options = np.repeat(((1 - top) / (OPTIONS - 1))[..., None], OPTIONS, axis=-1)
    np.put_along_axis(options, found[..., None], top[..., None], axis=-1)
    return Steps(options, np.log(top), 1 - top, np.log(top / (1 - top)), found)


def _items(seen: Candidates, gold: np.ndarray, vanilla: np.ndarray, aux: np.ndarray) -> Items:
    n = len(seen)
    return Items(
        ids=list(seen.ids),
        lang=seen.lang,
        cluster=seen.cluster,
        split=seen.split,
        answer=[f"({answer + 1})" for answer in gold],
        has_options=np.ones(n, dtype=np.bool_),
        strata=[{}] * n,
        vanilla=(vanilla == gold).astype(np.float64),
        unparseable=np.zeros(n),
        translate_test=(aux == gold).astype(np.float64),
    )


def halves(table: SelectorTable) -> tuple[TableSplit, TableSplit]:
    """The splits pilot and unseen of a simulated table."""
    return tuple(TableSplit(table, table.seen.split == name) for name in ("pilot", "unseen"))


def parts(table: SelectorTable, name: str) -> tuple[Candidates, Labels]:
    """One split's questions, and what is right of them."""
    mask = table.seen.split == name
    return table.seen.take(mask), table.labels.take(mask)
