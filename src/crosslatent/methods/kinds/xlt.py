"""The method ``xlt``: an English instruction around the question, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crosslatent.core.languages import name_of
from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.tasks import Item

KEY = "Answer:"
"""What the answer is to follow."""
NEW_TOKENS = 256
"""Room for restating the question and reasoning, at least."""


def instruction(item: Item) -> str:
    """The six parts of the template, in our own words.

    Role; the question; restate it in English; what to do, with the allowed answers; step by step;
    form of the answer.
    """
    allowed = f" The answer is one of {', '.join(item.options)}." if item.options else ""
    return (
        f"You are an expert in answering questions in {name_of(item.lang)}.\n"
        f"Question: {item.main}\n"
        "First restate the question in English.\n"
        f"Then answer it.{allowed}\n"
        "Think step by step.\n"
        f"End with one line of the form '{KEY} ...'.\n"
    )


class _Instructed(Way):
    """The instruction in the place of the question."""

    def asked(self, item: Item, /) -> Item:
        """The question inside the instruction."""
        return replace(item, main=instruction(item))

    def read(self, output: str, /) -> str:
        """What follows the last key, up to the end of its line; nothing without it."""
        _, key, answer = output.rpartition(KEY)
        return answer.strip().partition("\n")[0] if key else ""

    def new_tokens(self, bench: Bench) -> int:
        """Enough to restate and to reason."""
        return max(NEW_TOKENS, bench.new_tokens)


@register_method("xlt")
class CrossLingualThought(Method):
    """Cross-lingual-thought prompting."""

    league = "none"
    title = "Cross-lingual-thought prompt"
    about = (
        "An English instruction around the question: restate it in English, think step by step, "
        f"answer after '{KEY}'."
    )
    source = "arXiv 2305.07004; own wording, after its six parts [2nd code]"

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del bench, langs, settings, seed
        return _Instructed()
