"""INCLINE: linear maps from a language to English, of the output of every block."""

from __future__ import annotations

from crosslatent.methods.linear_maps import LinearMaps
from crosslatent.methods.method import register_method


@register_method("incline-block")
class InclineBlock(LinearMaps):
    """The placement that the paper defines."""

    title = "INCLINE"
    about = (
        "Maps the output of every block at the prompt's last token towards the counterpart's, "
        "and adds a share of the image."
    )
    component = "block"
