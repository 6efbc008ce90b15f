"""From a decoded row to a judged record: answer rules, and probabilities of options and gold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosslatent.decoding import Decoded
from crosslatent.model import Model
from crosslatent.tasks import RULES, Item, Verdict
from crosslatent.tasks.rules import applicable_rules


@dataclass(slots=True)
class ItemScorer:
    """Judges the answers to one item, under the task's rule and the others that fit.

    Attributes:
        watch: token ids whose first-step log-probability the decoder must report.
    """

    model: Model
    item: Item
    rule: str
    watch: list[int] = field(init=False)
    _starts: dict[str, list[int]] = field(init=False)
    _verdicts: dict[str, dict[str, Verdict]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the first tokens that tell the item's options (or its gold answer) apart."""
        answers = self.item.options or ((self.item.answer,) if self.item.answer else ())
        self._starts = distinct_starts(self.model, answers)
        self.watch = sorted({token for starts in self._starts.values() for token in starts})

    def record(self, decoded: Decoded) -> dict[str, Any]:
        """The columns of `store.schema.ROWS` that follow from the answer."""
        output = self.model.text_of(list(decoded.ids))
        verdicts = self._judge(output)
        chances = self._chances(decoded)
        options = self.item.options
        gold = self.item.answer
        return {
            "output": output,
            "output_ids": list(decoded.ids),
            "prediction": verdicts[self.rule].prediction,
            "correct": verdicts[self.rule].correct,
            "correct_by_rule": {
                name: verdict.correct
                for name, verdict in verdicts.items()
                if verdict.correct is not None
            },
            "option_logprobs": [chances.get(option) for option in options] if options else None,
            "gold_logprob": chances.get(gold) if gold is not None else None,
            "min_margin": decoded.min_margin,
            "finite": decoded.finite,
        }

    def _judge(self, output: str) -> dict[str, Verdict]:
        """Verdicts of all rules that fit; rows of a sweep repeat few outputs many times."""
        if output not in self._verdicts:
            names = sorted({self.rule, *applicable_rules(self.item)})
            self._verdicts[output] = {name: RULES[name].judge(output, self.item) for name in names}
        return self._verdicts[output]

    def _chances(self, decoded: Decoded) -> Mapping[str, float]:
        by_token = dict(zip(self.watch, decoded.watched, strict=True))
        return {
            answer: _log_sum([by_token[token] for token in starts])
            for answer, starts in self._starts.items()
            if starts
        }


def distinct_starts(model: Model, answers: Sequence[str]) -> dict[str, list[int]]:
    """For each answer, the first tokens it may begin with that no other answer begins with.

    An answer may follow the prompt with or without a space; tokens shared by several answers tell
    nothing and are left out, so an answer may end up with none.
    """
    starts = {answer: _first_tokens(model, answer) for answer in answers}
    shared = Counter(token for tokens in starts.values() for token in tokens)
    return {
        answer: sorted(token for token in tokens if shared[token] == 1)
        for answer, tokens in starts.items()
    }


def _first_tokens(model: Model, answer: str) -> set[int]:
    spellings = (answer, f" {answer}")
    encoded = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in spellings)
    return {ids[0] for ids in encoded if ids}


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
