"""A circuit as a model of transformers: every weight is written down, and none is trained.

Features are random orthonormal directions of the residual stream, those of words random ones in
what is left. Noise adds heads and units of random weights wherever the circuit leaves a place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from crosslatent.core.errors import UsageError
from crosslatent.planted.circuit import (
    END,
    FIRST,
    LAST,
    LEAST,
    SILENCE,
    SILENT,
    SINK,
    Circuit,
    CopyHead,
    Feature,
    Unit,
)
from crosslatent.planted.logic import BALLAST, CONSTANT, FEATURES, Floats

Family = Literal["llama", "gemma2"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_UNKNOWN, _STOP = "<unk>", "<end>"
_LOOK = 40.0
"""By how much a head's score of the token that it copies lies above all others."""
_LOUD = 12.0
"""Logits of a word for each 1 of its feature."""
_HEADS = 3


@dataclass(frozen=True, slots=True)
class _Shape:
    """Sizes of the model."""

    width: int
    units: int

    @property
    def head(self) -> int:
        return self.width // _HEADS


class Directions:
    """The direction of every feature in the residual stream.

    Args:
        circuit: whose features they are.
        rng: draws them.

    Attributes:
        constant: the part that all tokens have; a unit vector.
        ballast: what modules add before a norm of their own; a unit vector.
        of: of each feature, as rows; orthonormal but for those of words.
        width: of the stream, a multiple of 48.
    """

    def __init__(self, circuit: Circuit, rng: np.random.Generator) -> None:
        """Draw them."""
        words = circuit.superposed
        named = [feature for feature in circuit.features if feature not in set(words)]
        # Room for words, which lie in what is left, at a third of their number or more; and in a
        # head for all that it copies.
        copied = max((len(head.copies) for head in circuit.heads), default=0)
        least = max(2 + len(named) + max(24, len(words) // 3), _HEADS * (copied + 1))
        self.width = 48 * math.ceil(least / 48)
        basis, _ = np.linalg.qr(rng.normal(size=(self.width, self.width)))
        self.constant, self.ballast = basis[:, 0], basis[:, 1]
        self.of: dict[Feature, Floats] = {f: basis[:, n + 2] for n, f in enumerate(named)}
        left = basis[:, len(named) + 2 :]
        for word in words:
            drawn = left @ rng.normal(size=left.shape[1])
            self.of[word] = drawn / np.linalg.norm(drawn)


def build(
    circuit: Circuit, folder: Path, *, family: Family = "llama", noise: float = 0.0, seed: int = 0
) -> Directions:
    """Write a model and its tokenizer into a folder.

    Args:
        circuit: what it computes.
        folder: gets the model, in float32.
        family: ``llama``, or ``gemma2``, whose modules have norms after them.
        noise: length of what the random part of each module writes where it reads about as much
            as `logic.FEATURES`, in lengths of a feature.
        seed: of directions and noise.

    Returns:
        The directions of its features.

    Raises:
        UsageError: `noise` is no length, or the family is none of `FAMILIES`.
    """
    check(family, noise)
    rng = np.random.default_rng(seed)
    directions = Directions(circuit, rng)
    blocks = range(circuit.depth)
    most = max(sum(unit.block == block for unit in circuit.units) for block in blocks)
    shape = _Shape(directions.width, 64 * math.ceil((most + 64) / 64))
    words = sorted({SILENCE, *circuit.tokens, *circuit.words})
    vocabulary = {text: n for n, text in enumerate([_UNKNOWN, _STOP, FIRST, LAST, *words])}
    model = _empty(family, shape, circuit.depth, len(vocabulary))
    writer = _Writer(circuit, directions, shape, noise, family == "gemma2", rng)
    with torch.no_grad():
        embedded = writer.embeddings(vocabulary)
        if family == "gemma2":
            embedded = embedded / math.sqrt(shape.width)  # the model multiplies by it
        _set(model.get_input_embeddings(), embedded)
        _set(model.get_output_embeddings(), writer.head(vocabulary))
        decoder: Any = model.get_decoder()
        for block, layer in enumerate(decoder.layers):
            for name, values in writer.attention(block).items():
                _set(getattr(layer.self_attn, name), values)
            for name, values in writer.feed_forward(block).items():
                _set(getattr(layer.mlp, name), values)
            if family == "gemma2":
                gain = math.sqrt((BALLAST**2) / shape.width)
                layer.post_attention_layernorm.weight.fill_(gain - 1)
                layer.post_feedforward_layernorm.weight.fill_(gain - 1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    _tokenizer(vocabulary).save_pretrained(folder)
    return directions


def check(family: str, noise: float) -> None:
    """Refuse what no model can be made of.

    Raises:
        UsageError: `noise` is no length, or the family is none of `FAMILIES`.
    """
    if not 0 <= noise < math.inf:
        raise UsageError(f"The noise is {noise}, but a length belongs there: 0 or more.")
    if family not in FAMILIES:
        raise UsageError(f"Unknown family {family!r}: use one of {', '.join(FAMILIES)}.")


class _Writer:
    """The matrices of a circuit."""

    def __init__(
        self,
        circuit: Circuit,
        directions: Directions,
        shape: _Shape,
        noise: float,
        norms_after: bool,
        rng: np.random.Generator,
    ) -> None:
        self._circuit = circuit
        self._directions = directions
        self._shape = shape
        self._noise = noise
        self._norms_after = norms_after
        self._rng = rng
        # What RMSNorm divides by: times this, a feature that is there reads as 1.
        self._scale = math.sqrt((CONSTANT**2 + FEATURES) / shape.width)
        ballast = BALLAST**2 if norms_after else 0
        self._ffn_scale = math.sqrt((CONSTANT**2 + FEATURES + ballast) / shape.width)
        self._one = directions.constant / CONSTANT
        """Reads as 1 in every token."""

    def embeddings(self, vocabulary: dict[str, int]) -> Floats:
        """Constant and features of each token, tokens times width."""
        found = np.tile(self._directions.constant * CONSTANT, (len(vocabulary), 1))
        own = {LAST: {END: 1.0, SILENT: LEAST}, FIRST: {SINK: 1.0}}
        for token, features in (self._circuit.tokens | own).items():
            for feature, value in features.items():
                found[vocabulary[token]] += value * self._directions.of[feature]
        return found

    def head(self, vocabulary: dict[str, int]) -> Floats:
        """Directions of the words that can be answered, tokens times width."""
        found = np.zeros((len(vocabulary), self._shape.width))
        for word, feature in {SILENCE: SILENT, **self._circuit.words}.items():
            loud = _LOUD * self._circuit.loudness.get(word, 1.0)
            found[vocabulary[word]] = self._directions.of[feature] * loud * self._scale
        return found

    def attention(self, block: int) -> dict[str, Floats]:
        """The four matrices of a block's attention."""
        width, size = self._shape.width, self._shape.head
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        found = {name: np.zeros((width, width)) for name in names}
        heads = [head for head in self._circuit.heads if head.block == block]
        for place, head in enumerate(heads):
            self._copying(head, place * size, found)
        if self._noise:
            for place in range(len(heads), _HEADS):
                share = self._noise / (_HEADS - len(heads))
                self._random_head(slice(place * size, (place + 1) * size), found, share)
        if self._norms_after:
            found["v_proj"][-1] = self._scale * self._one
            found["o_proj"][:, -1] = BALLAST * self._directions.ballast
        return found

    def _copying(self, head: CopyHead, begin: int, found: dict[str, Floats]) -> None:
        """A head in which the last token looks at one with a flag, and all others at the first."""
        size, of = self._shape.head, self._directions.of
        # The slowest pairs of the rotary embedding: as good as no position.
        looks = ((of[END], of[head.flag], _LOOK), (self._one, of[SINK], _LOOK / 2))
        for n, (asks, gives, score) in enumerate(looks):
            strength = self._scale * math.sqrt(score * math.sqrt(size))
            found["q_proj"][begin + size // 2 - 1 - n] = strength * asks
            found["k_proj"][begin + size // 2 - 1 - n] = strength * gives
        for n, one in enumerate(head.copies):
            found["v_proj"][begin + n] = self._scale * of[one.read]
            found["o_proj"][:, begin + n] = one.strength * of[one.write]

    def _random_head(self, at: slice, found: dict[str, Floats], share: float) -> None:
        size, width = self._shape.head, self._shape.width
        for name in ("q_proj", "k_proj"):
            found[name][at] = self._rng.normal(size=(size, width)) * 0.3
        read, write = self._apart((size, width)), self._apart((size, width)).T
        found["v_proj"][at] = read * self._scale / math.sqrt(width)
        found["o_proj"][:, at] = write * share / math.sqrt(size * FEATURES)

    def feed_forward(self, block: int) -> dict[str, Floats]:
        """The three matrices of a block's feed-forward."""
        width, places = self._shape.width, self._shape.units
        gate, up = np.zeros((places, width)), np.zeros((places, width))
        down = np.zeros((width, places))
        units = [unit for unit in self._circuit.units if unit.block == block]
        for n, unit in enumerate(units):
            gate[n], up[n], down[:, n] = self._unit(unit)
        free = slice(len(units), places - 1)
        if self._noise:
            count = free.stop - free.start
            gate[free] = self._apart((count, width)) * self._ffn_scale
            signs = self._rng.choice([-1.0, 1.0], size=(count, 1))
            up[free] = self._ffn_scale * self._one * signs
            # A gate that is random lets half of the square of what it reads pass.
            length = self._noise / math.sqrt(width * count * FEATURES / 2)
            down[:, free] = self._apart((count, width)).T * length
        if self._norms_after:
            open_gate = 3.0
            gate[-1], up[-1] = self._ffn_scale * self._one * open_gate, self._ffn_scale * self._one
            down[:, -1] = -BALLAST * self._directions.ballast / _silu(open_gate)
        return {"gate_proj": gate, "up_proj": up, "down_proj": down}

    def _unit(self, unit: Unit) -> tuple[Floats, Floats, Floats]:
        of, sharp = self._directions.of, self._circuit.sharpness
        total = np.sum([of[feature] for feature in unit.reads], axis=0)
        gate = sharp * self._ffn_scale * (total - unit.threshold * self._one)
        up = self._ffn_scale * (self._one if unit.times is None else of[unit.times])
        return gate, up, of[unit.write] * unit.strength / _silu(sharp * unit.margin)

    def _apart(self, shape: tuple[int, int]) -> Floats:
        """Random rows that neither read nor write what all tokens have."""
        found = self._rng.normal(size=shape)
        for direction in (self._directions.constant, self._directions.ballast):
            found -= np.outer(found @ direction, direction)
        return found


def _empty(family: Family, shape: _Shape, depth: int, tokens: int) -> PreTrainedModel:
    """A model of zeros whose norms change nothing."""
    settings: dict[str, Any] = {
        "vocab_size": tokens,
        "hidden_size": shape.width,
        "intermediate_size": shape.units,
        "num_hidden_layers": depth,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "head_dim": shape.head,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e8},
        "rms_norm_eps": 1e-6,
    }
    model: PreTrainedModel
    if family == "gemma2":
        model = Gemma2ForCausalLM(
            Gemma2Config(
                **settings,
                hidden_activation="silu",
                query_pre_attn_scalar=shape.head,
                attn_logit_softcapping=None,
                final_logit_softcapping=None,
            )
        )
    else:
        model = LlamaForCausalLM(LlamaConfig(**settings))
    neutral = 0.0 if family == "gemma2" else 1.0
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(neutral if weight.ndim == 1 else 0.0)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=1, do_sample=False)
    return model


def _set(module: Any, values: Floats) -> None:
    module.weight.copy_(torch.from_numpy(values))


def _silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def _tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    """Words between blanks are tokens; the first token comes before every prompt."""
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A", special_tokens=[(FIRST, vocabulary[FIRST])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=FIRST,
        eos_token=_STOP,
        pad_token=_STOP,
        unk_token=_UNKNOWN,
        model_max_length=64,
    )
