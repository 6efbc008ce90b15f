"""Runs the blocks above the trunk on cached states, with the model's own forward.

No architecture is written again. The blocks below the first trained one get a ``forward`` of their
instance that returns what is cached, in the form in which the real block returns it, so that masks,
position embeddings, sliding windows and the final norm are the model's own. The stand-ins are
removed with the context that they came in with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crosslatent.core.specs import FINAL, Layer, Site
from crosslatent.lens.training.parallel_rows import pieces_of
from crosslatent.lens.training.train_spec import AUTO, BFLOAT16, FLOAT32
from crosslatent.model import Model, PromptBatch, encode_batch, reading
from crosslatent.model.modes import answering
from crosslatent.model.trace import with_hidden

if TYPE_CHECKING:
    from crosslatent.lens.training.frozen_cache import FrozenCache

Form = Callable[[Tensor], Any]
"""Puts hidden states into the form of a block's output."""

States = Float[Tensor, "rows d_model"]

PIECE_TOKENS = {"cpu": 512}
"""Tokens whose activations are kept for the gradient at a time: a CPU is no faster with more. Other
devices take a batch at once."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a model is cut into trunk and top, and what is read above.

    Attributes:
        first: the lowest trained block; 0 for the whole model, without any cached state.
        layers: which states are read: block outputs from `first` on, and `FINAL`.
        precision: "float32" or "bfloat16", in which forwards run.
    """

    first: int
    layers: tuple[Layer, ...]
    precision: str


@dataclass(slots=True)
class TrainedBlocks:
    """The blocks of a model from the cut on.

    Attributes:
        model: the model, whose forward it is.
        cut: where it begins, and what is read.
        trunks: what enters the first block, by language.
    """

    model: Model
    cut: Cut
    trunks: Mapping[str, FrozenCache] = field(default_factory=dict)
    _entering: Any = field(default=None, init=False)

    def __call__(self, batch: PromptBatch, entering: Tensor | None) -> dict[Layer, Tensor]:
        """States of the top layers; only while `standing_in` is open, if `first` is not 0.

        Args:
            batch: token ids, padded on the right.
            entering: what enters block `first`, batch pos d_model; None if that is block 0.

        Returns:
            By layer, batch pos d_model; values at padding are meaningless.
        """
        self._entering = entering
        try:
            return read_layers(self.model, batch, self.cut.layers)
        finally:
            self._entering = None

    def run(
        self, texts: Sequence[Sequence[int]], lang: str
    ) -> tuple[dict[Layer, Tensor], Int[Tensor, " texts"]]:
        """States of texts on their cached trunk, in the cut's precision, and the texts' lengths."""
        batch = encode_batch(self.model, texts, "right")
        device = self.model.device
        entering = gather(self.trunks[lang], texts, device) if self.cut.first else None
        with autocast(self.model, self.cut.precision):
            return self(batch, entering), batch.mask.sum(1)

    def pieces(self, tokens: Mapping[int, int]) -> list[list[int]]:
        """Rows, by number with their tokens, in pieces whose gradient fits into memory."""
        return pieces_of(list(tokens), tokens, PIECE_TOKENS.get(self.model.device.type))

    @contextmanager
    def standing_in(self, *, recompute: Sequence[int] = ()) -> Iterator[None]:
        """While open, the blocks below the cut are stand-ins.

        Args:
            recompute: blocks whose activations are computed again for the gradient (gradient
                checkpointing, in its non-reentrant form).
        """
        blocks, first = self.model.blocks, self.cut.first
        with ExitStack() as restored:
            if first:
                form = block_form(self.model, first - 1)
                for block in blocks[:first]:
                    _override(restored, block.whole, lambda *_, **__: form(self._entering))
            for number in recompute:
                whole = blocks[number].whole
                _override(restored, whole, _recomputed(whole, whole.forward))
            yield


def read_layers(model: Model, batch: PromptBatch, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
    """Outputs of blocks, and what follows the final norm for `FINAL`; batch pos d_model each."""
    states: dict[Layer, Tensor] = {}

    def keep(site: Site, value: Tensor) -> None:
        states[site.layer] = value.clone()

    decoder: Any = model.hf.base_model
    sites = [Site("block", layer) for layer in layers if isinstance(layer, int)]
    ((_, inputs),) = batch.parts()
    with reading(model, sites, keep):
        out = decoder(**inputs, use_cache=False)
    if FINAL in layers:
        states[FINAL] = out[0]
    return states


def gather(trunk: FrozenCache, texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """What enters the first trained block for some texts, padded right, batch pos d_model."""
    states = [trunk.entering(tuple(ids)) for ids in texts]
    return nn.utils.rnn.pad_sequence(states, batch_first=True).to(device)


def block_form(model: Model, layer: int) -> Form:
    """How a block puts what it returns: a tensor, or a tuple that begins with it.

    Its other elements (attention weights, caches) are None here, since they are not used.
    """
    seen: list[Any] = []

    def look(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append(output)

    handle = model.blocks[layer].whole.register_forward_hook(look)
    decoder: Any = model.hf.base_model
    try:
        ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
        with answering(model.hf):
            decoder(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    (output,) = seen
    form: Any = (None,) * len(output) if isinstance(output, tuple) else output
    return partial(with_hidden, form)


def autocast(model: Model, precision: str) -> AbstractContextManager[Any]:
    """The context in which forwards of `precision` ("float32" or "bfloat16") run."""
    if precision == BFLOAT16:
        return torch.autocast(model.device.type, dtype=torch.bfloat16)
    return nullcontext()


def resolve_precision(model: Model, precision: str) -> str:
    """The precision that is meant: `AUTO` is float32 for models in it, else bfloat16."""
    if precision != AUTO:
        return precision
    return FLOAT32 if model.dtype in (torch.float32, torch.float64) else BFLOAT16


def last_token(states: Float[Tensor, "rows pos d_model"], lengths: Int[Tensor, " rows"]) -> States:
    """States of the last real tokens of right-padded texts."""
    return states[torch.arange(len(states), device=states.device), lengths - 1]


def token_mean(states: Float[Tensor, "rows pos d_model"], lengths: Int[Tensor, " rows"]) -> States:
    """Mean state of the real tokens of right-padded texts, summed in float32 or more."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    columns = torch.arange(states.shape[1], device=states.device)
    # Padding is replaced, not multiplied by 0: anything may be there, NaN included.
    real = states.masked_fill((columns >= lengths[:, None])[..., None], 0.0)
    return real.sum(1, dtype=dtype) / lengths[:, None].to(dtype)


def _override(restored: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    """Give one module a forward of its own until `restored` is closed."""
    own = vars(module)
    if "forward" in own:
        restored.callback(own.__setitem__, "forward", own["forward"])
    else:
        restored.callback(own.pop, "forward")
    own["forward"] = forward


def _recomputed(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
