"""Judging by the letter: every form of a text is computed each time that it is asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache
from typing import Any

import pytest

from crosslatent.answering import scoring
from crosslatent.core import languages
from crosslatent.core import normal as forms
from crosslatent.tasks import metrics, naming, rules


def normal(text: str) -> str:
    """What `core.normal.normal` gives, without a shortcut."""
    for _ in range(2):
        text = unicodedata.normalize("NFKC", "".join(forms._plain(letter) for letter in text))
    text = forms._TONES.sub(lambda marks: "".join(sorted(marks[0])), text)
    return " ".join(text.split())


def fold(text: str) -> str:
    """What `core.normal.fold` gives."""
    return normal(normal(text).casefold())


def words_of(text: str, lang: str) -> list[str]:
    """What `tasks.metrics.words_of` gives."""
    kept = [c for c in fold(text) if unicodedata.category(c)[0] not in "PS"]
    parts = "".join(c for c in kept if unicodedata.category(c) != "Cf").split()
    words = [word for part in parts for word in _cut(part)]
    if languages.same_language(lang, "en"):
        return [word for word in words if word not in ("a", "an", "the")] or words
    return words


def _cut(part: str) -> list[str]:
    words: list[str] = []
    joins = False
    for letter in part:
        is_own = unicodedata.name(letter, "").startswith(naming.WITHOUT_BLANKS)
        if (words and unicodedata.category(letter)[0] == "M") or (joins and not is_own):
            words[-1] += letter
        else:
            words.append(letter)
            joins = not is_own
    return words


def f1(answer: metrics.MetricInput, item: Any) -> float | None:
    """What the metric of that name gives."""
    found = words_of(answer.output, item.lang)
    golds = [words for gold in item.golds if (words := words_of(gold, item.lang))]
    shared = [(Counter(found) & Counter(gold)).total() for gold in golds]
    both = zip(shared, golds, strict=True)
    return max((2 * n / (len(found) + len(gold)) for n, gold in both), default=None)


def identify(text: str) -> str | None:
    """What `core.languages.identify` gives."""
    letters = "".join(c for c in text if unicodedata.category(c)[0] == "L")
    if len(letters.encode()) < languages.LEAST_BYTES:
        return None
    code, confidence = identifier().classify(text)
    return code if confidence >= languages.CONFIDENCE and code != "zxx" else None


@cache
def identifier() -> Any:
    """The identifier as py3langid makes it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages([label for label in made.labels if len(label) == 2 or label == "zxx"])
    return made


def instead(patch: pytest.MonkeyPatch) -> None:
    """Let rules, metrics and records use what is written here."""
    for module in (naming, rules, metrics, forms):
        patch.setattr(module, "fold", fold)
    for module in (naming, forms):
        patch.setattr(module, "normal", normal)
    for name in ("_named", "_read", "_without_marks"):
        patch.setattr(naming, name, getattr(naming, name).__wrapped__)
    patch.setattr(metrics, "_words", lambda text, lang: tuple(words_of(text, lang)))
    patch.setattr(metrics, "_golds", metrics._golds.__wrapped__)
    patch.setattr(metrics.METRICS["f1"], "score", f1)
    patch.setattr(scoring, "identify", identify)
