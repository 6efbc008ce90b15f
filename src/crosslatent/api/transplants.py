"""One question with an activation of its counterpart in it: as given, or as a selector chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Unpack

from crosslatent.core import shared_settings as shared
from crosslatent.core import specs
from crosslatent.core.cards import (
    MOST_TOKENS,
    Card,
    Part,
    Rows,
    Sentences,
    Shown,
    TextIn,
    TokenLine,
)
from crosslatent.core.errors import PromptError
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import Component, Site, TransplantSpec
from crosslatent.core.untrusted import check_type, ends_in_blank
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model, encode, loaded
from crosslatent.model.chat import Prompt, open_thought
from crosslatent.model.prompts import check_positions


@dataclass(frozen=True, slots=True)
class TransplantResult(Shown):
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
        main_pieces, aux_pieces: the last tokens of the prompts as texts, to be shown.
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
    main_pieces: tuple[str, ...] = field(default=(), repr=False)
    aux_pieces: tuple[str, ...] = field(default=(), repr=False)

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
        """Plain data, for JSON; `thought` only if there is one, and no pieces."""
        left_out = {"main_pieces", "aux_pieces", *(["thought"] if self.thought is None else [])}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def _card(self) -> Card:
        from crosslatent.report import formatting

        main = TransplantSpec(self.component, self.source, self.target)
        copied = formatting.listing(map(in_words, (main, *self.also)))
        strength = "" if self.strength == 1 else f", strength {self.strength:g}"
        tokens = formatting.count(self.positions, "token")
        unlike = "" if self.same_last_token else "The prompts end in different tokens."
        blank = "Both prompts end in a blank: answers suffer." if self.ends_in_blank else ""
        lines = [
            TokenLine(f"{role} (marked: {what})", pieces, self.positions, length <= len(pieces))
            for role, what, pieces, length in (
                ("Other prompt", "read", self.aux_pieces, self.aux_length),
                ("Prompt", "replaced", self.main_pieces, self.main_length),
            )
            if pieces
        ]
        end = [before_and_after(self.vanilla, self.output), Sentences([unlike, blank], soft=True)]
        return Card(f"Transplant of {copied}: last {tokens}{strength}", [*lines, *end])


def in_words(pair: TransplantSpec) -> str:
    """A transplant in words: ``feed-forward 7 -> 6``, with an arrow."""
    from crosslatent.report import formatting

    return f"{formatting.component(pair.component)} {pair.source} \u2192 {pair.target}"


def before_and_after(vanilla: str, output: str, name: str = "with the transplant") -> Part:
    """Both answers below each other, the second one under a name."""
    changed = "the same" if vanilla == output else "changed"
    return Rows(
        [("unmodified", TextIn(vanilla), ""), (name, TextIn(output), changed)],
    )


@dataclass(frozen=True, slots=True)
class Selected(Shown):
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

    def _card(self) -> Card:
        if self.chosen is not None:
            what = f"transplant {in_words(self.chosen)}"
        else:
            what = {"other": "answer the other prompt"}.get(self.way, "leave the answer as it is")
        cost = f"{self.cost:.3g} times the forward passes of one answer"
        among = f"{self.candidates} pairs" if self.candidates else "both prompts"
        facts = Rows([("chosen", what), ("among", among), ("cost", cost)])
        both = before_and_after(self.vanilla, self.output, "as chosen")
        return Card(
            f"Chosen by {self.selector}", [facts, both, Sentences(self.warnings, soft=True)]
        )


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

    def pieces(self) -> dict[str, Any]:
        """The ends of both prompts, cut at tokens; an encoder's prompt, then the decoder's."""
        started = self.model.decoder_reads(()) if self.model.has_encoder else ()
        return {
            name: self.model.pieces((*ids, *started)[-MOST_TOKENS:])
            for name, ids in (("main_pieces", self.main), ("aux_pieces", self.aux))
        }


def texts(model: Model, vanilla: Decoded, output: Decoded) -> dict[str, Any]:
    """Both answers, as results have them."""
    return {
        "vanilla": model.text_of(list(vanilla.ids)),
        "output": model.text_of(list(output.ids)),
        "vanilla_ids": vanilla.ids,
        "output_ids": output.ids,
    }


def ends(model: Model, main: Sequence[int], aux: Sequence[int]) -> dict[str, Any]:
    """The last tokens and the lengths of two prompts, as results have them."""
    main_last, aux_last = (model.decoder_reads(ids)[-1] for ids in (main, aux))
    return {
        "main_token": model.token_text(main_last),
        "aux_token": model.token_text(aux_last),
        "main_length": len(main),
        "aux_length": len(aux),
    }


@documented(shared.TransplantSettings)
def transplant(
    model: Model | str | Path,
    *,
    main: str,
    aux: str,
    **options: Unpack[shared.TransplantSettings],
) -> TransplantResult:
    """Answer `main` with an activation of `aux` in it (XTransplant, arXiv 2412.12686, section 3.1).

    Args:
        model: the model; or its folder or name on the hub, which is then loaded at every call.
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
    asked, model = complete(shared.TransplantSettings, options), loaded(model)
    check_type(main, str, "main is a text")
    check_type(aux, str, "aux is a text")
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
        **texts(model, *oracle.run_rows(model, prompts.main, rows, max_new_tokens=tokens)),
        **asdict(edits[0]),
        also=tuple(edits[1:]),
        strength=prompts.strength,
        positions=prompts.positions,
        **ends(model, prompts.main, prompts.aux),
        **prompts.pieces(),
        thought=open_thought(model, Prompt(main), chat=chat),
    )


def _resolved(model: Model, asked: TransplantSpec) -> TransplantSpec:
    return TransplantSpec(
        model.check_component(specs.check_component(asked.component)),
        specs.resolve_layer(asked.source, model.n_layers, "source"),
        specs.resolve_layer(asked.target, model.n_layers, "target"),
    )
