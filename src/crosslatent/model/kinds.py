"""Which class of transformers loads a model: decided by its config, never guessed.

A checkpoint's `architectures` says which class wrote it. A composite config (vision and text) may
also be known to the class of its text decoder alone, which would find none of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from crosslatent.core.errors import ModelError
from crosslatent.model.structure import refuse_states

_ENCODER_ONLY = frozenset({"bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model that answers prompts.

    Attributes:
        loads: the class of transformers that loads it.
        known: the class that each model type has there, by name.
        brought: under what name a model that brings code says that it has such a class.
    """

    loads: Any
    known: Mapping[str, Any]
    brought: str

    def takes(self, config: PreTrainedConfig) -> bool:
        """Whether a model with this config is of this kind."""
        brings_code = self.brought in (getattr(config, "auto_map", None) or {})
        return config.model_type in self.known or brings_code


CAUSAL = Kind(AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "AutoModelForCausalLM")
TWO_STACKS = Kind(
    AutoModelForSeq2SeqLM, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, "AutoModelForSeq2SeqLM"
)
SEEING = Kind(
    AutoModelForImageTextToText,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    "AutoModelForImageTextToText",
)


def kind_of(config: PreTrainedConfig) -> Kind:
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
    kind = SEEING if _was_written_by(config, SEEING) or not CAUSAL.takes(config) else CAUSAL
    _refuse_recurrent(config, kind)
    return kind


def _was_written_by(config: PreTrainedConfig, kind: Kind) -> bool:
    known = kind.known.get(config.model_type)
    return known is not None and known in (getattr(config, "architectures", None) or ())


def _refuse_recurrent(config: PreTrainedConfig, kind: Kind) -> None:
    """Before weights are read."""
    mapping = kind.loads._model_mapping  # noqa: SLF001 - the only way to ask it by config
    if type(config) in mapping:
        refuse_states(mapping[type(config)], config.get_text_config(decoder=True))
