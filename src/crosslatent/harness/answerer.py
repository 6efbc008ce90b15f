"""Prompts with their counterparts, answered by the engine: scores of options, and texts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from crosslatent.answering.ask import Prompted, ask
from crosslatent.core.specs import Site, TransplantSpec, resolve_layer
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model
from crosslatent.model.prompts import check_positions

_log = logging.getLogger(__name__)

Ids = tuple[int, ...]

_CAPTURED_AT_ONCE = 256
"""Prompts whose vectors of all layers are held before one layer is picked from them."""
_FIRST_LENGTH = 32
"""New tokens of the first attempt at a text; many texts reach their stop by then."""


@dataclass(frozen=True, slots=True)
class PromptPair:
    """What is answered.

    Attributes:
        main: token ids.
        aux: token ids of the counterpart; None for the unmodified model.
    """

    main: Ids
    aux: Ids | None = None


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers prompts.

    Attributes:
        model: the model.
        path: how rows are computed.
        what: the transplant, its layers counted from 0; None for the unmodified model.
        strength: alpha in own + alpha * (vector - own).
        positions: how many of the last tokens are carried over.
        batch_rows: rows per batch; None for what memory holds.
    """

    model: Model
    path: EnginePath
    what: TransplantSpec | None = None
    strength: float = 1.0
    positions: int = 1
    batch_rows: int | None = None

    def scores(
        self, options: Mapping[PromptPair, Sequence[Ids]], *, silent: bool = False
    ) -> dict[tuple[PromptPair, Ids], tuple[float, bool]]:
        """Log-probability (nats) of each option, and whether greedy decoding gives it."""
        rows = self._rows(options)
        found = {}
        with tqdm(total=len(options), desc="Scoring prompts", disable=silent) as bar:
            for prompt, decoded in self._run(list(options), rows, 1, options):
                for option, score in zip(options[prompt], decoded.scores, strict=True):
                    greedy = self._is_greedy(prompt, rows[prompt], option, decoded)
                    found[prompt, option] = (score, greedy)
                bar.update()
        return found

    def texts(
        self,
        prompts: Collection[PromptPair],
        most: int,
        ended: Callable[[Ids], bool],
        *,
        silent: bool = False,
    ) -> dict[PromptPair, Ids]:
        """Greedy answers, each at least up to where it ends.

        The engine knows no stops but end tokens, so attempts get longer: a long limit costs only
        those that need it.
        """
        rows = self._rows(prompts)
        found: dict[PromptPair, Ids] = {}
        length = min(_FIRST_LENGTH, most)
        with tqdm(total=len(rows), desc="Answering prompts", disable=silent) as bar:
            while left := [prompt for prompt in rows if prompt not in found]:
                for prompt, decoded in self._run(left, rows, length):
                    if length == most or len(decoded.ids) < length or ended(decoded.ids):
                        found[prompt] = decoded.ids
                        bar.update()
                length = min(2 * length, most)
        return found

    def _run(
        self,
        prompts: Collection[PromptPair],
        rows: Mapping[PromptPair, tuple[Intervention, ...]],
        length: int,
        options: Mapping[PromptPair, Sequence[Ids]] | None = None,
    ) -> Iterator[tuple[PromptPair, Decoded]]:
        """Answers to prompts, the longest first: prompts of a batch are padded to one length."""
        order = sorted(prompts, key=lambda prompt: -len(prompt.main))
        asked = (
            Prompted(each.main, (rows[each],), options=tuple(options[each]) if options else ())
            for each in order
        )
        answers = ask(
            self.model, asked, max_new_tokens=length, path=self.path, batch_rows=self.batch_rows
        )
        for prompt, (judged,) in zip(order, answers, strict=True):
            yield prompt, judged.decoded

    def _rows(self, prompts: Collection[PromptPair]) -> dict[PromptPair, tuple[Intervention, ...]]:
        rows: dict[PromptPair, tuple[Intervention, ...]] = dict.fromkeys(prompts, ())
        if self.what is not None:
            site, vectors = Site(self.what.component, self.what.target), self._vectors(prompts)
            for prompt in prompts:
                if prompt.aux is not None:
                    rows[prompt] = (Transplant(site, vectors[prompt.aux], self.strength),)
        return rows

    def _vectors(self, prompts: Collection[PromptPair]) -> dict[Ids, Tensor]:
        """The vector (or positions d_model) of each counterpart."""
        assert self.what is not None
        both = [(prompt.main, prompt.aux) for prompt in prompts if prompt.aux is not None]
        for pair in both:
            check_positions(self.positions, *pair)
        _warn_of_ends(both)
        auxes = sorted({aux for _, aux in both}, key=len)
        found: dict[Ids, Tensor] = {}
        for start in range(0, len(auxes), _CAPTURED_AT_ONCE):
            part = auxes[start : start + _CAPTURED_AT_ONCE]
            kind = self.what.component
            layers = capture_ids(self.model, part, [kind], positions=self.positions)[kind]
            # A copy: a view would keep the vectors of all layers.
            found.update(zip(part, layers[:, self.what.source].clone(), strict=True))
        return found

    def _is_greedy(
        self, prompt: PromptPair, row: tuple[Intervention, ...], option: Ids, decoded: Decoded
    ) -> bool:
        """Whether an option is what greedy decoding gives; it rarely goes beyond the first token.

        Args:
            prompt: the prompt.
            row: its edits.
            option: token ids.
            decoded: the answer of one token, which is empty if that is an end token.
        """
        if decoded.ids:
            if decoded.ids[0] != option[0] or len(option) == 1:
                return decoded.ids[0] == option[0]
        elif option[0] not in self.model.eos_ids:
            return False
        with oracle.reading(self.model, prompt.main, row) as start:
            best = [int(start.logits.argmax(-1))]
            if len(option) > 1:
                best += start.read(torch.tensor([option[:-1]]))[0].argmax(-1).tolist()
        return best == list(option)


def _warn_of_ends(pairs: Sequence[tuple[Ids, Ids]]) -> None:
    different = sum(main[-1] != aux[-1] for main, aux in pairs)
    if different:
        _log.warning(
            "In %d of %d prompts, main and aux end in different tokens; the transplant happens at "
            "these tokens, so prompts that end alike compare better.",
            different,
            len(pairs),
        )


def resolve(model: Model, what: TransplantSpec | None) -> TransplantSpec | None:
    """A transplant with its layers counted from 0.

    Raises:
        PairError: the model has no such component or layer.
    """
    if what is None:
        return None
    return TransplantSpec(
        model.check_component(what.component),
        resolve_layer(what.source, model.n_layers, "source"),
        resolve_layer(what.target, model.n_layers, "target"),
    )
