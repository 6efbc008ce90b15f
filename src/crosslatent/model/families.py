"""The odd ones: model types whose modules have to be named.

Blocks, attention and feed-forward of almost every family are found by `structure` and proven by
`proof`; no line here is needed for them. A row belongs here where the module that a child's name
suggests does not return what is added to the residual stream, and the one that does is inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from crosslatent.core.errors import ModelError


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
        return Names(
            self.blocks or other.blocks,
            self.attn or other.attn,
            self.ffn or other.ffn,
            self.cross_attn or other.cross_attn,
        )


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
