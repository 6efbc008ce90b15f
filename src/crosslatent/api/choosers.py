"""Choosers at work: a fitted selector, or one fixed pair, answers prompts without gold answers.

Questions are answered in chunks: prompts are read together, candidates share the prefix of their
prompt, and an answer comes as soon as its chunk is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.gradients import AttributionScore, attribute
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts, spell
from crosslatent.api.transplants import Selected, ends, texts
from crosslatent.core import shared_settings as shared
from crosslatent.core import specs
from crosslatent.core.cards import Card, Shown
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import AsChat, Site, TransplantSpec
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import patched
from crosslatent.model import Model
from crosslatent.model.chat import Prompt, thought_note
from crosslatent.model.continuation import context_of
from crosslatent.model.prompts import check_ids, check_positions, encode_many
from crosslatent.selectors import saved as files
from crosslatent.selectors.candidates import OTHER
from crosslatent.selectors.kinds.confidence import FittedConfidence, highest
from crosslatent.selectors.saved import SavedSelector
from crosslatent.selectors.signals import Record, one_question
from crosslatent.tasks import RULES, Item, Task, items_of
from crosslatent.tasks.task import text_key
from crosslatent.translate import Translator, all_translated

CHUNK = 64
"""Questions that are answered together."""
_OPEN = "contains"
"""The rule of open questions; without a gold answer it judges nothing."""

Prompts = Task | Sequence[Item | Mapping[str, Any]] | Sequence[tuple[str, str]]
"""Questions: a task, items or their fields, or pairs of main and aux."""

_Pairs = tuple[TransplantSpec, ...]
_Records = tuple[Record, dict[TransplantSpec, Record], Record | None]
"""What was answered to one question: unmodified, with each candidate, and to aux."""


class Chooser(Shown):
    """A fitted selector, or one fixed pair, with which a model answers.

    Attributes:
        saved: the selector, and what it was fitted on.
    """

    def __init__(self, saved: SavedSelector) -> None:
        """Take a selector that was fitted or read."""
        self.saved = saved

    def _card(self) -> Card:
        from crosslatent.report.notebook import saved_card

        return saved_card(self.saved)

    @documented(shared.AnswerSettings)
    def answers(
        self,
        model: Model,
        prompts: Prompts,
        *,
        force: bool = False,
        translator: Translator | None = None,
        **options: Unpack[shared.AnswerSettings],
    ) -> Iterator[Selected]:
        """Answer questions, one after the other, as they are done.

        Args:
            model: that which the selector was fitted on.
            prompts: the questions, each with its counterpart; gold answers are not looked at.
            force: take another model with as many blocks too; each answer's warnings say so.
            translator: makes the counterparts of questions that have none, such as
                ``OwnTranslator(model)`` of `crosslatent.translate`; None: each has its own.
            {settings}

        Raises:
            UsageError: the selector was fitted on another model, or is damaged.
            PromptError: a prompt is empty, or longer than the context.
            TaskError: a question has a mistake, or options that cannot be distinguished.
        """
        asked = complete(shared.AnswerSettings, options)
        setting = _Setting.of(model, self.saved, asked, force=force)
        items = _items(prompts, translator)
        return (
            answer
            for start in range(0, len(items), CHUNK)
            for answer in _Chunk(setting, items[start : start + CHUNK]).answers()
        )

    @documented(shared.AnswerSettings)
    def answer(
        self,
        model: Model,
        prompts: Prompts,
        *,
        force: bool = False,
        translator: Translator | None = None,
        **options: Unpack[shared.AnswerSettings],
    ) -> list[Selected]:
        """`answers` of all questions at once.

        Args:
            model: see `answers`.
            prompts: see `answers`.
            force: see `answers`.
            translator: see `answers`.
            {settings}
        """
        return list(self.answers(model, prompts, force=force, translator=translator, **options))

    def generate(self, model: Model, prompt: tuple[str, str], **arguments: Any) -> Any:
        """Choose for one question, then call the model's own `generate` as the choice says.

        Args:
            model: see `answers`.
            prompt: main and aux.
            arguments: of ``model.hf.generate``; sampling, streamers and so on are the caller's.

        Returns:
            What ``generate`` returns: token ids, the prompt's before them.

        Raises:
            UsageError, PromptError: see `answers`.
        """
        asked = complete(shared.AnswerSettings, {})
        setting = _Setting.of(model, self.saved, asked, force=False)
        if (setting.positions, setting.strength, setting.chat) != (1, 1.0, False):
            raise UsageError(
                "The selector was fitted with another strength, several positions or a chat "
                "template: use answer, which goes by what it was fitted with."
            )
        chunk = _Chunk(setting, _items([prompt]))
        ((choice, pairs),) = chunk.choices()
        main, aux = prompt
        inputs = model.tokenizer(aux if choice == OTHER else main, return_tensors="pt")
        inputs = {
            name: inputs[name].to(model.hf.device) for name in ("input_ids", "attention_mask")
        }
        generate: Any = model.hf.generate
        if choice < 0:
            return generate(**inputs, **arguments)
        pair = asdict(pairs[choice])
        with patched(model, chunk.vectors, **pair):
            return generate(**inputs, **arguments)


def load_chooser(path: str | Path) -> Chooser:
    """Read a chooser: the file that `improve` or `crosslatent select --save` wrote.

    Args:
        path: the JSON file; its name may lack ``.json``.

    Raises:
        UsageError: the file is not there, is none of ours, or is damaged.
    """
    return Chooser(files.load(Path(path)))


def _items(prompts: Prompts, translator: Translator | None = None) -> tuple[Item, ...]:
    """Questions as items, each with its counterpart.

    Raises:
        TaskError: there are none, one has a mistake, or one cannot be translated.
    """
    if isinstance(prompts, Task):
        items = prompts.items
    else:
        given = [{"main": o[0], "aux": o[1]} if isinstance(o, tuple) else o for o in prompts]
        items = items_of(given, counterparts=translator is None)
    return items if translator is None else all_translated(items, translator)


@dataclass(frozen=True, slots=True)
class _Setting:
    """How questions are asked: as in the run that the selector was fitted on, or otherwise.

    `other` is a sentence if the model is another than that run's.
    """

    model: Model
    saved: SavedSelector
    tokens: int
    chat: AsChat
    strength: float
    positions: int
    other: str | None

    @classmethod
    def of(
        cls, model: Model, saved: SavedSelector, asked: shared.AnswerSettings, *, force: bool
    ) -> _Setting:
        files.check_model(saved, model.n_layers)
        other = files.other_model(saved, model.identity)
        if other and not force:
            raise UsageError(
                f"{other}: fit one on this model with `crosslatent select --save`, or pass --force "
                "(force=True in Python) to have every answer say so."
            )
        run = saved.fitted_on.get("spec") or {}
        as_run, arguments = asked["chat"] is None, asked["chat_args"]
        if as_run and arguments is None:
            arguments = run.get("chat_args")
        chat = run.get("chat") if as_run else asked["chat"]
        return cls(
            model,
            saved,
            asked["max_new_tokens"] or int(run.get("max_new_tokens") or shared.NEW_TOKENS),
            specs.chat_of(chat, arguments, specs.right_now()),
            float(run.get("strength") or 1.0),
            int(run.get("positions") or 1),
            other,
        )

    def encoded(self, texts: Sequence[str], role: str) -> list[tuple[int, ...]]:
        """Token ids of prompts.

        Raises:
            PromptError: the model cannot take one of them.
        """
        prompts = [Prompt(text) for text in texts]
        found = encode_many(self.model, prompts, chat=self.chat)
        for prompt, ids in zip(prompts, found, strict=True):
            check_ids(self.model, prompt, ids, role=role, new_tokens=self.tokens)
        return [tuple(ids) for ids in found]

    def judging(self, item: Item) -> tuple[str, bool]:
        """The rule that says which answer a text gives, and whether whole options are scored."""
        rule = str((self.saved.fitted_on.get("task") or {}).get("rule") or _OPEN)
        usable = item.options is not None and rule in RULES and RULES[rule].fits(item)
        whole = bool((self.saved.fitted_on.get("spec") or {}).get("score_options"))
        judge = rule if usable else "option" if item.options is not None else _OPEN
        return judge, whole and item.options is not None


class _Chunk:
    """Some questions, answered together."""

    def __init__(self, setting: _Setting, items: Sequence[Item]) -> None:
        self._setting, self._items = setting, items
        self._model, self._fitted = setting.model, setting.saved.fitted
        self._main = setting.encoded([item.main for item in items], "main")
        self._aux = setting.encoded([item.aux for item in items], "aux")
        check_positions(
            setting.positions, *map(self._model.decoder_reads, (*self._main, *self._aux))
        )

    def answers(self) -> Iterator[Selected]:
        """What was chosen, and the answers."""
        choices = self.choices()
        asked = []
        for place, (choice, pairs) in enumerate(choices):
            chosen = [self._row(place, pairs[choice])] if choice >= 0 else []
            asked.append(Prompted(self._main[place], ((), *chosen)))
            if choice == OTHER:
                asked.append(Prompted(self._aux[place], ((),)))
        found = iter(ask(self._model, asked, max_new_tokens=self._setting.tokens))
        for place, (choice, pairs) in enumerate(choices):
            decoded = [judged.decoded for judged in next(found)]
            if choice == OTHER:
                decoded += [judged.decoded for judged in next(found)]
            yield self._selected(place, choice, pairs, decoded[0], decoded[-1])

    def choices(self) -> list[tuple[int, _Pairs]]:
        """Of every question the choice (`selectors.candidates.Selection`), among which pairs."""
        places = range(len(self._items))
        pairs: list[_Pairs] = [self._fitted.pairs for _ in places]
        scores: list[dict[TransplantSpec, float]] | None = None
        if isinstance(self._fitted, FittedConfidence) and self._fitted.top is not None:
            scores = [self._attribution(place, self._fitted.pairs) for place in places]
            pairs = [_highest(one, self._fitted.top) for one in scores]
        records = self._records(pairs)
        seen = [
            one_question(
                *record,
                lang=item.lang,
                n_layers=self._model.n_layers,
                options=item.options,
                attribution=None if scores is None else scores[place],
            )
            for place, (item, record) in enumerate(zip(self._items, records, strict=True))
        ]
        return [(int(self._fitted.choose(one).choice[0]), one.pairs) for one in seen]

    @cached_property
    def vectors(self) -> Captured:
        """What any of the pairs carries, of every aux: prompts layers d_model."""
        kinds = sorted({pair.component for pair in self._fitted.pairs})
        return capture_ids(self._model, self._aux, kinds, positions=self._setting.positions)

    @cached_property
    def _spelled(self) -> list[SpelledAnswers]:
        """The options of every question after its main, and after its aux."""
        asked = [
            (
                context_of(self._model, Prompt(text), ids, chat=self._setting.chat),
                item.options or (),
            )
            for item, *both in zip(self._items, self._main, self._aux, strict=True)
            for text, ids in zip((item.main, item.aux), both, strict=True)
        ]
        return spell(self._model, asked)

    def _row(self, place: int, pair: TransplantSpec) -> tuple[Intervention, ...]:
        value = self.vectors[pair.component][place, pair.source]
        return (Transplant(Site(pair.component, pair.target), value, self._setting.strength),)

    def _records(self, pairs: Sequence[_Pairs]) -> list[_Records]:
        """Unmodified, candidates' and aux answers of every question, judged as a sweep would."""
        if self._fitted.reads == "nothing":
            # A fixed pair needs no row to be chosen; only the chosen one is answered.
            blank: Record = {"output": ""}
            return [(blank, dict.fromkeys(own, blank), None) for own in pairs]
        asked = []
        for place, (item, own) in enumerate(zip(self._items, pairs, strict=True)):
            rows = ((), *(self._row(place, pair) for pair in own))
            for side, (ids, judged, of_side) in enumerate(
                ((self._main, item, rows), (self._aux, item.as_aux(), ((),)))
            ):
                rule, whole = self._setting.judging(judged)
                spelled = self._spelled[2 * place + side]
                scorer = ItemScorer(self._model, judged, rule, whole=whole, spelled=spelled)
                asked.append(Prompted(ids[place], of_side, scorer))
        tokens = self._setting.tokens if self._fitted.reads == "answers" else 1
        found = [
            [judged.record for judged in of_prompt]
            for of_prompt in ask(self._model, asked, max_new_tokens=tokens)
        ]
        return [
            (vanilla, dict(zip(own, candidates, strict=True)), aux)
            for own, (vanilla, *candidates), (aux,) in zip(
                pairs, found[::2], found[1::2], strict=True
            )
        ]

    def _attribution(self, place: int, pairs: _Pairs) -> dict[TransplantSpec, float]:
        starts = distinct_starts(self._spelled[2 * place])
        options = tuple(tuple(tokens) for tokens in starts.values() if tokens)
        scores = attribute(
            self._model,
            self._main[place],
            self._aux[place],
            sorted({pair.component for pair in pairs}),
            score=AttributionScore(options=options if len(options) > 1 else ()),
            positions=self._setting.positions,
            strength=self._setting.strength,
        )
        return {pair: float(scores[pair.component][pair.source, pair.target]) for pair in pairs}

    def _selected(
        self, place: int, choice: int, pairs: _Pairs, vanilla: Decoded, output: Decoded
    ) -> Selected:
        setting, item = self._setting, self._items[place]
        main, aux = self._main[place], self._aux[place]
        thought = thought_note(
            self._model,
            Prompt(item.main),
            chat=setting.chat,
            role="main",
            new_tokens=setting.tokens,
        )
        unlike = [f"{setting.other}."] if setting.other else []
        unlike += files.unlike_fitted(setting.saved, item.lang, item.options)
        return Selected(
            selector=setting.saved.name,
            chosen=pairs[choice] if choice >= 0 else None,
            way="transplant" if choice >= 0 else "other" if choice == OTHER else "unmodified",
            **texts(self._model, vanilla, output),
            candidates=len(pairs),
            cost=setting.saved.fitted.cost,
            warnings=(*unlike, *([thought] if thought else [])),
            **ends(self._model, main, aux),
            trained_on=files.was_fitted_on(setting.saved, map(text_key, (item.main, item.aux))),
        )


def _highest(scores: Mapping[TransplantSpec, float], most: int) -> _Pairs:
    values = np.array([list(scores.values())])
    kept = highest(values, np.ones(values.shape, dtype=np.bool_), most)[0]
    return tuple(pair for pair, keep in zip(scores, kept, strict=True) if keep)
