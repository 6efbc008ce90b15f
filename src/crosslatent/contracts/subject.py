"""The model under test, with the prompts and layers that the contracts use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crosslatent.core.specs import Component, Site
from crosslatent.engine import difference
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model, encode
from crosslatent.model.structure import text_config
from crosslatent.model.trace import after, hidden_of, with_hidden

Status = Literal["passed", "failed", "skipped"]


class Broken(Exception):  # noqa: N818 - a finding about the model, not an error of the program
    """The contract does not hold; the message says where and by how much."""


class NotApplicable(Exception):  # noqa: N818 - a finding as well
    """The contract says nothing about this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one contract on one model.

    Attributes:
        contract: its name.
        status: whether it holds.
        reason: why it failed or was skipped; empty if it passed.
        seconds: how long it took.
        facts: what was counted on the way, as plain data (rows, distinct answers, path).
    """

    contract: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    facts: Mapping[str, str | int] = field(default_factory=dict)


TEXTS = (
    "Mji mkuu wa Kenya ni upi? Jibu:",
    "What is the capital of Kenya? Answer:",
    "Habari?",
)
"""What is asked: a question, its counterpart, and a shorter text to stand beside them."""

_IDS = ((11, 7, 5, 3, 13, 2, 17, 19), (23, 9, 4, 14, 6, 15, 8), (12, 10, 21))
_LEAST_TOKENS = 3
_WATCHED = 64
_MOST_LAYERS = 8
_TRIES = 16
_CLOSE = {torch.float32: 1e-4, torch.float64: 1e-4}
_CLOSE_ELSEWHERE = 5e-2


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it is asked.

    Attributes:
        model: the model.
        prompts: token ids of main, aux and a shorter text.
        layers: blocks that are edited, rising; all of a small model.
        new_tokens: tokens that an answer has at most.
        components: what is carried over, if not what each contract takes by itself.
        from_text: whether the prompts are the texts; if not, the tokenizer reads them all alike.
    """

    model: Model
    prompts: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]
    new_tokens: int = 4
    components: tuple[Component, ...] = ()
    from_text: bool = True

    @classmethod
    def of(
        cls,
        model: Model,
        texts: Sequence[str] = TEXTS,
        new_tokens: int = 4,
        *,
        most_layers: int = _MOST_LAYERS,
        components: Sequence[Component] = (),
    ) -> Subject:
        """Encode the texts; of many blocks, take some from the first to the last.

        Raises:
            PromptError: the model's context is too short for a text.
        """
        ids = [encode(model, text, new_tokens=new_tokens) for text in texts]
        last, steps = model.n_layers - 1, min(model.n_layers, most_layers)
        layers = {round(last * step / max(steps - 1, 1)) for step in range(steps)}
        prompts = tuple(map(tuple, ids))
        # A tokenizer of another model, or of tests, may know none of the words.
        differ = len(set(prompts)) == len(prompts) and len(set(prompts[0])) >= _LEAST_TOKENS
        if not differ:
            vocab = int(text_config(model.hf).vocab_size)
            prompts = tuple(tuple(token % vocab for token in ids) for ids in _IDS)
        chosen = tuple(sorted(layers))
        return cls(model, prompts, chosen, new_tokens, tuple(components), differ)

    @property
    def main(self) -> tuple[int, ...]:
        """The prompt that is answered."""
        return self.prompts[0]

    @property
    def aux(self) -> tuple[int, ...]:
        """The prompt that vectors are taken from."""
        return self.prompts[1]

    @property
    def watch(self) -> tuple[int, ...]:
        """Tokens whose log-probabilities are compared: spread over the vocabulary."""
        vocab = int(text_config(self.model.hf).vocab_size)
        return tuple(range(0, vocab, max(vocab // _WATCHED, 1)))[:_WATCHED]

    def kinds(self, usual: Sequence[Component]) -> tuple[Component, ...]:
        """The components of a contract: what was asked for, else the usual ones that it has."""
        return self.components or tuple(each for each in usual if each in self.model.components)

    def vectors(self, prompt: Sequence[int], kinds: Sequence[Component]) -> dict[Component, Tensor]:
        """What `capture` gives for one prompt, layers d_model."""
        captured = capture_ids(self.model, [prompt], kinds)
        return {kind: vectors[0] for kind, vectors in captured.items()}

    def rows(self, kinds: Sequence[Component]) -> list[tuple[Intervention, ...]]:
        """The unmodified row, then all pairs of layers of each component."""
        vectors = self.vectors(self.aux, kinds)
        rows: list[tuple[Intervention, ...]] = [()]
        rows += [
            (Transplant(Site(kind, target), vectors[kind][source]),)
            for kind in kinds
            for source in self.layers
            for target in self.layers
        ]
        return rows

    def check_equal(
        self,
        expected: Sequence[Decoded],
        found: Sequence[Decoded],
        what: str,
        again: Callable[[int], Decoded] | None = None,
    ) -> int:
        """Compare answers and log-probabilities, up to rounding and near-ties.

        Args:
            expected: what is right.
            found: what is compared with it.
            what: for the message.
            again: answers one row again, the way `expected` was; see `unstable`.

        Returns:
            How many rows differ, and hang on rounding themselves.

        Raises:
            Broken: they differ, or what is right is not finite.
            NotApplicable: most of them hang on rounding, so that little is compared.
        """
        near_ties = 0
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            reason = difference([one], [other], self.model.arithmetic)
            if not reason:
                continue
            finite = all(map(math.isfinite, (*one.watched, *one.scores)))
            moves = again and partial(self._moves, one, again, at)
            if moves is None or not finite or not unstable(self.model, moves):
                raise Broken(f"{what}: {reason}")
            near_ties += 1
        if near_ties > len(expected) / 2:
            raise NotApplicable(f"{near_ties} of {len(expected)} rows hang on rounding themselves")
        return near_ties

    def _moves(self, one: Decoded, again: Callable[[int], Decoded], at: int) -> bool:
        return bool(difference([one], [again(at)], self.model.arithmetic))

    def check_close(
        self,
        expected: Tensor,
        found: Tensor,
        what: str,
        again: Callable[[], Tensor] | None = None,
    ) -> None:
        """Compare tensors, relative to the largest number in them; see `check_equal`.

        Raises:
            Broken: they differ beyond rounding.
        """
        allowed = _CLOSE.get(self.model.arithmetic, _CLOSE_ELSEWHERE)
        if (error := _distance(expected, found)) <= allowed:
            return
        if again is None or not unstable(
            self.model, lambda: not _distance(expected, again()) <= allowed
        ):
            raise Broken(f"{what}: the numbers differ by {error:.1e} (relative)")


def _distance(expected: Tensor, found: Tensor) -> float:
    scale = expected.double().abs().max().clamp_min(1e-6)
    return float((expected.double() - found.double()).abs().max() / scale)


def unstable(model: Model, moves: Callable[[], bool]) -> bool:
    """Whether what is right moves itself once attention and the first block round otherwise.

    Routers of experts choose by near-ties that no margin of logits shows; that of the first block
    comes before its output, but after its attention, which is where paths round otherwise.

    Args:
        model: the model.
        moves: computes again what is right, and says whether it came out otherwise.
    """
    size = 4 * torch.finfo(model.arithmetic).eps
    for seed in range(_TRIES):
        noise = torch.Generator().manual_seed(seed)

        def shake(
            _module: nn.Module, _args: object, output: Any, noise: torch.Generator = noise
        ) -> Any:
            hidden = hidden_of(output)
            by = torch.randn(hidden.shape, generator=noise).to(hidden)
            return with_hidden(output, hidden * (1 + size * by))

        with ExitStack() as hooks:
            for module in (model.blocks[0].whole, *(block.attn for block in model.blocks)):
                after(hooks, module, shake)
            if moves():
                return True
    return False
