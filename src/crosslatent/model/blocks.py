"""Finds the decoder blocks and their modules in a Hugging Face model, and proves them right.

`structure` says which modules may be attention and feed-forward, a probe forward (`trace`) shows
what they do, and `proof` tells which of them make up the residual stream. Then the feed-forward
must not look at other tokens, and no token may change what comes before it. What cannot be proven,
or can be in more than one way, is refused with the line that says it: nothing is guessed silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from crosslatent.core.errors import ModelError
from crosslatent.model import proof
from crosslatent.model.modes import answering
from crosslatent.model.structure import (
    ATTN,
    CROSS_ATTN,
    FAMILIES,
    FFN,
    Names,
    block_list,
    candidates,
    decoder_prompt,
    has_encoder,
    paste,
    reads_both_ways,
    refuse_states,
    text_config,
)
from crosslatent.model.trace import ArgumentsOf, BlockTrace, Trace, copied, probe


@dataclass(frozen=True, slots=True)
class Block:
    """One decoder block and the modules in it that write to the residual stream.

    Attributes:
        whole: the block.
        attn: its attention.
        ffn: its feed-forward.
        cross_attn: its attention over an encoder's states; None in a model without encoder.
        flat: modules that return the tokens of all rows in one, tokens d_model.
    """

    whole: nn.Module
    attn: nn.Module
    ffn: nn.Module
    cross_attn: nn.Module | None = None
    flat: frozenset[nn.Module] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What a model is made of.

    Attributes:
        blocks: decoder blocks, from the first.
        norm: what the last block's output goes through before the head; None if nothing single.
        head: what gives the logits.
    """

    blocks: tuple[Block, ...]
    norm: nn.Module | None
    head: nn.Module | None


def resolve(hf: PreTrainedModel, modules: Mapping[str, str] | None = None) -> ModelParts:
    """Find the parts of `hf` and prove them with a probe forward.

    Makes a model with soft-capped attention use an implementation that applies the caps.

    Args:
        hf: the model.
        modules: what the user says of where they are; see `structure.Names`.

    Raises:
        ModelError: modules are not found, do not make up the residual stream, or do in more than
            one way; or the model is recurrent, or not causal.
    """
    names = Names.of(modules).over(FAMILIES.get(text_config(hf).model_type, Names()))
    if has_encoder(hf):
        decoder_prompt(hf)  # refuses a model that does not say what its decoder starts with
    path, blocks = block_list(hf, names)
    refuse_states(type(hf), text_config(hf), list(blocks))
    config = text_config(hf)
    # Some versions of transformers choose sdpa for models with soft caps, which leaves these out
    # without a word; later ones choose eager, so this gives the same numbers with all of them.
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    if capped and getattr(config, "_attn_implementation", None) == "sdpa":
        hf.set_attn_implementation("eager")
    choices = [_Choices.of(hf, layer, block, names) for layer, block in enumerate(blocks)]
    with answering(hf):
        parts = _probed(hf, path, choices)
        if not reads_both_ways(hf):
            _verify_causal(hf)
    return parts


_WORDS = {"attn": "attention", "cross_attn": "cross-attention", "ffn": "feed-forward"}

Group = tuple[str, ...]
"""Paths of a block's modules, in the order of `_Choices.parts`."""


@dataclass(frozen=True, slots=True)
class _Choices:
    """The modules of one block that may be its attention and its feed-forward, by path.

    Attributes:
        layer: the block's number.
        block: the block.
        attn: what may be its attention.
        ffn: what may be its feed-forward.
        cross_attn: what may be its attention over an encoder's states; None without encoder.
    """

    layer: int
    block: nn.Module
    attn: list[str]
    ffn: list[str]
    cross_attn: list[str] | None = None

    @classmethod
    def of(cls, hf: PreTrainedModel, layer: int, block: nn.Module, names: Names) -> _Choices:
        """Candidates by name; without any, all children, of which the probe shows what they do."""
        found = cls(
            layer,
            block,
            candidates(block, names.attn, ATTN),
            candidates(block, names.ffn, FFN),
            candidates(block, names.cross_attn, CROSS_ATTN) if has_encoder(hf) else None,
        )
        for path in found.named:
            try:
                block.get_submodule(path)
            except AttributeError as error:
                raise ModelError(
                    f"Block {layer} of {type(hf).__name__} has no {path!r}: its children are "
                    f"{found.children}."
                ) from error
        return found

    @property
    def children(self) -> str:
        """The names of the block's children."""
        return ", ".join(dict(self.block.named_children())) or "none"

    @property
    def named(self) -> list[str]:
        """Every path that may be some part."""
        return [*self.attn, *(self.cross_attn or ()), *self.ffn]

    @property
    def paths(self) -> list[str]:
        """Everything in the block that is watched."""
        return list(dict.fromkeys([*dict(self.block.named_children()), *self.named]))

    @property
    def parts(self) -> tuple[str, ...]:
        """What the modules of a group are, in the order of addition."""
        return ("attn", "ffn") if self.cross_attn is None else ("attn", "cross_attn", "ffn")

    def decide(self, seen: BlockTrace) -> Group:
        """The only group that makes up the stream.

        Raises:
            ModelError: there is none, or more than one.
        """
        groups = list(product(*(getattr(self, part) for part in self.parts)))
        proven = [group for group in groups if proof.makes_up(seen, *group)]
        if len(proven) == 1:
            return proven[0]
        if proven:
            raise ModelError(
                f"Block {self.layer}: {self._listed(proven)} both make up the block's output, so "
                f"it is not clear which is meant: {self._paste(proven[0])}."
            )
        raise ModelError(f"Block {self.layer}: {self._why_not(seen, groups)}")

    def _why_not(self, seen: BlockTrace, groups: list[Group]) -> str:
        others = list(proof.that_make_up(seen, len(self.parts)))
        hint = f"; {self._listed(others)} would: {self._paste(others[0])}." if others else "."
        if not groups:
            name_them = f": {self._paste([part.upper() for part in self.parts])}."
            missing = next(
                part for part in ("attn", "ffn", "cross_attn") if not getattr(self, part)
            )
            return (
                f"no module of it has a name that is usual for {_WORDS[missing]} (its children are "
                f"{self.children}){hint if others else name_them}"
            )
        for group in groups:
            if not all(proof.in_stream_shape(seen, path) for path in group):
                gives = [
                    f"{word} {path!r} gives {_shape(seen, path)}"
                    for word, path in self._said(group)
                ]
                return (
                    f"{' and '.join(gives)}, but the residual stream is "
                    f"{tuple(seen.left.shape)}{hint}"
                )
        error = proof.difference(seen, *groups[0])
        terms = [f"{word} ({path!r})" for word, path in self._said(groups[0])]
        return (
            f"{' + '.join(['input', *terms])} differs from the block's "
            f"output by {error:.1e} (relative), also with norms after them and with scales; this "
            f"architecture does not add its modules directly, and is not supported yet{hint}"
        )

    def _said(self, group: Sequence[str]) -> list[tuple[str, str]]:
        return [(_WORDS[part], path) for part, path in zip(self.parts, group, strict=True)]

    def _listed(self, groups: Sequence[Group]) -> str:
        shown = [
            ", ".join(f"{part}={path!r}" for part, path in zip(self.parts, group, strict=True))
            for group in groups[:3]
        ]
        return " and ".join(f"({each})" for each in shown)

    def _paste(self, group: Sequence[str]) -> str:
        return paste(dict(zip(self.parts, group, strict=True)))


def _shape(seen: BlockTrace, path: str) -> str:
    calls = seen.calls.get(path)
    return str(tuple(calls[-1].left.shape)) if calls else "nothing (it is not called)"


def _probed(hf: PreTrainedModel, path: str, choices: list[_Choices]) -> ModelParts:
    """One forward that is watched, and what it says of every block."""
    trace = Trace()
    beside = hf.get_submodule(path.rpartition(".")[0]).children()
    around = [each for each in beside if not isinstance(each, nn.ModuleList)]
    with ExitStack() as hooks:
        for choice in choices:
            modules = [choice.block.get_submodule(path) for path in choice.paths]
            trace.watch(hooks, [choice.block, *modules])
        trace.watch(hooks, around)
        entering = {
            (choice.layer, name): ArgumentsOf(hooks, choice.block.get_submodule(name))
            for choice in choices
            for name in (*choice.ffn, *(choice.cross_attn or ()))
        }
        final = copied(_forward(hf))
    blocks = []
    for choice in choices:
        _refuse_unseen(hf, path, choice, trace)
        seen = trace.seen(choice.block, choice.paths)
        group = dict(zip(choice.parts, choice.decide(seen), strict=True))
        for part in ("ffn", "cross_attn"):
            if part in group:
                name = group[part]
                _verify_tokenwise(choice.layer, part, name, entering[choice.layer, name])
        blocks.append(_block(choice.block, group, trace))
    norm = _final_norm(blocks[-1].whole, around, final, trace)
    return ModelParts(tuple(blocks), norm, hf.get_output_embeddings())


def _refuse_unseen(hf: PreTrainedModel, path: str, choice: _Choices, trace: Trace) -> None:
    if choice.block in trace.calls:
        return
    does = trace.odd.get(choice.block, "is not called when the model reads a text")
    raise ModelError(
        f"Block {choice.layer} of {type(hf).__name__} ({path}.{choice.layer}) {does}: name the "
        f"list of the blocks that do ({paste({'blocks': 'PATH'})}), or use another model."
    )


def _block(whole: nn.Module, group: Mapping[str, str], trace: Trace) -> Block:
    modules = {part: whole.get_submodule(path) for part, path in group.items()}
    dim = trace.calls[whole][-1].left.dim()
    flat = (each for each in modules.values() if trace.calls[each][-1].left.dim() < dim)
    return Block(whole, **modules, flat=frozenset(flat))


def _verify_tokenwise(layer: int, part: str, name: str, arguments: ArgumentsOf) -> None:
    # What modules add is added alike, so their sum does not tell them apart.
    if part == "cross_attn" and not arguments.hold_encoded:
        raise ModelError(
            f"Block {layer}: the cross-attention {name!r} is not given the encoder's states, so it "
            "is none: modules may be named the wrong way round."
        )
    before, after = (arguments.again(change) for change in (0.0, 1.0))
    if before is None or after is None:
        return
    error = proof.relative(before[..., -1, :], after[..., -1, :])
    if not error < proof.tolerance(before.dtype):
        word = _WORDS[part]
        raise ModelError(
            f"Block {layer}: the {word} {name!r} looks at other tokens (another first token "
            f"changes its output at the last by {error:.1e}, relative), so it is no {word}: "
            f"attention and {word} may be named the wrong way round."
        )


def _final_norm(
    last: nn.Module, around: list[nn.Module], final: Tensor, trace: Trace
) -> nn.Module | None:
    """The module that took the last block's output and gave what the decoder returns."""
    left = trace.calls[last][-1].left
    for module in around:
        for call in trace.calls.get(module, []):
            if proof.same(call.entered, left) and proof.same(call.left, final):
                return module
    return None


def _verify_causal(hf: PreTrainedModel) -> None:
    # Some families have forms that read in both directions (text encoders made of decoders). Rows
    # could not share a prefix there, and chunks would change the numbers.
    first, second = (copied(_forward(hf, last)[:, :-1]) for last in (0, 1))
    error = proof.relative(first, second)
    if not error < proof.tolerance(first.dtype):
        raise ModelError(
            f"{type(hf).__name__} is not causal: another last token changes what comes before it "
            f"by {error:.1e} (relative); use a model that reads from left to right."
        )


def _forward(hf: PreTrainedModel, last: int = 0) -> Tensor:
    try:
        return probe(hf, last)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        line = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"{type(hf).__name__} fails on a text of a few tokens ({type(error).__name__}: "
            f"{line}): use a model that this version of transformers can run."
        ) from error
