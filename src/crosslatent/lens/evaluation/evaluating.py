"""`evaluate`: a model under several conditions on one task, in pairs with the unmodified model.

Lens is judged as in its paper (arXiv 2410.04407, section 4): target languages must gain and the
central one must not lose; steering and transplants are compared with training. docs/methods.md, 7.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np

from crosslatent import stats
from crosslatent.core.languages import ENGLISH, can_identify, same_language
from crosslatent.core.normal import repeat_notes
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import Chat, chat_of, right_now
from crosslatent.interventions import condition as interventions
from crosslatent.lens.compatibility import check_decoder
from crosslatent.lens.evaluation import retention
from crosslatent.lens.evaluation.asking import EvalPrompt, EvaluationPlan, plan
from crosslatent.lens.evaluation.checks import check_all
from crosslatent.lens.evaluation.evaluated_conditions import (
    Condition,
    Intervened,
    Steered,
    Tuned,
    check_conditions,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.evaluation_record import (
    ALL,
    AnswerRow,
    ConditionResult,
    Evaluation,
)
from crosslatent.lens.evaluation.exposure import Exposure, exposures, notes_of, refuse_seen
from crosslatent.lens.evaluation.retention import HeldOut
from crosslatent.lens.evaluation.running import ConditionRun, Show, asked_of, variants_of
from crosslatent.lens.lens_settings import EvaluationSpec
from crosslatent.lens.space import versions_of
from crosslatent.model import Model
from crosslatent.sweeps.prepared import item_row
from crosslatent.sweeps.tokens import Ends
from crosslatent.tasks import Task

MOST_TOKENS = 512
"""Where texts in the central language are cut: logits of long ones take much memory."""


@documented(EvaluationSpec)
def evaluate(
    base: Model,
    conditions: Sequence[Condition | interventions.Condition | str],
    task: Task,
    *,
    central_texts: Sequence[str] = (),
    notes: Sequence[str] = (),
    progress: Show | None = None,
    **options: Unpack[EvaluationSpec],
) -> Evaluation:
    """Answer a task under several conditions, and compare each with the unmodified model.

    Every item's main prompt is asked in its language, and every distinct counterpart in the central
    language once. What a condition does to central questions: a trained model answers them;
    steering stays on while they are answered, once towards each target language, and what is said
    of them is over all of these; a transplant has no counterpart of theirs to take a vector from,
    so nothing is measured. A trained model that is given by its folder is loaded when its turn
    comes, as `base` is placed, and released afterwards.

    Args:
        base: the unmodified model.
        conditions: what it is compared under; the unmodified model is added. Interventions that
            are the same for all questions may be in words, such as "ablate:heads:2:0,3".
        task: the questions.
        central_texts: held-out texts in the central language, for the divergence of trained models
            and of steering.
        notes: sentences that the evaluation keeps beside its own.
        progress: gets the state of each condition.
        {settings}

    Raises:
        UsageError: no condition, two of one name, an unknown rule or one that judges nothing, a
            steering or transplant that the model or the questions cannot have; questions or texts
            that a condition was fitted on, unless that is allowed.
        SpaceError: a space of another model, or without the language of a question; no text in the
            central language has two tokens.
        ModelError: a trained model cannot be loaded, or has another tokenizer or vocabulary; or an
            encoder reads a model's prompts.
        TaskError: the model can take no item.
    """
    spec = complete(EvaluationSpec, options)
    check_decoder(base)
    asked = check_conditions(_intervened(base, conditions))
    as_chat = chat_of(spec["chat"], spec["chat_args"], right_now())
    asking = plan(base, task, spec, central=_central(asked, spec["central"]), chat=as_chat)
    check_all(asking, asked)
    exposed = exposures(asking, asked, central_texts)
    if not spec["allow_training_data"]:
        refuse_seen(exposed)
    texts = None
    if central_texts:
        texts = retention.held_out_of(base, central_texts, chat=as_chat, max_tokens=MOST_TOKENS)
    results: list[ConditionResult] = []
    rows: list[AnswerRow] = []
    unmodified: list[AnswerRow] | None = None
    for condition in asked:
        answered = ConditionRun(asking, condition, progress, texts)
        answered.run()
        exposure = exposed[condition.name]
        results.append(_result(answered, unmodified, exposure, spec["seed"]))
        rows += answered.rows
        unmodified = answered.rows if unmodified is None else unmodified
    return replace(
        _evaluation(asking, texts, spec["seed"]),
        conditions=results,
        notes=[*_notes(asking, texts), *notes],
        rows=tuple(rows),
    )


def _evaluation(asking: EvaluationPlan, texts: HeldOut | None, seed: int) -> Evaluation:
    """An evaluation without answers."""
    questions, task = asking.questions, asking.task
    langs = (asking.central if each.role == "central" else each.lang for each in questions)
    return Evaluation(
        task=task.name,
        splits=sorted({each.item.split for each in questions if each.item.split is not None}),
        rule=asking.rule,
        central=asking.central,
        languages=sorted({each.lang for each in asking.targets}),
        model={"name": asking.model.name, "identity": asking.model.identity_now},
        conditions=[],
        questions=dict(sorted(Counter(langs).items())),
        central_texts=0 if texts is None else len(texts.ids),
        seed=seed,
        failures=dict(asking.failures),
        versions=versions_of("torch", "transformers", "tokenizers", "numpy"),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=[sys.argv[0].rsplit("/", 1)[-1], *sys.argv[1:]],
        items={(each.item.id, each.role): _item_row(asking, each) for each in questions},
        run=_run(asking),
    )


def _item_row(asking: EvaluationPlan, question: EvalPrompt) -> dict[str, Any]:
    """What the table of items has of a question; a counterpart is asked as main here."""
    item, tokens = question.item, asking.tokens
    ends = tokens.ends[item.id]
    if question.of_aux:
        item = replace(item, main=item.aux, aux=item.main, paraphrase=None)
        ends = Ends(ends.aux_length, ends.main_length, ends.aux_token, ends.main_token, ends.mark)
    return {**item_row(asking.model, item, ends), "respelled": tokens.answers[item.id].respelled}


def _run(asking: EvaluationPlan) -> dict[str, Any]:
    """What run.json says of model, task, spec and inputs, as that of a sweep does."""
    model, task, chat = asking.model, asking.task, asking.chat
    described = ("title", "description", "direction", "type", "metric", "hash")
    return {
        "model": {**model.identity_now, "n_layers": model.n_layers, "d_model": model.d_model},
        "task": {
            **{name: getattr(task, name) for name in described},
            "repeats": repeat_notes(task.items),
        },
        "spec": {"max_new_tokens": asking.max_new_tokens, "chat": bool(chat)},
        "inputs": {
            "prompts": asking.tokens.hash,
            "ends": sorted(model.eos_ids),
            "modules": dict(model.modules or {}),
            "clock": chat.now if isinstance(chat, Chat) else None,
        },
    }


def _intervened(
    base: Model, asked: Sequence[Condition | interventions.Condition | str]
) -> Iterator[Condition]:
    """The conditions; interventions come last, those in words as what they mean.

    They are looked at together: two that change the same would have the same rows.
    """
    changes: list[str | interventions.Condition] = []
    for condition in asked:
        if isinstance(condition, str | interventions.Condition):
            changes.append(condition)
        elif isinstance(condition, Intervened):
            changes.append(condition.condition)
        else:
            yield condition
    yield from map(Intervened, interventions.conditions_of(base, changes))


def _central(conditions: Sequence[Condition], asked: str | None) -> str:
    """The central language: what was asked, else that of the first space, else English."""
    steerings = (steered_of(condition) for condition in conditions)
    of_space = (steering.space.central for steering in steerings if steering is not None)
    return asked if asked is not None else next(of_space, ENGLISH)


def _result(
    answered: ConditionRun, unmodified: list[AnswerRow] | None, exposure: Exposure, seed: int
) -> ConditionResult:
    asking, condition = answered.asking, answered.condition
    figures = compare(answered.rows, unmodified, asking.central, seed)
    diverged = answered.divergences
    return ConditionResult(
        name=condition.name,
        kind=condition.kind,
        about=condition.about,
        **vars(figures),
        kl=retention.pooled(diverged).estimate(seed) if diverged else None,
        seconds=answered.seconds,
        notes=[*notes_of(exposure), *_notes_of(condition, answered)],
        settings=condition.settings,
        trained_on={key: exposure.asked[key] for key in figures.accuracy},
        kl_trained_on=exposure.texts if diverged else None,
        fitted=exposure.fitted,
    )


@dataclass
class Compared:
    """The figures of `ConditionResult` that follow from answers."""

    accuracy: dict[str, stats.Estimate] = field(default_factory=dict)
    change: dict[str, stats.Estimate] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    p_value: dict[str, float | None] = field(default_factory=dict)
    fidelity: dict[str, stats.Estimate] = field(default_factory=dict)
    fidelity_change: dict[str, stats.Estimate] = field(default_factory=dict)


def compare(
    rows: Sequence[AnswerRow], unmodified: Sequence[AnswerRow] | None, central: str, seed: int
) -> Compared:
    """Figures of the answers under one condition.

    Args:
        rows: its answers.
        unmodified: the answers of the unmodified model to the same questions, or to more; None
            where `rows` are these.
        central: key of the central questions.
        seed: of intervals and tests.
    """
    figures = Compared()
    before = {(row.item, row.role): row for row in unmodified or ()}
    for key, group in _groups(rows, central).items():
        clusters = [row.cluster for row in group]
        right, faithful = _right(group), _faithful(group)
        figures.accuracy[key] = stats.clustered_mean(right, clusters, seed=seed)
        figures.fidelity[key] = stats.clustered_mean(faithful, clusters, seed=seed)
        if unmodified is None:
            continue
        pairs = [before[row.item, row.role] for row in group]
        was = _right(pairs)
        figures.change[key] = stats.paired_difference(right, was, clusters, seed=seed)
        figures.fidelity_change[key] = stats.paired_difference(
            faithful, _faithful(pairs), clusters, seed=seed
        )
        figures.repaired[key] = int((right > was).sum())
        figures.broken[key] = int((right < was).sum())
        figures.p_value[key] = stats.cluster_permutation(
            right, was, clusters, seed=seed
        ).p_two_sided
    return figures


def _groups(rows: Sequence[AnswerRow], central: str) -> Mapping[str, list[AnswerRow]]:
    """All target questions, those of each language, and the central ones."""
    targets = [row for row in rows if row.role == "target"]
    groups = {ALL: targets}
    for lang in sorted({row.lang for row in targets}):
        groups[lang] = [row for row in targets if row.lang == lang]
    groups[central] = [row for row in rows if row.role == "central"]
    return {key: group for key, group in groups.items() if group}


def _right(rows: Sequence[AnswerRow]) -> stats.Floats:
    return np.array([np.nan if row.correct is None else float(row.correct) for row in rows])


def _faithful(rows: Sequence[AnswerRow]) -> stats.Floats:
    """Whether answers are in the language of the question; NaN where it cannot be identified."""
    return np.array(
        [
            np.nan
            if row.output_lang is None or not can_identify(row.lang)
            else float(same_language(row.output_lang, row.lang))
            for row in rows
        ]
    )


def _notes_of(condition: Condition, answered: ConditionRun) -> Iterator[str]:
    """What a reader must know of one condition."""
    asking = answered.asking
    if isinstance(condition, Tuned):
        yield from _notes_of_tuned(condition, answered.dtypes, asking)
    if transplanted_of(condition) is not None:
        yield "On which questions the pair of blocks was chosen is not known."
        if any(each.of_aux for each in asking.centrals):
            yield (
                "A central question that is a counterpart has no counterpart of its own to take a "
                "vector from: accuracy in the central language is not measured on these."
            )
        yield (
            "A text has no counterpart to take a vector from: the divergence is not measured under "
            "a transplant."
        )
    elif isinstance(condition, Steered):
        langs = ", ".join(lang for lang in variants_of(asking, condition) if lang is not None)
        yield (
            f"Steering stays on for central questions and texts, once towards each language of "
            f"{langs}; what is said of these is over all of them."
            if langs
            else "Central questions and texts are steered just like the others."
        )
    elif isinstance(condition, Intervened) and not condition.changes_texts:
        yield (
            "It changes certain tokens of a prompt, and a text is no prompt: the divergence is not "
            "measured."
        )


def _notes_of_tuned(tuned: Tuned, dtypes: set[str], asking: EvaluationPlan) -> Iterator[str]:
    models = sources_of(tuned)
    if None not in models:
        yield (
            "One model for each target language; each of them answers the central questions, and "
            "what is said of these is over all models."
        )
        asked = {each.lang for lang in models for each in asked_of(asking, lang)}
        if left := sorted({each.lang for each in asking.targets} - asked):
            yield f"No model for {', '.join(left)}: these questions do not count here."
    base = str(asking.model.dtype).removeprefix("torch.")
    if others := dtypes - {base}:
        yield f"It runs in {', '.join(sorted(others))}, the unmodified model in {base}."


def _notes(asking: EvaluationPlan, texts: HeldOut | None) -> Iterator[str]:
    """What a reader must know of the whole evaluation."""
    if not asking.targets:
        yield f"All questions are in the central language {asking.central!r}."
    if not asking.centrals:
        yield (
            f"No question has a counterpart in the central language {asking.central!r}: whether "
            "its accuracy is retained is not known."
        )
    if asking.failures:
        yield f"{len(asking.failures)} items could not be asked; see failures."
    unjudged = sum(each.item.answer is None for each in asking.questions)
    if unjudged:
        yield (
            f"{unjudged} of {len(asking.questions)} questions have no gold answer and count in no "
            "accuracy."
        )
    if texts is None:
        yield "No held-out texts in the central language were given: the divergence is missing."
    else:
        yield from _notes_on_texts(texts)


def _notes_on_texts(texts: HeldOut) -> Iterator[str]:
    many = len(texts.ids)
    beside = f", and not the {texts.around:,} of the chat template around" if texts.around else ""
    yield (
        f"The divergence counts {texts.positions:,} tokens of {many:,} text{'s' * (many > 1)}"
        f"{beside}."
    )
    if texts.left_out:
        yield f"{texts.left_out} texts with no token to predict were left out of the divergence."
    if texts.cut:
        yield f"{texts.cut} texts were cut to {max(map(len, texts.ids))} tokens for the divergence."
    if texts.repeated:
        yield f"{texts.repeated} texts that had come before were left out of the divergence."
