"""One question with an activation of its counterpart in it: as given, or as a selector chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Unpack

import numpy as np

from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.gradients import AttributionScore, attribute
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts, spell
from crosslatent.core import shared_settings as shared
from crosslatent.core import specs
from crosslatent.core.errors import PromptError
from crosslatent.core.languages import UNKNOWN
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import AsChat, Component, Site, TransplantSpec
from crosslatent.core.untrusted import ends_in_blank
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model, encode
from crosslatent.model.chat import Prompt, open_thought, thought_note
from crosslatent.model.continuation import context_of
from crosslatent.model.prompts import check_positions
from crosslatent.selectors.candidates import OTHER
from crosslatent.selectors.kinds.confidence import FittedConfidence, highest
from crosslatent.selectors.saved import SavedSelector, check_model, unlike_fitted, was_fitted_on
from crosslatent.selectors.signals import Record, one_question
from crosslatent.tasks import RULES, Item
from crosslatent.tasks.item import check_judging
from crosslatent.tasks.task import text_key

_OPEN = "contains"
"""The rule of open questions; without a gold answer it judges nothing."""

_Records = tuple[Record, dict[TransplantSpec, Record], Record | None]


@dataclass(frozen=True, slots=True)
class TransplantResult:
    """One transplant beside the unmodified answer.

    Attributes:
        vanilla: unmodified answer.
        output: answer with the transplant.
        vanilla_ids, output_ids: their new token ids, end token left out.
        component: what was carried.
        source: layer it was taken from, from 0.
        target: layer it was put in, from 0.
        also: further transplants in the same answer.
        strength: alpha of all of them; 1 is the paper's replacement.
        positions: how many of the last tokens were carried over.
        main_token: last token of main, as text: the one that was replaced.
        aux_token: last token of aux, as text: the one that was captured.
        main_length, aux_length: tokens of the prompts.
        thought: mark of the thought that main ends in, which the answer then begins in; None if it
            ends in none.
    """

    vanilla: str
    output: str
    vanilla_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    component: Component
    source: int
    target: int
    also: tuple[TransplantSpec, ...]
    strength: float
    positions: int
    main_token: str
    aux_token: str
    main_length: int
    aux_length: int
    thought: str | None = None

    @property
    def same_last_token(self) -> bool:
        """Whether both prompts end in the same token; if not, the vector says another thing too."""
        return self.main_token == self.aux_token

    @property
    def ends_in_blank(self) -> bool:
        """Whether both prompts end in a token that is nothing but a blank; answers suffer then."""
        # Of a token that is a blank alone, many tokenizers print nothing.
        return all(
            not token or (not token.strip() and ends_in_blank(token))
            for token in (self.main_token, self.aux_token)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `thought` only if there is one."""
        plain = asdict(self)
        if self.thought is None:
            del plain["thought"]
        return plain


@dataclass(frozen=True, slots=True)
class Selected:
    """The chosen answer beside the unmodified one.

    Attributes:
        selector: name of the selector.
        chosen: what was transplanted; None = nothing was.
        way: ``transplant``; ``unmodified``, the answer was left; ``other``, `output` is the answer
            to aux.
        vanilla: the unmodified answer; `output` the chosen one. Both, their ids, and the ends of
            the prompts are as in `TransplantResult`.
        candidates: pairs that were looked at.
        cost: forward passes by the selectors' cost model, relative to one unmodified answer.
        warnings: what speaks against trusting the choice.
        trained_on: whether the selector was fitted on this question; None if that is not known.
    """

    selector: str
    chosen: TransplantSpec | None
    way: Literal["transplant", "unmodified", "other"]
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


@dataclass(slots=True)
class _Prompts:
    """Main and aux as token ids, and how vectors go from one to the other."""

    model: Model
    main: tuple[int, ...]
    aux: tuple[int, ...]
    strength: float
    positions: int
    vectors: Captured = field(default_factory=dict)

    def capture(self, components: Iterable[Component]) -> None:
        """Read vectors of these components at the last tokens of aux."""
        check_positions(self.positions, *map(self.model.decoder_reads, (self.main, self.aux)))
        kinds = sorted(set(components))
        self.vectors = capture_ids(self.model, [self.aux], kinds, positions=self.positions)

    def row(self, *edits: TransplantSpec) -> tuple[Intervention, ...]:
        """These transplants at once; what they carry is captured."""
        return tuple(
            Transplant(
                Site(one.component, one.target),
                self.vectors[one.component][0, one.source],
                self.strength,
            )
            for one in edits
        )

    def ends(self) -> dict[str, Any]:
        """The last tokens and the lengths, as results have them."""
        main, aux = (self.model.decoder_reads(ids)[-1] for ids in (self.main, self.aux))
        return {
            "main_token": self.model.token_text(main),
            "aux_token": self.model.token_text(aux),
            "main_length": len(self.main),
            "aux_length": len(self.aux),
        }


def _texts(model: Model, vanilla: Decoded, output: Decoded) -> dict[str, Any]:
    """Both answers, as results have them."""
    return {
        "vanilla": model.text_of(list(vanilla.ids)),
        "output": model.text_of(list(output.ids)),
        "vanilla_ids": vanilla.ids,
        "output_ids": output.ids,
    }


@documented(shared.TransplantSettings)
def transplant(
    model: Model, *, main: str, aux: str, **options: Unpack[shared.TransplantSettings]
) -> TransplantResult:
    """Answer `main` with an activation of `aux` in it (XTransplant, arXiv 2412.12686, section 3.1).

    Args:
        model: the model.
        main: the prompt that is answered.
        aux: its counterpart in another language.
        {settings}

    Raises:
        PairError: unknown component, a layer that the model does not have, a place that is
            edited twice, or nothing says what to transplant.
        PromptError: a prompt is empty, longer than the context, or shorter than `positions`.
        ModelError: the tokenizer has no chat template, or it does not read an argument.
        UsageError: `chat_args` without `chat`, or some that are no plain data.
    """
    asked = complete(shared.TransplantSettings, options)
    tokens = shared.NEW_TOKENS if asked["max_new_tokens"] is None else asked["max_new_tokens"]
    if tokens < 1:
        raise PromptError(f"max_new_tokens is {tokens}: it must be 1 or more.")
    edits = [_resolved(model, one) for one in (shared.transplant_of(asked), *asked["also"])]
    chat = specs.chat_of(asked["chat"], asked["chat_args"], specs.right_now())
    prompts = _Prompts(
        model,
        tuple(encode(model, main, role="main", new_tokens=tokens, chat=chat)),
        tuple(encode(model, aux, role="aux", chat=chat)),
        asked["strength"],
        asked["positions"],
    )
    prompts.capture(edit.component for edit in edits)
    rows = [(), prompts.row(*edits)]
    return TransplantResult(
        **_texts(model, *oracle.run_rows(model, prompts.main, rows, max_new_tokens=tokens)),
        **asdict(edits[0]),
        also=tuple(edits[1:]),
        strength=prompts.strength,
        positions=prompts.positions,
        **prompts.ends(),
        thought=open_thought(model, Prompt(main), chat=chat),
    )


def _resolved(model: Model, asked: TransplantSpec) -> TransplantSpec:
    return TransplantSpec(
        model.check_component(specs.check_component(asked.component)),
        specs.resolve_layer(asked.source, model.n_layers, "source"),
        specs.resolve_layer(asked.target, model.n_layers, "target"),
    )


@documented(shared.SelectedSettings)
def transplant_selected(
    model: Model,
    saved: SavedSelector,
    *,
    main: str,
    aux: str,
    **options: Unpack[shared.SelectedSettings],
) -> Selected:
    """Answer `main` as a saved selector chooses: with a pair, unmodified, or as aux is answered.

    Args:
        model: the model; that which the selector was fitted on, or one with as many blocks.
        saved: the selector; see `selectors.saved.load`.
        main: the prompt that is answered.
        aux: its counterpart in another language.
        {settings}

    Raises:
        UsageError: the selector was fitted on a model with other blocks, or is damaged.
        PromptError: a prompt is empty, or longer than the context.
        TaskError: the options are fewer than two, or cannot be distinguished.
    """
    check_model(saved, model.n_layers)
    asked, run = complete(shared.SelectedSettings, options), saved.fitted_on.get("spec") or {}
    tokens = asked["max_new_tokens"] or int(run.get("max_new_tokens") or shared.NEW_TOKENS)
    as_run = asked["chat"] is None
    arguments = asked["chat_args"]
    if as_run and arguments is None:
        arguments = run.get("chat_args")
    chat = specs.chat_of(run.get("chat") if as_run else asked["chat"], arguments, specs.right_now())
    prompts = _Prompts(
        model,
        tuple(encode(model, main, role="main", new_tokens=tokens, chat=chat)),
        tuple(encode(model, aux, role="aux", new_tokens=tokens, chat=chat)),
        float(run.get("strength") or 1.0),
        int(run.get("positions") or 1),
    )
    thought = thought_note(model, Prompt(main), chat=chat, role="main", new_tokens=tokens)
    lang, possible = asked["lang"] or UNKNOWN, tuple(asked["options"] or ())
    item = Item("question", lang, asked["aux_lang"], main, aux, options=possible or None)
    check_judging(item, "the question")
    work = _Question(model, prompts, saved, item, tokens, chat)
    choice, pairs = work.choose()
    chosen = pairs[choice] if choice >= 0 else None
    return Selected(
        selector=saved.name,
        chosen=chosen,
        way="transplant" if choice >= 0 else "other" if choice == OTHER else "unmodified",
        **_texts(model, *work.answers(choice, chosen)),
        candidates=len(pairs),
        cost=saved.fitted.cost,
        warnings=(*unlike_fitted(saved, item.lang, item.options), *([thought] if thought else [])),
        **prompts.ends(),
        trained_on=was_fitted_on(saved, map(text_key, (main, aux))),
    )


@dataclass(slots=True)
class _Question:
    """One question with its prompts as token ids."""

    model: Model
    prompts: _Prompts
    saved: SavedSelector
    item: Item
    tokens: int
    chat: AsChat

    def choose(self) -> tuple[int, tuple[TransplantSpec, ...]]:
        """The choice (see `selectors.candidates.Selection`), and the candidates it is among."""
        fitted = self.saved.fitted
        pairs, attribution = fitted.pairs, None
        blank: Record = {"output": ""}
        if isinstance(fitted, FittedConfidence) and fitted.top is not None:
            attribution = self._attribution(pairs)
            pairs = _highest(attribution, fitted.top)
        # A fixed pair needs no row to be chosen; only the chosen one is answered.
        records: _Records = blank, dict.fromkeys(pairs, blank), None
        if fitted.reads != "nothing":
            records = self._records(pairs, self.tokens if fitted.reads == "answers" else 1)
        seen = one_question(
            *records,
            lang=self.item.lang,
            n_layers=self.model.n_layers,
            options=self.item.options,
            attribution=attribution,
        )
        return int(fitted.choose(seen).choice[0]), seen.pairs

    def answers(self, choice: int, chosen: TransplantSpec | None) -> tuple[Decoded, Decoded]:
        """The unmodified answer and the chosen one."""
        rows = [()] if chosen is None else [(), self._row(chosen)]
        asked = [Prompted(self.prompts.main, tuple(rows))]
        if choice == OTHER:
            asked.append(Prompted(self.prompts.aux, ((),)))
        found = list(ask(self.model, asked, max_new_tokens=self.tokens))
        return found[0][0].decoded, found[-1][-1].decoded

    def _records(self, pairs: Sequence[TransplantSpec], tokens: int) -> _Records:
        """Unmodified, candidates' and aux answers, judged as a sweep would."""
        scorers = [
            self._scorer(item, spelled)
            for item, spelled in zip((self.item, self.item.as_aux()), self._spelled(), strict=True)
        ]
        rows = [((), *(self._row(pair) for pair in pairs)), ((),)]
        asked = map(Prompted, (self.prompts.main, self.prompts.aux), rows, scorers)
        answers = ask(self.model, asked, max_new_tokens=tokens)
        found = [[judged.record for judged in of_prompt] for of_prompt in answers]
        (vanilla, *candidates), (aux,) = found
        return vanilla, dict(zip(pairs, candidates, strict=True)), aux

    def _spelled(self) -> list[SpelledAnswers]:
        """The options after main, and after aux."""
        options, texts = self.item.options or (), (self.item.main, self.item.aux)
        return spell(
            self.model,
            [
                (context_of(self.model, Prompt(text), ids, chat=self.chat), options)
                for text, ids in zip(texts, (self.prompts.main, self.prompts.aux), strict=True)
            ],
        )

    def _scorer(self, item: Item, spelled: SpelledAnswers) -> ItemScorer:
        rule = str((self.saved.fitted_on.get("task") or {}).get("rule") or _OPEN)
        usable = item.options is not None and rule in RULES and RULES[rule].fits(item)
        whole = (
            bool((self.saved.fitted_on.get("spec") or {}).get("score_options"))
            and item.options is not None
        )
        judge = rule if usable else "option" if item.options is not None else _OPEN
        return ItemScorer(self.model, item, judge, whole=whole, spelled=spelled)

    def _row(self, pair: TransplantSpec) -> tuple[Intervention, ...]:
        if not self.prompts.vectors:
            self.prompts.capture(each.component for each in self.saved.fitted.pairs)
        return self.prompts.row(pair)

    def _attribution(self, pairs: Sequence[TransplantSpec]) -> dict[TransplantSpec, float]:
        starts = distinct_starts(self._spelled()[0])
        options = tuple(tuple(tokens) for tokens in starts.values() if tokens)
        scores = attribute(
            self.model,
            self.prompts.main,
            self.prompts.aux,
            sorted({pair.component for pair in pairs}),
            score=AttributionScore(options=options if len(options) > 1 else ()),
            positions=self.prompts.positions,
            strength=self.prompts.strength,
        )
        return {pair: float(scores[pair.component][pair.source, pair.target]) for pair in pairs}


def _highest(scores: Mapping[TransplantSpec, float], most: int) -> tuple[TransplantSpec, ...]:
    values = np.array([list(scores.values())])
    kept = highest(values, np.ones(values.shape, dtype=np.bool_), most)[0]
    return tuple(pair for pair, keep in zip(scores, kept, strict=True) if keep)
