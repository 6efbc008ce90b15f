"""The prompts of a sweep as token ids, made when they are asked for and not all at once."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crosslatent.answering import prompts_of
from crosslatent.answering.scoring import SpelledAnswers, answers_of, spell
from crosslatent.core.errors import ModelError, PromptError, SweepError
from crosslatent.core.specs import AsChat
from crosslatent.model import Model
from crosslatent.model.chat import Prompt
from crosslatent.model.continuation import context_of
from crosslatent.model.prompts import check_ids, check_positions, encode, encode_many
from crosslatent.tasks import Item

TRIED_TWICE = 8
"""Items that are tokenised twice at once: what differs from call to call is soon seen."""

CHUNK = 256
"""Items whose prompts are tokenised together, and kept as token ids."""


class Ids(NamedTuple):
    """Token ids of both prompts of an item."""

    main: list[int]
    aux: list[int]


@dataclass(frozen=True, slots=True)
class Ends:
    """What is kept of an item's prompts: how long they are, their last tokens, a hash of all."""

    main_length: int
    aux_length: int
    main_token: int
    aux_token: int
    mark: bytes


class SpelledItem(NamedTuple):
    """The answers that are looked for after each prompt of an item, as token ids."""

    main: SpelledAnswers
    aux: SpelledAnswers

    @property
    def respelled(self) -> bool:
        """Whether one of them is not as the tokenizer writes it together with its prompt."""
        return self.main.respelled or self.aux.respelled


class PromptTokens(Mapping[str, Ids]):
    """Item id -> token ids of its prompts, for every item that the model can take.

    A first pass over all items checks them, in chunks, and keeps only lengths, last tokens and the
    few ids of answers; the ids of an item's prompts are made again when they are asked for, and
    kept for a while.

    Attributes:
        ends: item id -> what is known of its prompts.
        answers: item id -> its options, or else its gold answers, after its prompts.
        failures: item id -> why it cannot be run.
        hash: of all token ids that the model reads, item after item: 16 hex digits.
    """

    def __init__(
        self,
        model: Model,
        items: Sequence[Item],
        *,
        new_tokens: int,
        positions: int = 1,
        scoring: bool = False,
        chat: AsChat = False,
        paraphrases: bool = False,
        failures: Mapping[str, str] | None = None,
    ) -> None:
        """Check the prompts of all items.

        Args:
            model: whose tokenizer and context length count.
            items: the items.
            new_tokens: how many tokens will follow a prompt.
            positions: how many of the last tokens will be touched.
            scoring: whether options will be scored as continuations.
            chat: whether prompts go through the chat template.
            paraphrases: whether `Item.paraphrase` will be read, and so must fit too.
            failures: item id -> why it cannot be run, as far as that is known already.

        Raises:
            ModelError: the tokenizer has no chat template, or prompts give other token ids every
                time.
        """
        self._model, self._chat, self._paraphrases = model, chat, paraphrases
        self._items: dict[str, Item] = {}
        self._kept: OrderedDict[str, Ids] = OrderedDict()
        self.ends: dict[str, Ends] = {}
        self.answers: dict[str, SpelledItem] = {}
        self.failures = dict(failures or {})
        self._paraphrased: dict[str, bytes] = {}
        same: dict[SpelledItem, SpelledItem] = {}
        digest = hashlib.sha256()
        for chunk in _chunks([item for item in items if item.id not in self.failures]):
            encoded = self._encoded(chunk)
            for (item, ids), answers in zip(encoded, self._spelled(encoded), strict=True):
                scored = [ids for side in answers for ids in side.continuations] if scoring else []
                most = max([new_tokens, *map(len, scored)])
                try:
                    ends = self._checked(item, ids, most, positions)
                    for side in answers:
                        side.check(model, scored=scoring)
                except PromptError as error:
                    self.failures[item.id] = str(error)
                else:
                    self.ends[item.id] = ends
                    # Options repeat from item to item; they are kept once.
                    self.answers[item.id] = same.setdefault(answers, answers)
                    digest.update(ends.mark + self._paraphrased.get(item.id, b""))
                    digest.update(mark_of(scored))
            if not self._items:
                self._try_again(chunk[:TRIED_TWICE])
            self._items.update((item.id, item) for item in chunk if item.id in self.ends)
        if model.has_encoder and self.ends:
            digest.update(mark_of([model.decoder_reads(())]))
        self.hash = digest.hexdigest()[:16]

    def __getitem__(self, name: str) -> Ids:
        """The ids of one item."""
        if name not in self._kept:
            self.fetch([name])
        return self._kept[name]

    def fetch(self, names: Iterable[str]) -> None:
        """Make the ids of some items together, since they will be asked for next."""
        wanted = dict.fromkeys(names)
        for name in wanted:
            if name in self._kept:
                self._kept.move_to_end(name)
        missing = [self._items[name] for name in wanted if name not in self._kept]
        for item, ids in self._encoded(missing):
            self._refuse_change(item, mark_of(ids), self.ends[item.id].mark)
            self._kept[item.id] = ids
        while len(self._kept) > max(CHUNK, len(wanted)):
            self._kept.popitem(last=False)

    def __iter__(self) -> Iterator[str]:
        """The ids of the items, in their order."""
        return iter(self.ends)

    def __len__(self) -> int:
        """How many items the model can take."""
        return len(self.ends)

    def __contains__(self, name: object) -> bool:
        """Whether the model can take an item; nothing is tokenised for it."""
        return name in self.ends

    def paraphrase(self, item: Item) -> list[int]:
        """Token ids of an item's paraphrase, asked as main is.

        Raises:
            PromptError: it is empty, or too long for the model's context.
            SweepError: it gives other token ids than at first.
        """
        before = prompts_of(item)[0].shots
        prompt = Prompt(item.paraphrase or "", before)
        ids = encode(self._model, prompt, role="paraphrase", chat=self._chat)
        mark = mark_of([ids])
        self._refuse_change(item, mark, self._paraphrased.setdefault(item.id, mark))
        return ids

    def _try_again(self, items: Sequence[Item]) -> None:
        """Tokenise some items once more.

        Raises:
            ModelError: they give other token ids now.
        """
        try:
            for item, ids in self._encoded([item for item in items if item.id in self.ends]):
                self._refuse_change(item, mark_of(ids), self.ends[item.id].mark)
        except SweepError as error:
            raise ModelError(str(error)) from error

    def _refuse_change(self, item: Item, now: bytes, before: bytes) -> None:
        if now != before:
            what = "chat template" if self._chat else "tokenizer"
            raise SweepError(
                f"The prompts of item {item.id!r} give other token ids now than a moment ago, so "
                f"it would be unknown which prompt a row answers: use a {what} that draws nothing "
                "at random."
            )

    def _encoded(self, items: Sequence[Item]) -> list[tuple[Item, Ids]]:
        prompts = [prompt for item in items for prompt in prompts_of(item)]
        ids = encode_many(self._model, prompts, chat=self._chat) if prompts else []
        return [(item, Ids(ids[2 * at], ids[2 * at + 1])) for at, item in enumerate(items)]

    def _spelled(self, encoded: Sequence[tuple[Item, Ids]]) -> Iterator[SpelledItem]:
        """The answers to items whose prompts are token ids already."""
        asked = [
            (context_of(self._model, prompt, ids, chat=self._chat), answers_of(judged))
            for item, both in encoded
            for prompt, ids, judged in zip(
                prompts_of(item), both, (item, item.as_aux()), strict=True
            )
        ]
        found = iter(spell(self._model, asked))
        for main, aux in zip(found, found, strict=True):
            yield SpelledItem(main, aux)

    def _checked(self, item: Item, ids: Ids, added: int, positions: int) -> Ends:
        """What is kept of an item's prompts.

        Raises:
            PromptError: the model cannot take one of them.
        """
        for role, prompt, tokens in zip(("main", "aux"), prompts_of(item), ids, strict=True):
            check_ids(self._model, prompt, tokens, role=role, new_tokens=added)
        check_positions(positions, *map(self._model.decoder_reads, ids))
        if self._paraphrases and item.paraphrase is not None:
            check_positions(positions, self._model.decoder_reads(self.paraphrase(item)))
        main, aux = ids
        last, other = (self._model.decoder_reads(each)[-1] for each in ids)
        return Ends(len(main), len(aux), last, other, mark_of(ids))


def mark_of(several: Iterable[Sequence[int]]) -> bytes:
    """A hash of token ids, each of them with its length: 8 bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for ids in several:
        digest.update(array("q", [len(ids), *ids]).tobytes())
    return digest.digest()


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
