"""Where the decoder blocks of a Hugging Face model are, and which modules in them may be which.

Asks transformers first (the decoder, its config, the number of blocks), then looks at structure:
names that the field uses. What is found here is a candidate; `proof` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from typing import Any

from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from crosslatent.core.errors import ModelError

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


@contextmanager
def attention_called(config: Any, name: str) -> Iterator[None]:
    """While open, models with this config take the attention function of a name."""
    usual = config._attn_implementation  # noqa: SLF001 - where transformers keeps the name
    config._attn_implementation = name  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = usual  # noqa: SLF001


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

    Raises:
        ModelError: a block is recurrent, or the model says that it keeps states.
    """
    kinds = getattr(config, "layer_types", None) or []
    odd = _KINDS_WITH_STATE.intersection(kinds)
    children = [{name for name, _ in block.named_children()} for block in blocks]
    held = {name for names in children for name in names if name in _RECURRENT}
    if not (odd or held or getattr(kind, "_is_stateful", False)):
        return
    layers = [str(layer) for layer, each in enumerate(kinds) if each in odd]
    layers = layers or [str(layer) for layer, names in enumerate(children) if held & names]
    what = ", ".join(sorted(odd or held)) or "a state"
    brief = ", ".join([*layers[:4], "..."] if len(layers) > 4 else layers)
    where = f"blocks {brief}" if layers else "its blocks"
    raise ModelError(
        f"{kind.__name__} is recurrent or hybrid ({where}: {what}): a state that runs from "
        "token to token takes the place of attention there, so there is no attention output to "
        "carry over and no prefix to share; use a model whose blocks all have attention."
    )


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


@dataclass(frozen=True, slots=True)
class Names:
    """Module names that are said and not searched; None where they are searched.

    Attributes:
        blocks: dotted path from the model to the ``ModuleList`` of decoder blocks.
        attn: dotted path from a block to its attention.
        ffn: dotted path from a block to its feed-forward.
        cross_attn: dotted path from a block to its attention over an encoder's states.
    """

    blocks: str | None = None
    attn: str | None = None
    ffn: str | None = None
    cross_attn: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str] | None) -> Names:
        """The names that a user gives.

        Raises:
            ModelError: one that is not a name of a part, or an empty path.
        """
        known = [field.name for field in fields(cls)]
        for part, path in (given or {}).items():
            if part not in known:
                raise ModelError(
                    f"Cannot name the module {part!r} of a model: give {', '.join(known)}."
                )
            if not path:
                raise ModelError(f"The path of {part!r} is empty: give one such as 'self_attn'.")
        return cls(**(given or {}))

    def over(self, other: Names) -> Names:
        """These names, and those of `other` where there are none."""
        return Names(*(own or its for own, its in zip(astuple(self), astuple(other), strict=True)))


# Attention and feed-forward stand in layers that add the residual themselves.
_T5 = Names(
    attn="layer.0.SelfAttention",
    cross_attn="layer.1.EncDecAttention",
    ffn="layer.2.DenseReluDense",
)


FAMILIES: Mapping[str, Names] = {
    # Attention and feed-forward add the residual themselves; their last projections do not.
    "bloom": Names(attn="self_attention.dense", ffn="mlp.dense_4h_to_h"),
    # Here only the feed-forward adds the residual itself.
    "mpt": Names(ffn="ffn.down_proj"),
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5"), _T5),
}
"""By ``config.model_type`` of transformers."""

READ_BOTH_WAYS = frozenset({"paligemma"})
"""Model types that read the prompt in both directions, and only the answer from left to right.
Token types mark which is which; without them it depends on the attention function."""


def has_encoder(hf: PreTrainedModel) -> bool:
    """Whether an encoder reads the prompt, as the model's config says."""
    return bool(getattr(hf.config, "is_encoder_decoder", False))


def refuse_encoder(hf: PreTrainedModel, what: str, instead: str) -> None:
    """Refuse what works for decoders alone.

    Raises:
        ModelError: an encoder reads the model's prompts.
    """
    if has_encoder(hf):
        raise ModelError(
            f"{what} does not work for encoder-decoder models such as {type(hf).__name__}: "
            f"{instead}."
        )


def decoder_prompt(hf: PreTrainedModel) -> tuple[int, ...]:
    """What the decoder of an encoder-decoder model reads before it answers.

    Raises:
        ModelError: the model does not say what its decoder starts with.
    """
    start = setting(hf, "decoder_start_token_id")
    if not isinstance(start, int):
        raise ModelError(
            f"{type(hf).__name__} does not say what its decoder starts with "
            f"(decoder_start_token_id is {start!r}): set it to one token id in "
            "generation_config.json, or on model.generation_config."
        )
    forced = setting(hf, "forced_bos_token_id")
    return (start,) if forced is None else (start, int(forced))


def setting(hf: PreTrainedModel, name: str) -> Any:
    """A setting of the generation config, else of the config."""
    value = getattr(getattr(hf, "generation_config", None), name, None)
    return getattr(hf.config, name, None) if value is None else value


_ENCODER_ONLY = frozenset({"bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra"})


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A kind of model that answers prompts.

    Attributes:
        loads: the class of transformers that loads it.
        known: the class that each model type has there, by name.
    """

    loads: Any
    known: Mapping[str, Any]

    def takes(self, config: PreTrainedConfig) -> bool:
        """Whether a model with this config is of this kind."""
        brings_code = self.loads.__name__ in (getattr(config, "auto_map", None) or {})
        return config.model_type in self.known or brings_code


CAUSAL = ModelKind(AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
TWO_STACKS = ModelKind(AutoModelForSeq2SeqLM, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
SEEING = ModelKind(AutoModelForImageTextToText, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def kind_of(config: PreTrainedConfig) -> ModelKind:
    """The kind of model that a config describes.

    Raises:
        ModelError: it is none that can answer a prompt, or a recurrent one.
    """
    if getattr(config, "is_encoder_decoder", False):
        if not TWO_STACKS.takes(config):
            raise ModelError(
                f"A model of type {config.model_type!r} is an encoder-decoder that does not read "
                "text: use one of text alone, such as one of type 't5', 'mbart' or 'm2m_100'."
            )
        return TWO_STACKS
    if config.model_type in _ENCODER_ONLY or not (CAUSAL.takes(config) or SEEING.takes(config)):
        raise ModelError(
            f"A model of type {config.model_type!r} is not a decoder that can answer a prompt: use "
            "a causal language model, such as one of type 'llama' or 'qwen3'."
        )
    # A checkpoint says which class wrote it.
    written_by = SEEING.known.get(config.model_type)
    seeing = written_by is not None and written_by in (getattr(config, "architectures", None) or ())
    kind = SEEING if seeing or not CAUSAL.takes(config) else CAUSAL
    mapping = kind.loads._model_mapping  # noqa: SLF001 - the only way to ask it by config
    if type(config) in mapping:  # what is recurrent is refused before weights are read
        refuse_states(mapping[type(config)], config.get_text_config(decoder=True))
    return kind
