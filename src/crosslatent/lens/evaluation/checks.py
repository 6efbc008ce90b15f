"""Checks of an evaluation before anything is answered, and how trained models are opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from crosslatent.answering import prompts_of
from crosslatent.core.errors import ModelError, PromptError, SpaceError, UsageError
from crosslatent.core.specs import check_component, resolve_layer
from crosslatent.lens.compatibility import check_decoder, check_origin, check_shape
from crosslatent.lens.evaluation.asking import EvaluationPlan, is_in
from crosslatent.lens.evaluation.evaluated_conditions import (
    Condition,
    Steered,
    Transplanted,
    Tuned,
    check_folders,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.retention import check_vocabulary
from crosslatent.lens.space import Space
from crosslatent.lens.steering import interventions_of
from crosslatent.model import Model, load
from crosslatent.model.loading import read_ahead
from crosslatent.model.prompts import encode_many

_COMPARED = 64
"""Questions whose tokens are compared between two models' tokenizers."""


def check_all(asking: EvaluationPlan, conditions: Iterable[Condition]) -> None:
    """Refuse conditions that the model or the questions cannot have.

    Raises:
        UsageError: of what `evaluate` names, with its subclasses.
    """
    for condition in conditions:
        if (steering := steered_of(condition)) is not None:
            _check_steered(asking, steering)
        if (transplant := transplanted_of(condition)) is not None:
            _check_transplanted(asking, transplant)
        if isinstance(condition, Tuned):
            _check_tuned(asking, condition)


def _check_steered(asking: EvaluationPlan, steering: Steered) -> None:
    model, space = asking.model, steering.space
    check_shape(model, space)
    check_origin(model, space)
    if not is_in(space.central, asking.central):
        raise SpaceError(
            f"The central language of the space is {space.central!r}, but that of the evaluation "
            f"is {asking.central!r}: give a space with it."
        )
    langs = dict.fromkeys(language_in(space, question.lang) for question in asking.targets)
    for lang in (*langs, space.central):
        interventions_of(model, space, steering.towards(lang))


def language_in(space: Space, lang: str) -> str:
    """The code by which a space knows a language: "zh" for "zh-CN", say.

    Raises:
        SpaceError: it does not know it.
    """
    for known in space.languages:
        if is_in(known, lang):
            return known
    raise SpaceError(
        f"The language space has no language {lang!r}: it has {', '.join(space.languages)}."
    )


def _check_transplanted(asking: EvaluationPlan, transplant: Transplanted) -> None:
    check_component(transplant.component)
    resolve_layer(transplant.source, asking.model.n_layers, "source")
    resolve_layer(transplant.target, asking.model.n_layers, "target")
    for question in asking.questions:
        if not question.item.aux:
            raise PromptError(
                f"The transplant {transplant.name!r} needs a counterpart of every question, but "
                f"item {question.item.id!r} has none: have them translated, or leave it out."
            )


def _check_tuned(asking: EvaluationPlan, tuned: Tuned) -> None:
    """Refuse trained models that are not there, do not fit or are for no question, weights unread.

    Raises:
        UsageError: a language that no question has.
        ModelError: there is no such model, a folder lacks something, or the model has another
            vocabulary or tokenizer, or another chat template that is used.
    """
    check_folders(tuned)
    langs = dict.fromkeys(question.lang for question in asking.targets)
    for lang, source in sources_of(tuned).items():
        if lang is not None and not any(is_in(lang, known) for known in langs):
            raise UsageError(
                f"The condition {tuned.name!r} has a model for {lang!r}, but the questions are in "
                f"{', '.join(langs) or 'none but the central language'}: leave it out."
            )
        if isinstance(source, Model):
            check_same_tokens(asking, source)
        else:
            _check_source(source, asking)


def _check_source(source: str | Path, asking: EvaluationPlan) -> None:
    """Refuse a trained model by its config and tokenizer, before its weights are read."""
    config, tokenizer = read_ahead(source)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{str(source)!r} is an encoder-decoder model, and the unmodified model is none: give "
            "a model that was trained from it."
        )
    unread = replace(asking.model, tokenizer=tokenizer, name=str(source))
    _check_readings(asking, unread, int(config.get_text_config().vocab_size))


def opened(source: Model | str | Path, base: Model) -> Model:
    """A trained model, loaded as the unmodified one is placed.

    Raises:
        ModelError: it cannot be loaded.
    """
    if isinstance(source, Model):
        return source
    device = "spread" if len(base.devices) > 1 else str(base.device)
    return load(source, device=device, dtype=str(base.dtype).removeprefix("torch."))


def check_same_tokens(asking: EvaluationPlan, tuned: Model) -> None:
    """Refuse a trained model that reads the questions as other tokens.

    Raises:
        ModelError: it has another vocabulary or tokenizer, or another chat template that is used.
    """
    check_decoder(tuned)
    _check_readings(asking, tuned)


def _check_readings(asking: EvaluationPlan, tuned: Model, size: int | None = None) -> None:
    base = asking.model
    check_vocabulary(base, tuned, size)
    if base.tokenizer is tuned.tokenizer:
        return
    prompts = [prompt for each in asking.questions[:_COMPARED] for prompt in prompts_of(each.item)]
    prompts = [prompt for prompt in prompts if prompt.text]
    one, other = (encode_many(model, prompts, chat=asking.chat) for model in (base, tuned))
    if one != other:
        raise ModelError(
            f"The tokenizer of {tuned.name} reads the questions otherwise than that of "
            f"{base.name}: compare models that were trained from the same one."
        )
