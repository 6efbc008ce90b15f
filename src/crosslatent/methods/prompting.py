"""What the methods that only change the prompt share: counterparts, and solved pilot questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from crosslatent.core.errors import UsageError
from crosslatent.methods.method import Bench, Way
from crosslatent.tasks import Item
from crosslatent.tasks.item import Shot

DEMONSTRATIONS = 4
"""Solved questions before each one."""


def counterpart(item: Item, text: str | None = None) -> Item:
    """A question asked by its counterpart, or by another text in that language."""
    shots = tuple(Shot(one.aux, one.aux_answer, one.main, one.main_answer) for one in item.shots)
    return replace(
        item.as_aux(), main=item.aux if text is None else text, aux=item.main, shots=shots
    )


Demonstrated = Callable[[Item], tuple[str, str]]
"""Prompt and answer of a solved question, as it is put before another one."""


class FewShot(Way):
    """Solved pilot questions before each question.

    A question is never shown with another one about its own fact.
    """

    def __init__(
        self,
        pool: Sequence[Item],
        shown: Demonstrated,
        seed: int,
        form: Callable[[Item], Item] | None = None,
    ) -> None:
        """Draw an order; the first of it that may be shown are.

        Args:
            pool: solved questions.
            shown: how one is put before another.
            seed: of the order.
            form: how the question itself is put; None as it is.

        Raises:
            UsageError: they are too few.
        """
        solved = [item for item in pool if item.answer is not None]
        if len({item.cluster for item in solved}) <= DEMONSTRATIONS:
            raise UsageError(
                f"{DEMONSTRATIONS} solved questions about other facts are shown before each one, "
                f"and there are {len(solved)} pilot questions with a gold answer: add more."
            )
        self._pool = sorted(solved, key=lambda item: item.id)
        random.Random(seed).shuffle(self._pool)
        self._shown, self._form = shown, form
        self.labelled = DEMONSTRATIONS

    def asked(self, item: Item, /) -> Item:
        """The question after four others."""
        others = [one for one in self._pool if one.cluster != item.cluster]
        pairs = [self._shown(one) for one in others[:DEMONSTRATIONS]]
        own = item if self._form is None else self._form(item)
        return replace(own, shots=tuple(Shot(*pair, *pair) for pair in pairs))


def both(item: Item) -> str:
    """The English prompt, and below it the question itself."""
    return f"{item.aux}\n{item.main}" if item.aux else item.main


def solved_in_english(bench: Bench, langs: Sequence[str]) -> list[Item]:
    """Pilot questions of some languages as English ones."""
    return [counterpart(item) for item in bench.of(langs) if item.aux]


def with_answer(item: Item) -> tuple[str, str]:
    """A question and its gold answer."""
    return item.main, item.answer or ""
