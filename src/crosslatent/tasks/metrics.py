"""Graded scores of one answer, from 0 to 1: how much of the gold answer it is.

A rule (`crosslatent.tasks.rules`) says right or wrong; a metric says by how much. `exact_match` and
`f1` are those of SQuAD's evaluation (Rajpurkar et al. 2016), carried to any script as in MLQA's
(Lewis et al. 2020); `js_similarity` is that of GlobalOpinionQA (Durmus et al. 2023). An undefined
score is None, never 0.

A metric is one function ``(answer, item) -> float | None`` under `register_metric`, in this module
or in a package of its own.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from typing import Literal

import numpy as np

from crosslatent.core.answer_words import gives_answer
from crosslatent.core.languages import ENGLISH, same_language
from crosslatent.core.normal import fold
from crosslatent.core.plugins import Registry
from crosslatent.core.specs import ACCURACY
from crosslatent.tasks.item import Item, has_answer
from crosslatent.tasks.naming import WITHOUT_BLANKS

Need = Literal["output", "probabilities"]


@dataclass(frozen=True, slots=True)
class MetricInput:
    """What a metric may look at.

    Attributes:
        output: the generated text.
        probabilities: of the item's options, in their order, adding up to 1; None if not known.
    """

    output: str
    probabilities: Sequence[float] | None = None


class Metric:
    """A way to grade answers, as `register_metric` makes it of a function.

    Attributes:
        score: answer, item -> 0 to 1, or None if it is undefined.
        needs: what of an `MetricInput` the score depends on.
        fits: whether an item has what the metric compares with.
    """

    def __init__(
        self,
        score: Callable[[MetricInput, Item], float | None],
        needs: Need,
        fits: Callable[[Item], bool],
    ) -> None:
        """A metric with the name and the docstring of its function."""
        self.score, self.needs, self.fits = score, needs, fits
        update_wrapper(self, score)

    def __call__(self, answer: MetricInput, item: Item) -> float | None:
        """As `score`."""
        return self.score(answer, item)


METRICS: Registry[Metric] = Registry(
    "metric",
    "tasks.metrics",
    "tasks.metrics:Metric",
    decorator="register_metric",
    reserved=(ACCURACY,),
)
"""The metrics by name; other packages name theirs as entry points of the group
``crosslatent.metrics``."""


def register_metric(
    name: str, *, needs: Need = "output", fits: Callable[[Item], bool] = has_answer
) -> Callable[[Callable[[MetricInput, Item], float | None]], Metric]:
    """A decorator that makes a function ``(answer, item) -> float | None`` known as a metric.

    Args:
        name: as in a task's file.
        needs: what of an `MetricInput` the score depends on.
        fits: whether an item has what the metric compares with; by default, whether it has a gold
            answer.

    Raises:
        UsageError: the name is another metric's.
    """
    return lambda score: METRICS.register(name)(Metric(score, needs, fits))


def _is_open(item: Item) -> bool:
    return item.options is None and has_answer(item)


@register_metric("exact_match", fits=_is_open)
def exact_match(answer: MetricInput, item: Item) -> float | None:
    """1 if the words of the output are those of a gold answer, else 0; see `words_of`."""
    golds = _golds(item.golds, item.lang)
    return float(_words(answer.output, item.lang) in golds) if golds else None


@register_metric("f1", fits=_is_open)
def f1(answer: MetricInput, item: Item) -> float | None:
    """Harmonic mean of precision and recall of the output's words; see `words_of`.

    Precision is the share of its words that the gold answer has too, recall the share of the gold
    answer's words that it has. Of several gold answers, the one with the highest score counts.
    """
    found = _words(answer.output, item.lang)
    counts = Counter(found)
    scores = [
        2
        * sum(min(counts[word], n) for word, n in Counter(gold).items() if word in counts)
        / (len(found) + len(gold))
        for gold in _golds(item.golds, item.lang)
    ]
    return max(scores, default=None)


@register_metric("votes", fits=lambda item: item.options is None and bool(item.weights))
def votes(answer: MetricInput, item: Item) -> float | None:
    """Weight of the best gold answer that the output gives, relative to the largest weight.

    BLEnD's weighted score (arXiv 2406.09948) with the rule ``blend_simple``: 0 if none is given.
    """
    lang = item.aux_lang if item.lang == ENGLISH else item.lang
    weighed = list(zip(item.golds, item.weights or (), strict=False))
    most = max((weight for _, weight in weighed), default=0.0)
    if most <= 0:
        return None
    given = [weight for gold, weight in weighed if gives_answer(answer.output, [gold], lang)]
    return max(given, default=0.0) / most


def js_similarity(probabilities: Sequence[float], shares: Sequence[float]) -> float | None:
    """1 - Jensen-Shannon distance (base 2) of the model's options and a population's answers.

    The distance is the square root of the divergence. Both sides are divided by their sums.

    Args:
        probabilities: one for each option.
        shares: of the population, one for each option, in the same order.

    Returns:
        0 to 1; None where a side has nothing to divide by, or an entry is no share.

    Raises:
        ValueError: the lengths differ.
    """
    if len(probabilities) != len(shares):
        raise ValueError(f"{len(probabilities)} probabilities but {len(shares)} shares")
    if not (_is_distribution(probabilities) and _is_distribution(shares)):
        return None
    sides = np.array([probabilities, shares], dtype=float)
    sides /= sides.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(sides > 0, sides * np.log2(sides / sides.mean(axis=0)), 0.0)
    # Of two sides that are all but equal, rounding can leave the root of a number below zero.
    return 1.0 - math.sqrt(min(1.0, max(0.0, float(surprise.sum()) / 2)))


def words_of(text: str, lang: str) -> list[str]:
    """The words that `exact_match` and `f1` compare.

    Normalised and without case (`core.normal.fold`); without punctuation, symbols and invisible
    marks of any script, by Unicode category; in English without articles (unless they are all
    there is). Words end at blanks; of scripts without blanks, such as Chinese, Japanese and Thai,
    every character with its marks is a word of its own.
    """
    return list(_words(text, lang))


@lru_cache(maxsize=64)
def _words(text: str, lang: str) -> tuple[str, ...]:
    """As `words_of`; kept, since several metrics ask for those of one output in turn."""
    words = [word for part in _bare(fold(text)).split() for word in _cut(part)]
    if same_language(lang, "en"):
        words = [word for word in words if word not in _ARTICLES] or words
    return tuple(words)


@lru_cache(maxsize=256)
def _golds(golds: tuple[str, ...], lang: str) -> tuple[tuple[str, ...], ...]:
    """The words of each gold answer that has any."""
    return tuple(words for gold in golds if (words := _words(gold, lang)))


_ARTICLES = ("a", "an", "the")
_LEFT_OUT = ("P", "S", "Cf")
"""How the Unicode categories begin of what is no part of a word: punctuation, symbols, format."""


def _bare(text: str) -> str:
    return "".join(map(_kept, text))


@lru_cache(maxsize=65536)
def _kept(character: str) -> str:
    return "" if unicodedata.category(character).startswith(_LEFT_OUT) else character


def _cut(part: str) -> list[str]:
    """A text without blanks cut around the characters that are words of their own."""
    if part.isascii():
        return [part]
    words: list[str] = []
    alone = True  # whether the next letter begins a word
    for character in part:
        is_mark, own = _role(character)
        if is_mark and words:
            words[-1] += character
            continue
        if own or alone:
            words.append(character)
        else:
            words[-1] += character
        alone = own
    return words


@lru_cache(maxsize=65536)
def _role(character: str) -> tuple[bool, bool]:
    """Whether it is a mark of the letter before it, and whether it is a word of its own."""
    is_mark = unicodedata.category(character).startswith("M")
    return is_mark, unicodedata.name(character, "").startswith(WITHOUT_BLANKS)


def _is_distribution(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) and value >= 0 for value in values) and sum(values) > 0


@register_metric(
    "js_similarity",
    needs="probabilities",
    fits=lambda item: item.options is not None and item.shares is not None,
)
def _by_population(answer: MetricInput, item: Item) -> float | None:
    if answer.probabilities is None or item.shares is None:
        return None
    return js_similarity(answer.probabilities, item.shares)


def applicable_metrics(item: Item, named: str = ACCURACY) -> list[str]:
    """Names of the metrics that can grade answers to `item`: this package's, and the named one.

    Those of others grade where they are asked for: what is installed changes no run without them.
    """
    names = dict.fromkeys([*METRICS.own, *([] if named == ACCURACY else [named])])
    return [name for name in names if METRICS[name].fits(item)]
