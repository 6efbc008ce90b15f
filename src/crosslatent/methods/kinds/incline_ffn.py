"""INCLINE: linear maps from a language to English, of what the feed-forward gives."""

from __future__ import annotations

from crosslatent.methods.linear_maps import LinearMaps
from crosslatent.methods.method import register_method


@register_method("incline-ffn")
class InclineFeedForward(LinearMaps):
    """The placement of the released code."""

    title = "INCLINE on the feed-forward"
    about = (
        "Maps the output of the feed-forward in every block at the prompt's last token towards the "
        "counterpart's, and adds a share of the image."
    )
    component = "ffn"
