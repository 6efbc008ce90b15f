"""Where the decoder blocks of a Hugging Face model are, and which modules in them may be which.

Asks transformers first (the decoder, its config, the number of blocks), then looks at structure:
names that the field uses. What is found here is a candidate; `proof` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from crosslatent.core.errors import ModelError
from crosslatent.model.families import READ_BOTH_WAYS, Names

ATTN = ("self_attn", "self_attention", "attention", "attn")
FFN = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "fc2")
"""Names of children, as the field uses them. ``fc2`` is the last layer of a feed-forward whose
layers are children of the block itself (OPT, XGLM)."""
CROSS_ATTN = ("encoder_attn", "cross_attn", "cross_attention", "crossattention")
"""Names of children that attend to an encoder's states."""

_RECURRENT = ("mamba", "linear_attn", "temporal_block", "conv", "short_conv", "ssm")
_KINDS_WITH_STATE = frozenset(
    {"linear_attention", "mamba", "conv", "hybrid", "hybrid_sliding", "recurrent"}
)
"""Values of a config's ``layer_types`` under which a block carries a state from token to token."""


def text_config(hf: PreTrainedModel) -> Any:
    """The config of the text decoder."""
    return hf.config.get_text_config(decoder=True)


def reads_both_ways(hf: PreTrainedModel) -> bool:
    """Whether the tokens of a prompt see those after them, too."""
    return hf.config.model_type in READ_BOTH_WAYS


def decoder_of(hf: PreTrainedModel) -> nn.Module:
    """The text decoder, as transformers names it."""
    decoder = hf.get_decoder() if hasattr(hf, "get_decoder") else None
    return decoder if isinstance(decoder, nn.Module) else hf


def block_list(hf: PreTrainedModel, names: Names) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder blocks: as many as the config says there are.

    Raises:
        ModelError: there is no such list, or more than one.
    """
    expected = _how_many(text_config(hf))
    if names.blocks is not None:
        return names.blocks, _named_list(hf, names.blocks, expected)
    found = dict(_outermost_lists(hf, decoder_of(hf)))
    fitting = {path: blocks for path, blocks in found.items() if len(blocks) == expected}
    if len(fitting) > 1:
        known = {path: each for path, each in fitting.items() if _looks_like_blocks(each, names)}
        fitting = known or fitting
    if len(fitting) != 1:
        raise ModelError(_which_list(hf, found, fitting, expected))
    ((path, blocks),) = fitting.items()
    return path, blocks


def _how_many(config: Any) -> int:
    """Blocks of the decoder; T5 and its kin call their number otherwise than the encoder's."""
    return int(getattr(config, "num_decoder_layers", None) or config.num_hidden_layers)


def candidates(block: nn.Module, named: str | None, usual: tuple[str, ...]) -> list[str]:
    """Paths in a block where a module may be: the given one, or all that have a usual name."""
    children = dict(block.named_children())
    return [named] if named else [name for name in usual if name in children]


def refuse_states(kind: type, config: Any, blocks: Sequence[nn.Module] = ()) -> None:
    """Refuse models that carry a state from token to token.

    Args:
        kind: class of the model.
        config: of its text decoder.
        blocks: its blocks, if it is there already.

    Raises:
        ModelError: a block is recurrent, or the model says that it keeps states.
    """
    kinds = getattr(config, "layer_types", None) or []
    odd = _KINDS_WITH_STATE.intersection(kinds)
    children = [{name for name, _ in block.named_children()} for block in blocks]
    held = {name for names in children for name in names if name in _RECURRENT}
    if not (odd or held or getattr(kind, "_is_stateful", False)):
        return
    layers = [layer for layer, each in enumerate(kinds) if each in odd]
    layers = layers or [layer for layer, names in enumerate(children) if held & names]
    what = ", ".join(sorted(odd or held)) or "a state"
    where = f"blocks {_brief(layers)}" if layers else "its blocks"
    raise ModelError(
        f"{kind.__name__} is recurrent or hybrid ({where}: {what}): a state that runs from "
        "token to token takes the place of attention there, so there is no attention output to "
        "carry over and no prefix to share; use a model whose blocks all have attention."
    )


def _brief(layers: list[int]) -> str:
    shown = ", ".join(map(str, layers[:4]))
    return f"{shown}, ..." if len(layers) > 4 else shown


def _named_list(hf: PreTrainedModel, path: str, expected: int) -> nn.ModuleList:
    try:
        blocks = hf.get_submodule(path)
    except AttributeError as error:
        lists = ", ".join(name for name, _ in _outermost_lists(hf, hf)) or "none"
        raise ModelError(
            f"{type(hf).__name__} has no {path!r}: its lists of modules are {lists}."
        ) from error
    if not isinstance(blocks, nn.ModuleList):
        raise ModelError(f"{path!r} is a {type(blocks).__name__}, not a list of decoder blocks.")
    if len(blocks) != expected:
        raise ModelError(
            f"Found {len(blocks)} decoder blocks at {path!r}, but the config says "
            f"num_hidden_layers = {expected}: give a model whose blocks are all in that list."
        )
    return blocks


def _outermost_lists(hf: nn.Module, root: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Lists of modules that no other list holds, with their paths from the model."""
    base = next(name for name, module in hf.named_modules() if module is root)
    taken: list[str] = []
    for name, module in root.named_modules(prefix=base):
        inside = any(name.startswith(f"{outer}.") for outer in taken)
        if isinstance(module, nn.ModuleList) and not inside:
            taken.append(name)
            yield name, module


def _looks_like_blocks(blocks: nn.ModuleList, names: Names) -> bool:
    return all(
        candidates(block, names.attn, ATTN) and candidates(block, names.ffn, FFN)
        for block in blocks
    )


def _which_list(
    hf: PreTrainedModel,
    found: dict[str, nn.ModuleList],
    fitting: dict[str, nn.ModuleList],
    expected: int,
) -> str:
    listed = fitting or found
    shown = ", ".join(f"{path!r} ({len(blocks)})" for path, blocks in listed.items()) or "none"
    how_many = "more than one list" if fitting else "no list"
    hint = paste({"blocks": next(iter(listed), "model.layers")})
    return (
        f"{type(hf).__name__} has {how_many} of {expected} modules, as many as its config has "
        f"blocks (num_hidden_layers); its lists are {shown}: {hint}."
    )


def paste(names: dict[str, str]) -> str:
    """How a user names modules, from Python and from the command line."""
    inside = ", ".join(f'"{part}": "{path}"' for part, path in names.items())
    line = ",".join(f"{part}={path}" for part, path in names.items())
    return f"name it with modules={{{inside}}}, or --modules {line}"
