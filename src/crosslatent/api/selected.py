"""A saved selector at work: one question, its candidate rows, and the answer that is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.gradients import AttributionScore, attribute
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts, spell
from crosslatent.core.errors import UsageError
from crosslatent.core.seen import among
from crosslatent.core.specs import AsChat, Site, TransplantSpec, chat_of, right_now
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds import Transplant
from crosslatent.model import Model, encode
from crosslatent.model.chat import Prompt, thought_note
from crosslatent.model.continuation import context_of
from crosslatent.model.prompts import check_positions
from crosslatent.selectors.base import Candidates
from crosslatent.selectors.kinds.confidence import FittedConfidence, highest
from crosslatent.selectors.one import Record, one_question
from crosslatent.selectors.saved import SavedSelector, check_pairs
from crosslatent.tasks import RULES, Item
from crosslatent.tasks.fingerprints import text_key
from crosslatent.tasks.item import check_judging

_OPEN = "contains"
"""The rule of open questions; without a gold answer it judges nothing."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The chosen answer beside the unmodified one.

    Attributes:
        selector: name of the selector.
        chosen: what was transplanted; None = the answer was left unmodified.
        vanilla: the unmodified answer; `output` the chosen one.
        vanilla_ids: new token ids of `vanilla`, end token left out; `output_ids` those of `output`.
        candidates: pairs that were looked at.
        cost: forward passes by the selectors' cost model, relative to one unmodified answer.
        warnings: what speaks against trusting the choice.
        main_token, aux_token: last tokens of the prompts, as text.
        main_length, aux_length: tokens of the prompts.
        trained_on: whether the selector was fitted on this question; None if that is not known.
    """

    selector: str
    chosen: TransplantSpec | None
    vanilla: str
    output: str
    vanilla_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    candidates: int
    cost: float
    warnings: tuple[str, ...]
    main_token: str
    aux_token: str
    main_length: int
    aux_length: int
    trained_on: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def transplant_selected(
    model: Model,
    saved: SavedSelector,
    *,
    main: str,
    aux: str,
    lang: str = "und",
    aux_lang: str = "en",
    options: Sequence[str] | None = None,
    max_new_tokens: int | None = None,
    chat: bool | None = None,
    chat_args: Mapping[str, Any] | None = None,
) -> Selected:
    """Answer `main` with the pair that a saved selector chooses, or unmodified if it abstains.

    Args:
        model: the model; that which the selector was fitted on, or one with as many blocks.
        saved: the selector; see `selectors.saved.load`.
        main: the prompt that is answered.
        aux: its counterpart in another language.
        lang: the language that tells questions apart: main's, or aux's for culture tasks.
        aux_lang: language of aux.
        options: the strings that an answer may be. A selector that was fitted on questions with
            options needs them, or its confidence is another one.
        max_new_tokens: most new tokens; None = as in the run that it was fitted on.
        chat: through the tokenizer's chat template; None = as in that run.
        chat_args: arguments of the template by name; None = as in that run, if `chat` is None.

    Raises:
        UsageError: the selector was fitted on a model with other blocks, or is damaged.
        PromptError: a prompt is empty, or longer than the context.
        TaskError: the options are fewer than two, or cannot be distinguished.
    """
    _check_model(model, saved)
    spec = saved.fitted_on.get("spec") or {}
    tokens = max_new_tokens or int(spec.get("max_new_tokens") or 20)
    arguments = spec.get("chat_args") if chat_args is None and chat is None else chat_args
    as_chat = chat_of(spec.get("chat") if chat is None else chat, arguments, right_now())
    main_ids = encode(model, main, role="main", new_tokens=tokens, chat=as_chat)
    aux_ids = encode(model, aux, role="aux", new_tokens=tokens, chat=as_chat)
    thought = thought_note(model, Prompt(main), chat=as_chat, role="main", new_tokens=tokens)
    item = Item("question", lang, aux_lang, main, aux, options=tuple(options) if options else None)
    check_judging(item, "the question")
    work = _Question(model, saved, item, tuple(main_ids), tuple(aux_ids), tokens, as_chat)
    chosen, looked = work.choose()
    vanilla, output = work.answers(chosen)
    return Selected(
        selector=saved.name,
        chosen=chosen,
        vanilla=model.text_of(list(vanilla.ids)),
        output=model.text_of(list(output.ids)),
        vanilla_ids=vanilla.ids,
        output_ids=output.ids,
        candidates=looked,
        cost=saved.fitted.cost,
        warnings=(*_warnings(saved, item), *([thought] if thought else [])),
        main_token=model.token_text(model.decoder_reads(main_ids)[-1]),
        aux_token=model.token_text(model.decoder_reads(aux_ids)[-1]),
        main_length=len(main_ids),
        aux_length=len(aux_ids),
        trained_on=_was_seen(saved, item),
    )


@dataclass(slots=True)
class _Question:
    """One question with its prompts as token ids."""

    model: Model
    saved: SavedSelector
    item: Item
    main: tuple[int, ...]
    aux: tuple[int, ...]
    tokens: int
    chat: AsChat
    _vectors: Captured | None = None

    @property
    def spec(self) -> Mapping[str, Any]:
        """Settings of the run that the selector was fitted on."""
        found: Mapping[str, Any] = self.saved.fitted_on.get("spec") or {}
        return found

    def choose(self) -> tuple[TransplantSpec | None, int]:
        """The chosen pair, or None, and how many candidates were looked at."""
        fitted = self.saved.fitted
        pairs = self.saved.fitted.pairs
        blank: Record = {"output": ""}
        attribution = None
        if isinstance(fitted, FittedConfidence) and fitted.top is not None:
            attribution = self._attribution(pairs)
            pairs = _highest(attribution, fitted.top)
        if fitted.reads == "nothing":
            # A fixed pair needs no row to be chosen; only the chosen one is answered.
            rows, vanilla, aux = dict.fromkeys(pairs, blank), blank, None
        else:
            rows, vanilla, aux = self._records(pairs, self.tokens if self._reads_answers else 1)
        seen = one_question(
            vanilla,
            rows,
            aux,
            lang=self.item.lang,
            n_layers=self.model.n_layers,
            options=self.item.options,
            attribution=attribution,
        )
        return self._chosen(seen), len(pairs)

    @property
    def _reads_answers(self) -> bool:
        return self.saved.fitted.reads == "answers"

    def _chosen(self, seen: Candidates) -> TransplantSpec | None:
        place = int(self.saved.fitted.choose(seen).choice[0])
        return None if place < 0 else seen.pairs[place]

    def answers(self, chosen: TransplantSpec | None) -> tuple[Decoded, Decoded]:
        """The unmodified answer and the chosen one."""
        rows = [()] if chosen is None else [(), self._row(chosen)]
        (found,) = ask(self.model, [Prompted(self.main, tuple(rows))], max_new_tokens=self.tokens)
        return found[0].decoded, found[-1].decoded

    def _records(
        self, pairs: Sequence[TransplantSpec], tokens: int
    ) -> tuple[dict[TransplantSpec, Record], Record, Record]:
        """Candidates', unmodified and aux answers, judged as a sweep would."""
        scorers = [
            self._scorer(item, spelled)
            for item, spelled in zip((self.item, self.item.as_aux()), self._spelled(), strict=True)
        ]
        rows = [((), *(self._row(pair) for pair in pairs)), ((),)]
        asked = map(Prompted, (self.main, self.aux), rows, scorers)
        answers = ask(self.model, asked, max_new_tokens=tokens)
        found = [[judged.record for judged in of_prompt] for of_prompt in answers]
        (vanilla, *candidates), (aux,) = found
        return dict(zip(pairs, candidates, strict=True)), vanilla, aux

    def _spelled(self) -> list[SpelledAnswers]:
        """The options after main, and after aux."""
        options = self.item.options or ()
        return spell(
            self.model,
            [
                (context_of(self.model, Prompt(text), ids, chat=self.chat), options)
                for text, ids in ((self.item.main, self.main), (self.item.aux, self.aux))
            ],
        )

    def _scorer(self, item: Item, spelled: SpelledAnswers) -> ItemScorer:
        rule = str((self.saved.fitted_on.get("task") or {}).get("rule") or _OPEN)
        usable = item.options is not None and rule in RULES and RULES[rule].fits(item)
        whole = bool(self.spec.get("score_options")) and item.options is not None
        judge = rule if usable else _rule_without(item)
        return ItemScorer(self.model, item, judge, whole=whole, spelled=spelled)

    def _row(self, pair: TransplantSpec) -> tuple[Intervention, ...]:
        vectors = self._captured()[pair.component][0, pair.source]
        strength = float(self.spec.get("strength") or 1.0)
        return (Transplant(Site(pair.component, pair.target), vectors, strength),)

    def _captured(self) -> Captured:
        if self._vectors is None:
            positions = int(self.spec.get("positions") or 1)
            check_positions(positions, *map(self.model.decoder_reads, (self.main, self.aux)))
            kinds = sorted({pair.component for pair in self.saved.fitted.pairs})
            self._vectors = capture_ids(self.model, [self.aux], kinds, positions=positions)
        return self._vectors

    def _attribution(self, pairs: Sequence[TransplantSpec]) -> dict[TransplantSpec, float]:
        starts = distinct_starts(self._spelled()[0])
        options = tuple(tuple(tokens) for tokens in starts.values() if tokens)
        scores = attribute(
            self.model,
            self.main,
            self.aux,
            sorted({pair.component for pair in pairs}),
            score=AttributionScore(options=options if len(options) > 1 else ()),
            positions=int(self.spec.get("positions") or 1),
            strength=float(self.spec.get("strength") or 1.0),
        )
        return {pair: float(scores[pair.component][pair.source, pair.target]) for pair in pairs}


def _highest(scores: Mapping[TransplantSpec, float], most: int) -> tuple[TransplantSpec, ...]:
    values = np.array([list(scores.values())])
    kept = highest(values, np.ones(values.shape, dtype=np.bool_), most)[0]
    return tuple(pair for pair, keep in zip(scores, kept, strict=True) if keep)


def _rule_without(item: Item) -> str:
    """A rule that judges any item of this form."""
    return "option" if item.options is not None else _OPEN


def _check_model(model: Model, saved: SavedSelector) -> None:
    """Refuse a model that the selector's pairs do not fit.

    Raises:
        UsageError: it has another number of blocks, or lacks a layer of some pair.
    """
    blocks = (saved.fitted_on.get("model") or {}).get("n_layers")
    if blocks is not None and blocks != model.n_layers:
        raise UsageError(
            f"The selector {saved.name!r} was fitted on a model with {blocks} blocks, but this one "
            f"has {model.n_layers}: fit one on this model with `crosslatent select --save`."
        )
    try:
        check_pairs(saved, model.n_layers)
    except ValueError as error:
        raise UsageError(
            f"The selector {saved.name!r} does not fit this model of {model.n_layers} blocks "
            f"({error}): fit one on it with `crosslatent select --save`."
        ) from error


def _was_seen(saved: SavedSelector, item: Item) -> bool | None:
    """Whether the selector was fitted on this question; None if that is not known."""
    if saved.seen is None:
        return None
    prompts = [text_key(item.main), text_key(item.aux)]
    return bool(among(prompts, saved.seen.texts).any())


def _warnings(saved: SavedSelector, item: Item) -> list[str]:
    task = saved.fitted_on.get("task") or {}
    found = []
    reads = saved.fitted.reads != "nothing"
    if reads and item.options is None and task.get("rule") in ("option", "option_or_label"):
        found.append(
            "The selector was fitted on questions with options, and this one has none: its "
            "confidence is over the vocabulary instead."
        )
    languages = getattr(saved.fitted, "languages", ())
    if languages and item.lang not in languages:
        found.append(
            f"The selector was fitted on {', '.join(languages)}, and this question is in "
            f"{item.lang!r}."
        )
    return found
