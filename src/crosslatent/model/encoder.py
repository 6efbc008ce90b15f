"""Models of two stacks: an encoder reads the prompt, and the decoder begins with a token or two.

A transplant happens on the decoder's side (docs/methods.md, 1.5): its prompt is the start token
and, where the generation config forces a first token (the language of mBART and NLLB), that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from crosslatent.core.errors import ModelError


@dataclass
class _Output(BaseModelOutput):
    """What models take for an encoder's output; those with experts look for their routers, too."""

    router_logits: None = None
    router_probs: None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder made of prompts.

    Attributes:
        states: its last hidden states, batch pos d_model.
        mask: 1 for real tokens of the prompts, 0 for padding, batch pos.
    """

    states: Tensor
    mask: Tensor

    @property
    def arguments(self) -> dict[str, Any]:
        """As a model takes them."""
        return {
            "encoder_outputs": _Output(last_hidden_state=self.states),
            "attention_mask": self.mask,
        }

    def select(self, rows: Tensor) -> Encoded:
        """These rows alone, in this order."""
        return Encoded(self.states[rows.to(self.states.device)], self.mask[rows])

    def expand(self, n_rows: int) -> Encoded:
        """One prompt for many rows, as a view."""
        return Encoded(self.states.expand(n_rows, -1, -1), self.mask.expand(n_rows, -1))


def has_encoder(hf: PreTrainedModel) -> bool:
    """Whether an encoder reads the prompt, as the model's config says."""
    return bool(getattr(hf.config, "is_encoder_decoder", False))


def refuse_encoder(hf: PreTrainedModel, what: str, instead: str) -> None:
    """Refuse what works for decoders alone.

    Args:
        hf: the model.
        what: what is asked for, as a message begins.
        instead: what to do, as it ends.

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
    start = _setting(hf, "decoder_start_token_id")
    if not isinstance(start, int):
        raise ModelError(
            f"{type(hf).__name__} does not say what its decoder starts with "
            f"(decoder_start_token_id is {start!r}): set it to one token id in "
            "generation_config.json, or on model.generation_config."
        )
    forced = _setting(hf, "forced_bos_token_id")
    return (start,) if forced is None else (start, int(forced))


def _setting(hf: PreTrainedModel, name: str) -> Any:
    """A setting of the generation config, else of the config."""
    value = getattr(getattr(hf, "generation_config", None), name, None)
    return getattr(hf.config, name, None) if value is None else value
