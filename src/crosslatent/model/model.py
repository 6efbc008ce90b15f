"""`Model`: a Hugging Face model that writes text, its tokenizer, and its decoder blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crosslatent.core.cards import Card, Rows, Shown
from crosslatent.core.costs import human_bytes
from crosslatent.core.errors import ModelError, PairError
from crosslatent.core.seen import Seen
from crosslatent.core.specs import COMPONENTS, OF_EVERY_MODEL, UNITS, Component, canonical_hash
from crosslatent.model import quantized
from crosslatent.model.blocks import Block
from crosslatent.model.quantized import arithmetic_of
from crosslatent.model.structure import (
    decoder_prompt,
    has_encoder,
    reads_both_ways,
    setting,
    text_config,
)
from crosslatent.model.trace import input_device
from crosslatent.model.unwrapping import adapters_of, offload_hooks

if TYPE_CHECKING:
    from crosslatent.model.units import Units


@dataclass(frozen=True, slots=True)
class Model(Shown):
    """A loaded model; made by `load` or `wrap`.

    Attributes:
        hf: the model itself; whatever is done with it runs as `modes.answering` says.
        tokenizer: its tokenizer.
        blocks: decoder blocks, from the first.
        name: what it was loaded from.
        identity: plain data that tells this model from another, from when it was wrapped.
        norm: what the last block's output goes through before the head; None if nothing single.
        head: what gives the logits; None if the model does not say.
        modules: what the user said of where the modules are.
        seen: what it was trained on by this software; None if that is not known.
    """

    hf: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    name: str
    identity: dict[str, Any] = field(default_factory=dict)
    norm: nn.Module | None = field(default=None, repr=False)
    head: nn.Module | None = field(default=None, repr=False)
    modules: Mapping[str, str] | None = None
    seen: Seen | None = field(default=None, repr=False)

    @property
    def identity_now(self) -> dict[str, Any]:
        """What `identity` would be if the model were wrapped now: for run folders and caches."""
        return identity_now(self.hf, self.identity)

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.blocks)

    @property
    def has_encoder(self) -> bool:
        """Whether an encoder reads the prompt, and the decoder only what it begins with."""
        return has_encoder(self.hf)

    @property
    def reads_both_ways(self) -> bool:
        """Whether the tokens of a prompt see those after them: it cannot be read in parts."""
        return reads_both_ways(self.hf)

    @property
    def components(self) -> tuple[Component, ...]:
        """What can be carried across in this model, beside neurons and heads (`model.units`)."""
        return COMPONENTS if self.has_encoder else OF_EVERY_MODEL

    def check_component(self, component: Component) -> Component:
        """Return `component`.

        Raises:
            PairError: the model does not have it.
        """
        if component in UNITS:
            self.units(component)
        elif component not in self.components:
            raise PairError(
                f"{type(self.hf).__name__} has no {component!r}, which is a decoder's attention "
                f"over an encoder: use one of {', '.join(self.components)}."
            )
        return component

    def decoder_reads(self, prompt: Sequence[int]) -> Sequence[int]:
        """What the decoder reads of a prompt before it answers; its last token is what is edited.

        The prompt itself; in encoder-decoder models the start token and what is forced after it,
        whatever the prompt is.

        Raises:
            ModelError: the model does not say what its decoder starts with.
        """
        return decoder_prompt(self.hf) if self.has_encoder else prompt

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(text_config(self.hf).hidden_size)

    def units(self, component: Component) -> tuple[Units, ...]:
        """The neurons or the heads of every block.

        Raises:
            PairError: they cannot be found in the model, or not be verified; says why.
        """
        from crosslatent.model.units import units_of

        return units_of(self, component)

    def width(self, component: Component) -> int:
        """Width of a component's values.

        Raises:
            PairError: the model has no such neurons or heads, or other widths from block to block.
        """
        if component not in UNITS:
            return self.d_model
        widths = {units.width for units in self.units(component)}
        if len(widths) > 1:
            raise PairError(
                f"The blocks of {type(self.hf).__name__} have {component} of widths "
                f"{', '.join(map(str, sorted(widths)))}, so that one cannot stand for another: use "
                "another component."
            )
        return widths.pop()

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the embeddings."""
        return input_device(self.hf)

    @property
    def devices(self) -> list[torch.device]:
        """Where the weights are."""
        placed = {weight.device for weight in self.hf.parameters()}
        return [device for device in placed if device.type != "meta"] or [self.device]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.hf.dtype

    @property
    def arithmetic(self) -> torch.dtype:
        """Floating-point type as which the numbers round; coarser than `dtype` with 8-bit sums."""
        return arithmetic_of(self.hf)

    @property
    def vocabulary(self) -> int:
        """How many token ids the embeddings know, from 0."""
        embeddings: Any = self.hf.get_input_embeddings()
        known = getattr(embeddings, "num_embeddings", None)
        return int(text_config(self.hf).vocab_size if known is None else known)

    @property
    def context_length(self) -> int | None:
        """Most tokens that prompt and answer may have together; None if the config does not say.

        In encoder-decoder models, most tokens of each.
        """
        return getattr(text_config(self.hf), "max_position_embeddings", None)

    @property
    def layer_kinds(self) -> list[str] | None:
        """What attention each block has, as transformers names it; None if the config is silent."""
        return getattr(text_config(self.hf), "layer_types", None)

    @property
    def rotary_limit(self) -> int | None:
        """Tokens up to which positions are read alike in any batch; None if they always are.

        Dynamic and LongRoPE embeddings change for the whole text once it is longer. Attention that
        grows sharper with the position (Llama 4) counts padding as positions.
        """
        config = text_config(self.hf)
        rope = getattr(config, "rope_parameters", None) or {}
        # One set of parameters, or one for each type of layer.
        nested = [value for value in rope.values() if isinstance(value, dict)]
        limits = [
            each.get("original_max_position_embeddings")
            or getattr(config, "original_max_position_embeddings", None)
            or config.max_position_embeddings
            for each in (rope, *nested)
            if each.get("rope_type") in ("dynamic", "longrope")
        ]
        if getattr(config, "attn_temperature_tuning", False):
            limits.append(int(config.floor_scale) - 1)
        return min(limits, default=None)

    @property
    def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer (generation config, else config)."""
        ids = setting(self.hf, "eos_token_id")
        return frozenset([ids] if isinstance(ids, int) else ids or ())

    def text_of(self, ids: list[int]) -> str:
        """The text of generated ids, special tokens left out.

        Ids that the tokenizer does not know are left out, too: embeddings often have more rows than
        there are tokens.
        """
        return self._decoded(ids, skip_special_tokens=True)

    def token_text(self, token_id: int) -> str:
        """One token as text, as the tokenizer prints it alone; empty if it does not know it."""
        return self._decoded([token_id], skip_special_tokens=False)

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """A text cut at its tokens: joined, the pieces are the text of `ids`.

        A letter that several tokens spell is with the last of them; the others are empty. What is
        left of a letter at the beginning is left out.
        """
        found, done = [], ""
        for end in range(1, len(ids) + 1):
            text = self._decoded(ids[:end], skip_special_tokens=False).lstrip("\ufffd")
            if end < len(ids):
                text = text.rstrip("\ufffd")
            found.append(text[len(done) :])
            done = text
        return tuple(found)

    def _card(self) -> Card:
        count, size = self.hf.num_parameters(), human_bytes(self.hf.get_memory_footprint())
        places = ", ".join(sorted({str(each) for each in self.devices}))
        facts = [
            ("kind", f"{type(self.hf).__name__}, {self.n_layers} blocks of width {self.d_model}"),
            ("weights", f"{count:,} in {str(self.dtype).removeprefix('torch.')}, {size}"),
            ("device", places),
            ("prompts", f"up to {self.context_length or 'any number of'} tokens, answers included"),
        ]
        more = [self.has_encoder and "cross-attention", self.layer_kinds and "kind of attention"]
        header = ["blocks", "attention", "feed-forward", *(name for name in more if name)]
        return Card(self.name, [Rows(facts), Rows(_found_modules(self), header)])

    def _decoded(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        try:
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))
        except (ValueError, TypeError, LookupError, OverflowError):
            # Tokenizers written in Python stumble over an id that others leave out.
            if len(ids) <= 1:
                return ""
        known = [each for each in ids if self._decoded([each], skip_special_tokens=False)]
        if len(known) == len(ids):
            return ""
        return self._decoded(known, skip_special_tokens=skip_special_tokens)


def _found_modules(model: Model) -> list[tuple[str, ...]]:
    """What was found in which blocks; those that are alike share a row."""
    names = {module: name for name, module in model.hf.named_modules()}
    kinds = model.layer_kinds or [""] * model.n_layers
    alike: dict[tuple[str, ...], list[int]] = {}
    for layer, (block, kind) in enumerate(zip(model.blocks, kinds, strict=False)):
        inside = f"{names.get(block.whole, '')}."
        found = (
            "" if one is None else f"{names[one].removeprefix(inside)} ({type(one).__name__})"
            for one in (block.attn, block.ffn, block.cross_attn)
        )
        alike.setdefault((*found, kind), []).append(layer)
    return [(_ranges(layers), *filter(None, found)) for found, layers in alike.items()]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours together: ``0-3, 5``."""
    starts = [one for one in numbers if one - 1 not in numbers]
    ends = [one for one in numbers if one + 1 not in numbers]
    both = zip(starts, ends, strict=True)
    return ", ".join(f"{one}" if one == last else f"{one}-{last}" for one, last in both)


def identity_of(hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Plain data that tells a model from another: hashes of config, weights and tokenizer."""
    config = hf.config.to_dict()
    for volatile in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(volatile, None)
    return {
        "type": hf.config.model_type,
        "config_hash": canonical_hash({key: repr(value) for key, value in config.items()}),
        "weights_hash": _weights_hash(hf),
        "tokenizer_hash": _tokenizer_hash(tokenizer),
        "dtype": str(hf.dtype).removeprefix("torch."),
        "parameters": hf.num_parameters(),
        "commit": getattr(hf.config, "_commit_hash", None),
        **adapters_of(hf),
        **({} if (method := quantized.method_of(hf)) is None else {"quantization": method}),
    }


def identity_now(hf: PreTrainedModel, known: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a model that was wrapped before, as it is now.

    Its weights may have been trained or moved to another type since, and its adapters switched.

    Args:
        hf: the model.
        known: its `identity_of` when it was wrapped, with what loading added.
    """
    kept = {name: value for name, value in known.items() if name not in _OF_ADAPTERS}
    return kept | {
        "weights_hash": _weights_hash(hf),
        "dtype": str(hf.dtype).removeprefix("torch."),
        **adapters_of(hf),
    }


_OF_ADAPTERS = ("active_adapters", "adapters_hash")


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = tokenizer.get_vocab() if backend is None else _without_state(backend)
    return canonical_hash([content, getattr(tokenizer, "chat_template", None)])


def _without_state(backend: Any) -> str:
    """A tokenizer as JSON, without the padding and truncation that its last call has set."""
    if backend.padding is None and backend.truncation is None:
        return str(backend.to_str())
    # On a copy, since the tokenizer may be in use.
    plain = type(backend).from_str(backend.to_str())
    plain.no_padding()
    plain.no_truncation()
    return str(plain.to_str())


def _fetched(hf: PreTrainedModel, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight, fetched if accelerate keeps it elsewhere until it is used."""
    if tensor.device.type != "meta":
        return tensor
    owner, _, attribute = name.rpartition(".")
    for hook in offload_hooks(hf.get_submodule(owner)):
        if hook.weights_map is not None and attribute in hook.weights_map:
            kept: torch.Tensor = hook.weights_map[attribute]
            return kept
    raise ModelError(f"The weight {name!r} holds no numbers: load the model with from_pretrained.")


def rounded_weights_hash(hf: PreTrainedModel) -> str:
    """The hash of weights in bfloat16: the same whether a model was loaded in that or in float32.

    A training whose updates are lost in bfloat16 does not change it.
    """
    return _weights_hash(hf, torch.bfloat16)


def _weights_hash(hf: PreTrainedModel, dtype: torch.dtype | None = None) -> str:
    """Hash of a sample of every tensor: cheap for any size; sees training, not every small edit."""
    digest = hashlib.sha256()
    for name, placed in hf.state_dict().items():
        digest.update(name.encode())
        for part in quantized.plain_tensors(_fetched(hf, name, placed)):
            digest.update(repr(tuple(part.shape)).encode())
            flat = part.detach().reshape(-1)
            sample = flat[:: max(flat.numel() // 64, 1)][:64]
            digest.update(sample.to(dtype or sample.dtype).float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
