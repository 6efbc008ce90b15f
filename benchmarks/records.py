"""The command line `python -m benchmarks.records`: CPU time of judging a batch of answers.

All answers differ, so nothing is known from another row; each is 20 random tokens of the shipped
tokenizer, which make text in several scripts. One thread; the first batch, which loads the language
identifier, is not counted.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator, Mapping
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.answering.scoring import ItemScorer
    from crosslatent.model import Model

TOKENS = 20
"""Of every answer."""
QUESTIONS = {
    "open, 2 gold answers": {"answer": "Nairobi", "other_answers": ("Jiji la Nairobi",)},
    "options (1) to (4)": {"options": ("(1)", "(2)", "(3)", "(4)"), "answer": "(2)"},
    "options with labels": {
        "options": ("(1)", "(2)", "(3)"),
        "labels": ("Entailment", "Neutral", "Contradiction"),
        "answer": "(2)",
    },
    "options of words": {"options": ("ndiyo", "hapana", "sijui kabisa"), "answer": "hapana"},
}
"""What is asked, by name: fields of `tasks.Item`."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options = _parser().parse_args(arguments)
    print("| item | seconds of CPU time | ms per answer |")
    print("| --- | --- | --- |")
    for name, seconds in measured(options.answers, options.repetitions):
        print(f"| {name} | {seconds:.3f} | {1000 * seconds / options.answers:.3f} |")
    return 0


def measured(answers: int = 1024, repetitions: int = 5) -> Iterator[tuple[str, float]]:
    """For every question its name, and the median CPU time of judging so many answers to it."""
    import torch

    from crosslatent.model import shipped_model

    torch.set_num_threads(1)
    model = shipped_model()
    for name, fields in QUESTIONS.items():
        times = [
            _seconds(scorer_of(model, fields), decoded(model, answers, f"{name} {n}"))
            for n in range(repetitions + 1)
        ]
        yield name, median(times[1:])


def scorer_of(model: Model, fields: Mapping[str, Any]) -> ItemScorer:
    """A scorer of a question about Kenya, under the rule that its fields suit."""
    from crosslatent.answering.scoring import ItemScorer
    from crosslatent.tasks import Item
    from crosslatent.tasks.rules import rule_for

    main, aux = "Mji mkuu wa Kenya ni upi?", "What is the capital of Kenya?"
    item = Item(id="q", lang="sw", aux_lang="en", main=main, aux=aux, **fields)
    return ItemScorer(model, item, rule_for([item]))


def decoded(model: Model, answers: int, seed: str) -> list[tuple[int, ...]]:
    """Token ids of so many random answers."""
    drawn = random.Random(seed)
    vocabulary = len(model.tokenizer)
    return [tuple(drawn.randrange(vocabulary) for _ in range(TOKENS)) for _ in range(answers)]


def _seconds(scorer: ItemScorer, answers: list[tuple[int, ...]]) -> float:
    from crosslatent.engine.decoding import Decoded

    watched = tuple(-1.0 - n for n in range(len(scorer.watch)))
    rows = [Decoded(ids, watched, 0.5, True) for ids in answers]
    before = process_time()
    for row in rows:
        scorer.record(row)
    return process_time() - before


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__)
    parser.add_argument("--answers", type=int, default=1024, help="answers per batch")
    parser.add_argument("--repetitions", type=int, default=5, help="batches, of which the median")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
