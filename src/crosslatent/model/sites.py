"""Reading and rewriting module outputs with forward hooks that are always removed.

The one place that knows what a component means in terms of modules (docs/methods.md, 1.1:
``attn``, ``ffn`` and ``block`` are module outputs; ``attn_residual`` is read as attention output +
the residual that entered the block, and written in the place of the attention output, as the
released code of XTransplant, arXiv 2412.12686, does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from crosslatent.core.specs import UNITS, Component, Site
from crosslatent.model.blocks import Block
from crosslatent.model.model import Model
from crosslatent.model.trace import (
    after,
    before,
    block_input,
    hidden_of,
    with_hidden,
    with_input,
)
from crosslatent.model.unwrapping import without_compilation

_TOKENS_IN_ONE = 2
"""Dimensions of values of a module that knows no rows: tokens width."""

Receive = Callable[[Site, Tensor], None]
"""Gets a site and its value, batch pos d_model; must not keep a reference without cloning."""

Rewrite = Callable[[Tensor], Tensor]
"""Turns a site's value into the value that replaces it, batch pos d_model both."""


class Enter(Protocol):
    """Changes what enters a block."""

    def hidden(self, layer: int, value: Tensor) -> Tensor:
        """The hidden states, batch pos d_model."""
        ...

    def context(self, layer: int, value: Any) -> Any:
        """Any other argument, such as position embeddings."""
        ...


@contextmanager
def reading(model: Model, sites: Iterable[Site], receive: Receive) -> Iterator[None]:
    """While open, every forward hands the value of each site to `receive`."""
    with _hooks() as hooks:
        for site in sites:
            block = model.blocks[site.layer]
            model.check_component(site.component)
            if site.component in UNITS:
                _entering_units(hooks, model, site, partial(receive, site))
            elif site.component == "attn_residual":
                _read_attn_residual(hooks, block, site, receive)
            else:
                module = module_of(block, site.component)
                _leaving(hooks, block, module, partial(receive, site))
        yield


@contextmanager
def rewriting(model: Model, edits: Mapping[Site, Rewrite]) -> Iterator[None]:
    """While open, every forward replaces the value of each site by what its function returns."""
    with _hooks() as hooks:
        for site, rewrite in edits.items():
            block = model.blocks[site.layer]
            if model.check_component(site.component) in UNITS:
                _entering_units(hooks, model, site, rewrite)
            else:
                _leaving(hooks, block, module_of(block, site.component), rewrite)
        yield


@contextmanager
def entering(model: Model, change: Enter) -> Iterator[None]:
    """While open, the inputs of every block pass through `change`."""

    def hook_of(layer: int) -> Callable[..., tuple[Any, Any]]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
            hidden = change.hidden(layer, block_input(args, kwargs))
            return with_input(args, kwargs, partial(change.context, layer), hidden)

        return hook

    with _hooks() as hooks:
        for layer, block in enumerate(model.blocks):
            before(hooks, block.whole, hook_of(layer))
        yield


@contextmanager
def _hooks() -> Iterator[ExitStack]:
    """Takes hooks, which act as long as it is open; also in what was compiled after wrapping."""
    with without_compilation(), ExitStack() as hooks:
        yield hooks


def module_of(block: Block, component: Component) -> nn.Module:
    """The module whose output a component replaces."""
    if component == "block":
        return block.whole
    if component == "cross_attn":
        assert block.cross_attn is not None  # Model.check_component has seen to it
        return block.cross_attn
    return block.ffn if component == "ffn" else block.attn


class _Rows:
    """Makes hidden states of a module that knows no rows into batch pos d_model, and back."""

    def __init__(self, hooks: ExitStack, block: Block) -> None:
        self._rows = 0
        before(hooks, block.whole, self._remember)

    def _remember(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """How many rows enter the block; the last hook before it, so rows that join are in."""
        self._rows = len(block_input(args, kwargs))

    def apart(self, hidden: Tensor) -> Tensor:
        """Tokens d_model as batch pos d_model."""
        apart: Tensor = hidden.unflatten(0, (self._rows, -1))
        return apart


def _leaving(
    hooks: ExitStack, block: Block, module: nn.Module, act: Callable[[Tensor], Tensor | None]
) -> None:
    """Let a function see, or change, what a module of a block returns."""
    # A module may return the tokens of all rows in one.
    rows = _Rows(hooks, block) if module in block.flat else None

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        changed = act(hidden if rows is None else rows.apart(hidden))
        if changed is None:
            return None
        return with_hidden(output, changed if rows is None else changed.flatten(0, 1))

    after(hooks, module, hook)


def _entering_units(
    hooks: ExitStack, model: Model, site: Site, hook: Callable[[Tensor], Tensor | None]
) -> None:
    """Let a function see, or change, what enters the projection of neurons or heads."""
    projection = model.units(site.component)[site.layer].projection
    rows = _Rows(hooks, model.blocks[site.layer])

    def enters(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        value = block_input(args, kwargs)
        flat = value.dim() == _TOKENS_IN_ONE
        changed = hook(rows.apart(value) if flat else value)
        if changed is None:
            return None
        hidden = changed.flatten(0, 1) if flat else changed
        return with_input(args, kwargs, lambda same: same, hidden)

    before(hooks, projection, enters)


def _read_attn_residual(hooks: ExitStack, block: Block, site: Site, receive: Receive) -> None:
    entered: list[Tensor] = []

    def remember(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entered[:] = [block_input(args, kwargs)]

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        out = hidden_of(output)
        # A block of a model on several devices may be handed its input on another one.
        receive(site, out + entered.pop().to(out.device))

    before(hooks, block.whole, remember)
    after(hooks, block.attn, hook)
