"""How often `compare` calls a method better where nothing is: `python -m scripts.compare_null RUN`.

From the stored rows of a comparison (its folder ``run``) with options: gold answers are permuted
over facts, so that no method is better than another. A method that only selects (pairs, layers)
selects again, on one half of the pilot's facts with permuted answers, and is tested on the other
half; every other method keeps its rows. Counted is in how many repetitions any method is called
better after Holm's correction.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosslatent.analysis.inference import LEVEL
from crosslatent.analysis.method_rows import VANILLA
from crosslatent.runs.reader import RunReader
from crosslatent.runs.schema import RowKey
from crosslatent.stats import cluster_permutation, holm

PERMUTATIONS = 1999
Said = Mapping[RowKey, Mapping[str, str | None]]


@dataclass(frozen=True)
class Stored:
    """Items (language, cluster, gold option, split) and predictions by key of rows."""

    items: Mapping[str, tuple[str, str, str, str]]
    said: Said
    records: Sequence[Mapping[str, Any]]
    tested: frozenset[str]

    def drawn(self, rng: np.random.Generator) -> dict[str, str]:
        """Gold answers of other facts: the same permutation of facts in every language."""
        clusters = sorted({cluster for _, cluster, _, _ in self.items.values()})
        to = dict(zip(clusters, rng.permutation(clusters).tolist(), strict=True))
        gold = {(lang, cluster): answer for lang, cluster, answer, _ in self.items.values()}
        found = {}
        for item, (lang, cluster, _, _) in self.items.items():
            other = to[cluster]
            while (lang, other) not in gold:
                other = to[other]
            found[item] = gold[lang, other]
        return found


def read(run: Path) -> Stored:
    """The rows of a comparison.

    Raises:
        SystemExit: its questions have no options.
    """
    reader = RunReader(run)
    con = reader.connect()
    rows = con.execute("SELECT item, lang, cluster, answer, split, options FROM items").fetchall()
    if any(options is None for *_, options in rows):
        raise SystemExit("The questions have no options: give a comparison on a task with options.")
    items = {item: tuple(rest) for item, *rest, _ in rows if not item.endswith("@en")}
    said: dict[RowKey, dict[str, str | None]] = {}
    names = ", ".join(RowKey._fields)
    for item, prediction, *key in con.execute(
        f"SELECT item, prediction, {names} FROM rows"
    ).fetchall():
        said.setdefault(RowKey(*key), {})[item] = prediction
    status = reader.manifest["status"]
    tested = frozenset(one for part in status["parts"] for one in part)
    return Stored(items, said, status["methods"], tested)


def p_values(stored: Stored, rng: np.random.Generator) -> dict[str, tuple[float | None, float]]:
    """P-value and change of each method, with permuted answers."""
    gold = stored.drawn(rng)
    plain = stored.said[RowKey(VANILLA)]
    found = {}
    for record in stored.records:
        if record["name"] == VANILLA or record["reason"] or record["control"]:
            continue
        selects = len(record["trials"]) and len(record["trials"][0]["keys"]) > 1
        pairs = (
            _selected(stored, record, gold, rng)
            if selects and not record["labelled"] and not record["unlabelled"]
            else _kept(stored, record, gold)
        )
        if not pairs:
            continue
        items = list(pairs)
        right = np.array([pairs[item] for item in items])
        was = np.array([float(plain[item] == gold[item]) for item in items])
        clusters = [stored.items[item][1] for item in items]
        seed = int(rng.integers(2**31))
        test = cluster_permutation(right, was, clusters, seed=seed, permutations=PERMUTATIONS)
        found[record["name"]] = test.p_two_sided, float((right - was).mean())
    return found


def _kept(stored: Stored, record: Mapping[str, Any], gold: Mapping[str, str]) -> dict[str, float]:
    """The method's own rows of test questions; the mean over its seeds."""
    values: dict[str, list[float]] = {}
    for row in record["rows"]:
        there = stored.said.get(RowKey(*row["key"]), {})
        for item, prediction in there.items():
            if item in stored.tested and stored.items[item][0] in row["langs"]:
                values.setdefault(item, []).append(float(prediction == gold[item]))
    return {item: float(np.mean(each)) for item, each in values.items()}


def _selected(
    stored: Stored, record: Mapping[str, Any], gold: Mapping[str, str], rng: np.random.Generator
) -> dict[str, float]:
    """Selected on one half of the pilot's facts, tested on the other."""
    pilot = [item for item in stored.items if item not in stored.tested]
    clusters = sorted({stored.items[item][1] for item in pilot})
    chosen = set(rng.permutation(clusters)[: len(clusters) // 2].tolist())
    found: dict[str, float] = {}
    for trial in record["trials"]:
        own = [item for item in pilot if stored.items[item][0] in trial["langs"]]
        tables = [stored.said[RowKey(*key)] for key in trial["keys"] if key is not None]
        tune = [item for item in own if stored.items[item][1] in chosen]
        scores = [np.mean([t.get(i) == gold[i] for i in tune] or [0.0]) for t in tables]
        best = tables[int(np.argmax(scores))]
        found |= {
            item: float(best[item] == gold[item])
            for item in own
            if item not in set(tune) and item in best
        }
    return found


def main() -> None:
    """Print in how many repetitions any method is called better, and which."""
    parser = argparse.ArgumentParser(prog="python -m scripts.compare_null", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    stored = read(args.run)
    rng = np.random.default_rng(args.seed)
    false, by_method = 0, dict[str, int]()
    for _ in range(args.repetitions):
        found = p_values(stored, rng)
        corrected = holm([p for p, _ in found.values()]).adjusted
        better = [
            name
            for (name, (_, change)), p in zip(found.items(), corrected, strict=True)
            if p is not None and p < LEVEL and change > 0
        ]
        false += bool(better)
        for name in better:
            by_method[name] = by_method.get(name, 0) + 1
    print(f"{len(found)} methods; any called better in {false} of {args.repetitions} repetitions")
    print(by_method)


if __name__ == "__main__":
    main()
