"""What methods that train have in common: samples, the loss, training, and a model left as it was.

They learn from gold answers (or from texts) with everything of the model frozen but what they add.
The loss is on the answer alone, after the prompt as it is asked later.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from crosslatent.core.errors import MissingExtraError, ModelError
from crosslatent.core.imports import need
from crosslatent.core.specs import AsChat, Chat
from crosslatent.core.untrusted import one_line
from crosslatent.lens.training.answer_objective import ANSWER, AnswerSample, samples_of
from crosslatent.lens.training.loop import Loop
from crosslatent.lens.training.parallel_rows import RowSplit, pieces_of
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.methods.method import Bench, League, Method, Settings, Way
from crosslatent.model import encode_batch
from crosslatent.model.adapters import quantisation_of
from crosslatent.model.modes import answering, plain_settings
from crosslatent.model.unwrapping import adapters_of
from crosslatent.tasks import Item
from crosslatent.tasks.item import Shot, has_answer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from crosslatent.model import Model, PromptBatch

LEAST = 8
"""Questions with gold answers that are needed at least."""

_ROOM = 8192
"""Padded tokens of a piece of a batch; gradients of the pieces add up."""

_LONGEST = 4096
"""Most tokens of a prompt with its answer, where the model's context does not say less."""

Weights = Mapping[str, nn.Parameter]
"""What is trained, by name."""

Reads = Callable[["Model", "PromptBatch", int], Float[Tensor, "rows pos vocab"]]
"""Logits of a batch that is padded on the right: of so many last columns at least."""


def plain_logits(model: Model, batch: PromptBatch, keep: int) -> Float[Tensor, "rows pos vocab"]:
    """Logits of the model as it is, with what is installed in its modules."""
    ((_, inputs),) = batch.parts()
    logits: Tensor = model.hf(**inputs, use_cache=False, logits_to_keep=keep).logits
    return logits


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """Mean cross-entropy over the wanted tokens of samples, in float32; see `loop.Objective`.

    Attributes:
        model: whose logits count.
        samples: prompts with what follows them.
        reads: gives the logits.
    """

    model: Model
    samples: Sequence[AnswerSample]
    reads: Reads = plain_logits

    def sizes(self, rows: Sequence[int]) -> dict[str, float]:
        """Tokens to be predicted."""
        return {ANSWER: float(sum(len(self.samples[row].wanted) for row in rows))}

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """Rows in pieces of limited size, like lengths together."""
        return pieces_of(rows, {row: len(self.samples[row].ids) for row in rows}, _ROOM)

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """Summed cross-entropy of these rows, divided by the tokens of all rows of `sizes`."""
        return {ANSWER: torch.cat(self.losses(rows)).sum() / sizes[ANSWER]}

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms[ANSWER]

    def losses(self, rows: Sequence[int]) -> list[Float[Tensor, " tokens"]]:
        """Cross-entropy (nats) of every wanted token of some samples, in one forward."""
        chosen = [self.samples[row] for row in rows]
        batch = encode_batch(self.model, [one.ids for one in chosen], "right")
        width = batch.ids.shape[1]
        logits = self.reads(self.model, batch, width - min(one.positions[0] for one in chosen))
        places = [(row, column) for row, one in enumerate(chosen) for column in one.positions]
        at = torch.tensor(places, device=logits.device)
        wanted = torch.tensor([token for one in chosen for token in one.wanted])
        picked = logits[at[:, 0], at[:, 1] - width].float()
        found = cross_entropy(picked, wanted.to(picked.device), reduction="none")
        return list(found.split([len(one.wanted) for one in chosen]))


def train_weights(loss: TokenLoss, weights: Weights, spec: TrainSpec) -> list[float]:
    """Train weights by AdamW, in evaluation mode (no dropout), and nothing else of the model.

    Returns:
        The loss of every step.

    Raises:
        TrainingError: the loss or the gradient is no longer a finite number.
    """
    hf = loss.model.hf
    hf.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    split = RowSplit(tuple(range(len(loss.samples))), ())
    with answering(hf, gradients=True):
        loop = Loop(loss, weights, (), split, spec, Processes())
        loop.run()
    return [point.loss for point in loop.progressed.curve]


def _try_once(loss: TokenLoss, what: str) -> None:
    """Run the shortest sample.

    Raises:
        ModelError: the model's own code fails on modules that were put into it, such as adapters
            around a router of experts, which returns more than one tensor.
    """
    shortest = min(range(len(loss.samples)), key=lambda row: len(loss.samples[row].ids))
    try:
        with answering(loss.model.hf):
            loss.losses([shortest])
    except (AttributeError, TypeError, LookupError, ValueError) as error:
        raise ModelError(
            f"{what} does not work in {type(loss.model.hf).__name__} ({type(error).__name__}: "
            f"{one_line(error)}): use another method."
        ) from error


def spec_of(
    chat: AsChat, model: Model, settings: Settings, seed: int, taken: int = 0, **others: Any
) -> TrainSpec:
    """Settings of training: AdamW without decay, a cosine down to 0, gradients of norm 1 at most.

    Args:
        chat: how prompts go through the chat template.
        model: whose context limits prompts.
        settings: "lr" and "epochs".
        seed: of the order.
        taken: positions of the context that are not for prompts.
        others: further fields.

    Raises:
        UsageError: a value is not valid.
    """
    template = chat if isinstance(chat, Chat) else Chat()
    usual: dict[str, Any] = {
        "batch_size": 16,
        "weight_decay": 0.0,
        "held_out": 0.0,
        "max_tokens": max(1, min(model.context_length or _LONGEST, _LONGEST) - taken),
        "chat": bool(chat),
        "chat_args": dict(template.arguments) or None,
        "clock": template.now,
        "central_answers": False,
    }
    return TrainSpec(**usual | {"seed": seed, **settings, **others})


@contextmanager
def restored(hf: PreTrainedModel) -> Iterator[ExitStack]:
    """While open, modules can be put into a model; afterwards it is exactly as it was.

    Its modules are the same objects in the same places, with their own mode and flags, also after
    an exception. What is given to the context, such as the removal of hooks, is done first.
    """
    children = [(module, dict(module._modules)) for module in hf.modules()]  # noqa: SLF001
    training = [(module, module.training) for module in hf.modules()]
    wanting = [(weight, weight.requires_grad) for weight in hf.parameters()]
    attributes = dict(vars(hf))
    try:
        with ExitStack() as held:
            yield held
    finally:
        for module, own in children:
            module._modules.clear()  # noqa: SLF001 - the order of modules counts, too
            module._modules.update(own)  # noqa: SLF001
        for module, was in training:
            module.training = was
        for weight, was in wanting:
            weight.requires_grad_(was)
        for name in set(vars(hf)) - set(attributes):
            delattr(hf, name)  # PEFT leaves its config


def english(bench: Bench) -> list[Item]:
    """The English counterparts of the questions to learn from, with their gold answers."""
    return [one for one in map(_counterpart, bench.learn) if one.main and has_answer(one)]


def _counterpart(item: Item) -> Item:
    """A question's counterpart as a question of its own."""
    shots = tuple(Shot(shot.aux, shot.aux_answer, shot.aux, shot.aux_answer) for shot in item.shots)
    return replace(item.as_aux(), main=item.aux, shots=shots)


def unsupported(model: Model, what: str) -> str:
    """Why nothing can be trained in a model; empty if it can."""
    if model.has_encoder:
        return (
            f"{what} does not work for encoder-decoder models such as {type(model.hf).__name__}: "
            "give a causal language model."
        )
    method = quantisation_of(model.hf)
    if method is not None:
        return f"{what} is not trained on quantised weights ({method}): load the model unquantised."
    if adapters_of(model.hf):
        return (
            f"The model {model.name!r} has adapters already, and {what} is trained on one without: "
            "merge them first (merge_and_unload), or take the model without them."
        )
    if any(weight.device.type == "meta" for weight in model.hf.parameters()):
        return f"{what} needs all weights in memory: load the model on one device."
    return ""


def missing(modules: Sequence[str]) -> str:
    """What to install where libraries of the extra "lens" are missing; empty if none is."""
    try:
        if modules:
            need("lens", *modules)
    except MissingExtraError as error:
        return str(error)
    return ""


Put = Callable[["Model", int, ExitStack], Weights]
"""Puts fresh weights into a model, drawn by a seed; returns them. What must be undone beside
modules is given to the stack."""


class TunedWay(Way):
    """Trained weights, which are put into the model while it answers."""

    def __init__(self, model: Model, put: Put, weights: Weights) -> None:
        """Keep a copy of trained weights on the CPU.

        Args:
            model: the model.
            put: puts weights of the same names and shapes into it.
            weights: what was trained.
        """
        self.model = model
        self.put = put
        self.state = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
        self.trained = sum(weight.numel() for weight in self.state.values())
        self.losses: list[float] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While open, the weights are in the model."""
        with restored(self.model.hf) as held:
            with plain_settings():
                for name, weight in self.put(self.model, 0, held).items():
                    weight.data.copy_(self.state[name])
            yield


class Tuning(Method):
    """A method that trains added weights on gold answers.

    Attributes:
        rates: learning rates that are tried; the first one alone where it must be quick.
        epochs: passes over the samples.
        modules: libraries that it needs.
        taken: positions that it takes of the model's context.
    """

    league: ClassVar[League] = "none"
    for_each: ClassVar[bool] = False
    fits: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    rates: ClassVar[tuple[float, ...]]
    epochs: ClassVar[int] = 3
    modules: ClassVar[tuple[str, ...]] = ("peft",)
    taken: ClassVar[int] = 0

    def questions(self, bench: Bench) -> list[Item]:
        """The questions that it learns from."""
        return [item for item in bench.learn if has_answer(item)]

    def refusal(self, bench: Bench) -> str:
        """Weights that cannot be trained, a library that is missing, or too few gold answers."""
        there = len(self.questions(bench))
        few = (
            f"{self.title} learns from gold answers, and there are {there}: give {LEAST} or more."
            if there < LEAST
            else ""
        )
        return unsupported(bench.model, self.title) or missing(self.modules) or few

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Learning rates, each with the same number of passes."""
        if bench.quick:
            return ({"lr": self.rates[0], "epochs": -(-self.epochs // 2)},)
        return tuple({"lr": rate, "epochs": self.epochs} for rate in self.rates)

    @abstractmethod
    def put(self, model: Model, seed: int, held: ExitStack, /) -> Weights:
        """Put fresh weights into a model; see `Put`."""

    def reads(self, weights: Weights, /) -> Reads:
        """How the model is read under these weights."""
        del weights
        return plain_logits

    def way(self, model: Model, weights: Weights) -> TunedWay:
        """What answers."""
        return TunedWay(model, self.put, weights)

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Train on the questions.

        Raises:
            UsageError: no question has a gold answer and fits into the model's context.
            ModelError: the model cannot be run with what was put into it.
            TrainingError: the loss is no longer a finite number.
        """
        del langs
        model = bench.model
        spec = spec_of(bench.chat, model, settings, seed, self.taken)
        samples, _ = samples_of(model, self.questions(bench), spec)
        with restored(model.hf) as held, plain_settings():
            weights = self.put(model, seed, held)
            loss = TokenLoss(model, samples, self.reads(weights))
            _try_once(loss, self.title)
            losses = train_weights(loss, weights, spec)
            way = self.way(model, weights)
        way.losses, way.labelled = losses, len(samples)
        return way


class LoraTuning(Tuning):
    """LoRA (arXiv 2106.09685) of rank 8, counted twice, on every linear layer of the blocks."""

    rates: ClassVar[tuple[float, ...]] = (3e-4, 1e-3)

    def put(self, model: Model, seed: int, held: ExitStack, /) -> Weights:
        """Put adapters on all linear layers."""
        from crosslatent.lens.training.lora import add_lora
        from crosslatent.lens.training.train_spec import LoraSpec

        del held
        adapted = add_lora(model, range(model.n_layers), LoraSpec(rank=8, alpha=16), seed=seed)
        return {str(number): weight for number, weight in enumerate(adapted.parameters)}


def floats(hf: PreTrainedModel, mark: str) -> dict[str, nn.Parameter]:
    """Weights with a word in their names, in float32: small steps are lost in half precision."""
    found: dict[str, Any] = {name: one for name, one in hf.named_parameters() if mark in name}
    for weight in found.values():
        weight.data = weight.data.float()
    return found
