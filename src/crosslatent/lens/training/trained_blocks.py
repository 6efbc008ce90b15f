"""Runs the blocks above the trunk on cached states, with the model's own forward.

No architecture is written again. The blocks below the first trained one get a ``forward`` of their
instance that returns what is cached, in the form in which the real block returns it, so that masks,
position embeddings, sliding windows and the final norm are the model's own. The stand-ins leave
with the context that they came in with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crosslatent.core.specs import FINAL, Layer, Site
from crosslatent.lens.training.train_spec import AUTO, BFLOAT16, FLOAT32
from crosslatent.model import Model, PromptBatch, reading
from crosslatent.model.modes import answering
from crosslatent.model.trace import hidden_of

Form = Callable[[Tensor], Any]
"""Puts hidden states into the form of a block's output."""


class TrainedBlocks(nn.Module):
    """The blocks of a model from `first` on.

    Args:
        model: the model, whose forward it is.
        first: the lowest block that runs; 0 for the whole model, without any cached state.
        layers: which states to return: block outputs from `first` on, and `FINAL`.
    """

    def __init__(self, model: Model, first: int, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.decoder = model.hf.base_model
        self.first = first
        self.layers = tuple(layers)
        self._model = model
        self._entering: Tensor | None = None

    def forward(self, batch: PromptBatch, entering: Tensor | None) -> dict[Layer, Tensor]:
        """States of the top layers; only while `standing_in` is open, if `first` is not 0.

        Args:
            batch: token ids, padded on the right.
            entering: what enters block `first`, batch pos d_model; None if that is block 0.

        Returns:
            By layer, batch pos d_model; values at padding are meaningless.
        """
        found: dict[Layer, Tensor] = {}

        def keep(site: Site, value: Tensor) -> None:
            found[site.layer] = value.clone()

        sites = [Site("block", layer) for layer in self.layers if isinstance(layer, int)]
        ((_, inputs),) = batch.parts()
        self._entering = entering
        try:
            with reading(self._model, sites, keep):
                out = self.decoder(**inputs, use_cache=False)
        finally:
            self._entering = None
        if FINAL in self.layers:
            found[FINAL] = out[0]
        return found

    @contextmanager
    def standing_in(self, *, recompute: Sequence[int] = ()) -> Iterator[None]:
        """While open, the blocks below `first` are stand-ins.

        Args:
            recompute: blocks whose activations are computed again for the gradient (gradient
                checkpointing, in its non-reentrant form).
        """
        blocks = self._model.blocks
        with ExitStack() as restored:
            if self.first:
                form = block_form(self._model, self.first - 1)
                for block in blocks[: self.first]:
                    _override(restored, block.whole, self._stand_in(form))
            for place in recompute:
                whole = blocks[place].whole
                _override(restored, whole, _recomputed(whole, whole.forward))
            yield

    def _stand_in(self, form: Form) -> Callable[..., Any]:
        def forward(*_args: Any, **_kwargs: Any) -> Any:
            assert self._entering is not None
            return form(self._entering)

        return forward


def block_form(model: Model, layer: int) -> Form:
    """How a block puts what it returns: a tensor, or a tuple that begins with it.

    Its other elements (attention weights, caches) are None here, since they are not used.
    """
    seen: list[Any] = []

    def look(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append(output)

    handle = model.blocks[layer].whole.register_forward_hook(look)
    try:
        ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
        decoder: Any = model.hf.base_model
        with answering(model.hf):
            decoder(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    (output,) = seen
    if isinstance(output, tuple):
        others = (None,) * (len(output) - 1)
        return lambda hidden: (hidden, *others)
    return hidden_of


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


def _override(restored: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    """Give one module a forward of its own until `restored` is closed."""
    own = vars(module)
    before = own.get("forward")
    own["forward"] = forward
    if before is None:
        restored.callback(own.pop, "forward")
    else:
        restored.callback(own.__setitem__, "forward", before)


def _recomputed(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
