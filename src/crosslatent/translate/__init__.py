"""Counterpart prompts by translation: what is missing of a pair of prompts is made from the other.

`add_counterparts` is the whole job; `OwnTranslator` and `load_translator` are what translates.
"""

from __future__ import annotations

from crosslatent.translate.counterpart_prompts import (
    TranslatedItems,
    add_counterparts,
    all_translated,
    parallel_line,
    write_parallel,
    write_task,
)
from crosslatent.translate.translations import TranslationCache, Translator, default_path
from crosslatent.translate.translators import (
    OwnTranslator,
    Seq2SeqTranslator,
    load_translator,
    wrap_translator,
)

__all__ = [
    "OwnTranslator",
    "Seq2SeqTranslator",
    "TranslatedItems",
    "TranslationCache",
    "Translator",
    "add_counterparts",
    "all_translated",
    "default_path",
    "load_translator",
    "parallel_line",
    "wrap_translator",
    "write_parallel",
    "write_task",
]
