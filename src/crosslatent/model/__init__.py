"""Models: the only package that knows architecture names, padding, devices and module outputs.

Names are imported when first used: what a folder holds (`folder`) and prompts (`chat`) need no
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.model.loading import load, loaded, shipped_model, wrap
    from crosslatent.model.model import Model
    from crosslatent.model.prompts import PromptBatch, encode, encode_batch
    from crosslatent.model.sites import entering, reading, rewriting

__all__ = [
    "Model", "PromptBatch", "encode", "encode_batch", "entering", "load",
    "loaded", "reading", "rewriting", "shipped_model", "wrap",
]  # fmt: skip

__getattr__, __dir__ = lazily(
    __name__,
    {
        "loading": ("load", "loaded", "shipped_model", "wrap"),
        "model": ("Model",),
        "prompts": ("PromptBatch", "encode", "encode_batch"),
        "sites": ("entering", "reading", "rewriting"),
    },
)
