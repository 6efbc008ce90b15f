"""Models: the only package that knows architecture names, padding, devices and module outputs."""

from crosslatent.model.loading import load, wrap
from crosslatent.model.model import Model
from crosslatent.model.prompts import PromptBatch, encode, encode_batch
from crosslatent.model.sites import entering, reading, rewriting

__all__ = [
    "Model",
    "PromptBatch",
    "encode",
    "encode_batch",
    "entering",
    "load",
    "reading",
    "rewriting",
    "wrap",
]
