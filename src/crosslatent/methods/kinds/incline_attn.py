"""INCLINE: linear maps from a language to English, of the output of attention in every block."""

from __future__ import annotations

from crosslatent.methods.linear_maps import LinearMaps
from crosslatent.methods.method import register_method


@register_method("incline-attn")
class InclineAttention(LinearMaps):
    """One of the paper's other placements."""

    title = "INCLINE on attention"
    about = (
        "Maps the output of attention in every block at the prompt's last token towards the "
        "counterpart's, and adds a share of the image."
    )
    component = "attn"
