"""Checks of an evaluation before anything is answered, and how trained models are opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from crosslatent.core.errors import ModelError, PromptError, SpaceError, UsageError
from crosslatent.core.languages import same_language
from crosslatent.core.specs import check_component, resolve_layer
from crosslatent.lens.evaluation.asking import Asking
from crosslatent.lens.evaluation.conditions import (
    Condition,
    Steered,
    Transplanted,
    Tuned,
    check_folders,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.retention import check_sizes, check_tokenizers, vocabulary_of
from crosslatent.lens.origin import check_decoder, check_origin, check_shape
from crosslatent.lens.space import Space
from crosslatent.lens.steer import check_steering
from crosslatent.model import Model, load
from crosslatent.model.loading import read_ahead
from crosslatent.model.prompts import encode_many
from crosslatent.sweeps.tokens import prompts_of

_COMPARED = 64
"""Questions whose tokens are compared between two models' tokenizers."""


def check_all(asking: Asking, conditions: Iterable[Condition]) -> None:
    """Refuse conditions that the model or the questions cannot have.

    Raises:
        UsageError: of what `evaluate` names, with its subclasses.
    """
    for condition in conditions:
        steering, transplant = steered_of(condition), transplanted_of(condition)
        if steering is not None:
            check_steered(asking, steering)
        if transplant is not None:
            check_transplanted(asking, transplant)
        if isinstance(condition, Tuned):
            check_tuned(asking, condition)


def check_steered(asking: Asking, steering: Steered) -> None:
    """Refuse a steering that does not fit the model or the questions.

    Raises:
        SpaceError: the space is another model's, has another central language, or lacks the
            language of a question.
        UsageError: see `lens.steer.steered`.
    """
    model, space = asking.model, steering.space
    check_shape(model, space)
    check_origin(model, space)
    if not _same(space.central, asking.central):
        raise SpaceError(
            f"The central language of the space is {space.central!r}, but that of the evaluation "
            f"is {asking.central!r}: give a space with it."
        )
    for lang in dict.fromkeys(question.lang for question in asking.targets):
        check_steering(model, space, steering.towards(language_in(space, lang)))
    check_steering(model, space, steering.towards(space.central))


def language_in(space: Space, lang: str) -> str:
    """The code by which a space knows a language: "zh" for "zh-CN", say.

    Raises:
        SpaceError: it does not know it.
    """
    for known in space.languages:
        if _same(known, lang):
            return known
    raise SpaceError(
        f"The language space has no language {lang!r}: it has {', '.join(space.languages)}."
    )


def check_transplanted(asking: Asking, transplant: Transplanted) -> None:
    """Refuse a transplant that the model or the questions cannot have.

    Raises:
        PairError: no such component or block.
        PromptError: an item has no counterpart.
    """
    check_component(transplant.component)
    resolve_layer(transplant.source, asking.model.n_layers, "source")
    resolve_layer(transplant.target, asking.model.n_layers, "target")
    for question in asking.questions:
        if not question.item.aux:
            raise PromptError(
                f"The transplant {transplant.name!r} needs a counterpart of every question, but "
                f"item {question.item.id!r} has none: have them translated, or leave it out."
            )


def check_tuned(asking: Asking, tuned: Tuned) -> None:
    """Refuse trained models that are not there, do not fit or are for no question.

    Weights are left unread.

    Raises:
        UsageError: a language that no question has.
        ModelError: there is no such model, a folder lacks something, or the model has another
            vocabulary or tokenizer, or another chat template that is used.
    """
    check_folders(tuned)
    for lang, source in sources_of(tuned).items():
        langs = dict.fromkeys(question.lang for question in asking.targets)
        if lang is not None and not any(_same(lang, known) for known in langs):
            raise UsageError(
                f"The condition {tuned.name!r} has a model for {lang!r}, but the questions are in "
                f"{', '.join(langs) or 'none but the central language'}: leave it out."
            )
        if isinstance(source, Model):
            check_same_tokens(asking.model, source, asking)
        else:
            check_source(source, asking)


def check_source(source: str | Path, asking: Asking) -> None:
    """Refuse a trained model by its config and tokenizer, before its weights are read.

    Raises:
        ModelError: see `check_tuned`.
    """
    config, tokenizer = read_ahead(source)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{str(source)!r} is an encoder-decoder model, and the unmodified model is none: give "
            "a model that was trained from it."
        )
    base = asking.model
    check_sizes(base, int(config.get_text_config().vocab_size), str(source))
    _check_readings(base, replace(base, tokenizer=tokenizer, name=str(source)), asking)


def opened(source: Model | str | Path, base: Model) -> Model:
    """A trained model, loaded as the unmodified one is placed.

    Raises:
        ModelError: it cannot be loaded.
    """
    if isinstance(source, Model):
        return source
    device = "spread" if len(base.devices) > 1 else str(base.device)
    return load(source, device=device, dtype=str(base.dtype).removeprefix("torch."))


def check_same_tokens(base: Model, tuned: Model, asking: Asking) -> None:
    """Refuse a trained model that reads the questions as other tokens.

    Raises:
        ModelError: it has another vocabulary or tokenizer, or another chat template that is used.
    """
    check_decoder(tuned)
    check_sizes(base, vocabulary_of(tuned), tuned.name)
    _check_readings(base, tuned, asking)


def _check_readings(base: Model, tuned: Model, asking: Asking) -> None:
    check_tokenizers(base, tuned)
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


def _same(one: str, other: str) -> bool:
    return one == other or same_language(one, other)
