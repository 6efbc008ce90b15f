"""`evaluate`: a model under several conditions on one task, in pairs with the unmodified model.

Lens is judged as in its paper (arXiv 2410.04407, section 4): target languages must gain and the
central one must not lose; beside training stand steering and transplants. docs/methods.md, 7.
"""

from __future__ import annotations

import datetime as dt
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Unpack

from crosslatent.core import __version__, repeats
from crosslatent.core.languages import ENGLISH
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import Chat, chat_of, right_now
from crosslatent.interventions import condition as interventions
from crosslatent.lens.evaluation import retention
from crosslatent.lens.evaluation.asking import Asking, Question, plan
from crosslatent.lens.evaluation.checks import check_all
from crosslatent.lens.evaluation.comparing import compare
from crosslatent.lens.evaluation.conditions import (
    Condition,
    Intervened,
    Steered,
    Tuned,
    Unmodified,
    check_conditions,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.evaluation_spec import EvaluationSpec
from crosslatent.lens.evaluation.exposure import Exposure, exposures, notes_of, refuse_seen
from crosslatent.lens.evaluation.results import AnswerRow, ConditionResult, Evaluation
from crosslatent.lens.evaluation.retention import HeldOut
from crosslatent.lens.evaluation.running import Outcome, Runner, Show, asked_of, variants_of
from crosslatent.lens.origin import check_decoder
from crosslatent.model import Model
from crosslatent.stats import Estimate
from crosslatent.sweeps.prepared import item_row
from crosslatent.sweeps.tokens import Ends
from crosslatent.tasks import Task

_SOFTWARE = ("torch", "transformers", "tokenizers", "numpy")

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
    so nothing is measured.
    A trained model that is given by its folder is loaded when its turn comes, as `base` is placed,
    and let go of afterwards.

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
    lang = _central(asked, spec["central"])
    as_chat = chat_of(spec["chat"], spec["chat_args"], right_now())
    asking = plan(
        base,
        task,
        central=lang,
        rule=spec["rule"],
        chat=as_chat,
        max_new_tokens=spec["max_new_tokens"],
        batch_rows=spec["batch_rows"],
    )
    check_all(asking, asked)
    exposed = exposures(asking, asked, central_texts)
    if not spec["allow_training_data"]:
        refuse_seen(exposed)
    texts = None
    if central_texts:
        texts = retention.held_out_of(base, central_texts, chat=as_chat, max_tokens=MOST_TOKENS)
    runner = Runner(asking, texts, progress)
    results: list[ConditionResult] = []
    rows: list[AnswerRow] = []
    for condition in asked:
        outcome = runner.run(condition)
        results.append(_result(condition, outcome, runner, exposed[condition.name], spec["seed"]))
        rows += outcome.rows
    return Evaluation(
        task=task.name,
        splits=sorted({q.item.split for q in asking.questions if q.item.split is not None}),
        rule=asking.rule,
        central=lang,
        languages=sorted({q.lang for q in asking.targets}),
        model={"name": base.name, "identity": base.identity_now},
        conditions=results,
        questions=_counted(asking),
        central_texts=0 if texts is None else len(texts.ids),
        seed=spec["seed"],
        failures=dict(asking.failures),
        versions=_versions(),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=[sys.argv[0].rsplit("/", 1)[-1], *sys.argv[1:]],
        notes=[*_notes(asking, texts), *notes],
        rows=tuple(rows),
        items={(each.item.id, each.role): _item_row(asking, each) for each in asking.questions},
        run=_run(asking),
    )


def _item_row(asking: Asking, question: Question) -> dict[str, Any]:
    """What the table of items has of a question; a counterpart is asked as main here."""
    item, tokens = question.item, asking.tokens
    ends = tokens.ends[item.id]
    if question.of_aux:
        item = replace(item, main=item.aux, aux=item.main, paraphrase=None)
        ends = Ends(ends.aux_length, ends.main_length, ends.aux_token, ends.main_token, ends.mark)
    return {
        **item_row(asking.model, item, ends),
        "respelled": tokens.answers[item.id].respelled,
    }


def _run(asking: Asking) -> dict[str, Any]:
    """What run.json says of model, task, spec and inputs, as that of a sweep does."""
    model, task, chat = asking.model, asking.task, asking.chat
    return {
        "model": {**model.identity_now, "n_layers": model.n_layers, "d_model": model.d_model},
        "task": {
            "title": task.title,
            "description": task.description,
            "direction": task.direction,
            "type": task.type,
            "metric": task.metric,
            "hash": task.hash,
            "repeats": repeats.notes(task.items),
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
    """The conditions; interventions come last, those in words as what they stand for.

    They are looked at together: two that change the same would have the same rows.
    """
    changes: list[str | interventions.Condition] = []
    for one in asked:
        if isinstance(one, str | interventions.Condition):
            changes.append(one)
        elif isinstance(one, Intervened):
            changes.append(one.condition)
        else:
            yield one
    yield from map(Intervened, interventions.conditions_of(base, changes))


def _central(conditions: Sequence[Condition], asked: str | None) -> str:
    """The central language: what was asked, else that of the first space, else English."""
    if asked is not None:
        return asked
    steerings = (steered_of(condition) for condition in conditions)
    return next((one.space.central for one in steerings if one is not None), ENGLISH)


def _result(
    condition: Condition, outcome: Outcome, runner: Runner, exposure: Exposure, seed: int
) -> ConditionResult:
    first = isinstance(condition, Unmodified)
    asking = runner.asking
    found = compare(outcome.rows, None if first else runner.unmodified, asking.central, seed)
    return ConditionResult(
        name=condition.name,
        kind=condition.kind,
        about=condition.about,
        accuracy=found.accuracy,
        change=found.change,
        repaired=found.repaired,
        broken=found.broken,
        p_value=found.p_value,
        fidelity=found.fidelity,
        fidelity_change=found.fidelity_change,
        kl=_divergence(outcome, seed),
        seconds=outcome.seconds,
        notes=[*notes_of(exposure), *_notes_of(condition, outcome, runner)],
        settings=condition.settings,
        trained_on={key: exposure.asked[key] for key in found.accuracy},
        kl_trained_on=exposure.texts if outcome.divergences else None,
        fitted=exposure.fitted,
    )


def _divergence(outcome: Outcome, seed: int) -> Estimate | None:
    if not outcome.divergences:
        return None
    return retention.pooled(outcome.divergences).estimate(seed)


def _notes_of(condition: Condition, outcome: Outcome, runner: Runner) -> Iterator[str]:
    """What a reader must know of one condition."""
    asking = runner.asking
    if isinstance(condition, Tuned):
        yield from _notes_of_tuned(condition, outcome, asking)
    if transplanted_of(condition) is not None:
        yield from _notes_of_transplant(asking)
    elif isinstance(condition, Steered):
        yield _note_of_steering(condition, asking)
    elif isinstance(condition, Intervened) and not condition.changes_texts:
        yield (
            "It changes certain tokens of a prompt, and a text is no prompt: the divergence is not "
            "measured."
        )


def _notes_of_transplant(asking: Asking) -> Iterator[str]:
    yield "On which questions the pair of blocks was chosen is not known."
    if any(each.of_aux for each in asking.centrals):
        yield (
            "A central question that is a counterpart has no counterpart of its own to take a "
            "vector from: accuracy in the central language is not measured on these."
        )
    yield (
        "A text has no counterpart to take a vector from: the divergence is not measured under a "
        "transplant."
    )


def _note_of_steering(steering: Steered, asking: Asking) -> str:
    langs = [lang for lang in variants_of(asking, steering) if lang is not None]
    if not langs:
        return "Central questions and texts are steered just like the others."
    return (
        "Steering stays on for central questions and texts, once towards each language of "
        f"{', '.join(langs)}; what is said of these is over all of them."
    )


def _notes_of_tuned(tuned: Tuned, outcome: Outcome, asking: Asking) -> Iterator[str]:
    models = sources_of(tuned)
    if None not in models:
        yield (
            "One model for each target language; each of them answers the central questions, and "
            "what is said of these is over all models."
        )
        asked = {each.lang for lang in models for each in asked_of(asking, lang)}
        left = sorted({each.lang for each in asking.targets} - asked)
        if left:
            yield f"No model for {', '.join(left)}: these questions do not count here."
    base = str(asking.model.dtype).removeprefix("torch.")
    if others := outcome.dtypes - {base}:
        yield f"It runs in {', '.join(sorted(others))}, the unmodified model in {base}."


def _notes(asking: Asking, texts: HeldOut | None) -> Iterator[str]:
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
    judged = sum(each.item.answer is not None for each in asking.questions)
    if judged < len(asking.questions):
        yield (
            f"{len(asking.questions) - judged} of {len(asking.questions)} questions have no gold "
            "answer and count in no accuracy."
        )
    yield from _notes_on_texts(texts)


def _notes_on_texts(texts: HeldOut | None) -> Iterator[str]:
    if texts is None:
        yield "No held-out texts in the central language were given: the divergence is missing."
        return
    many = len(texts.ids)
    beside = f", and not the {texts.around:,} of the chat template around" if texts.around else ""
    yield (
        f"The divergence counts {texts.positions:,} tokens of {many:,} text{'s' * (many > 1)}"
        f"{beside}."
    )
    if texts.left_out:
        yield (f"{texts.left_out} texts with no token to predict were left out of the divergence.")
    if texts.cut:
        yield f"{texts.cut} texts were cut to {max(map(len, texts.ids))} tokens for the divergence."
    if texts.repeated:
        yield f"{texts.repeated} texts that had come before were left out of the divergence."


def _counted(asking: Asking) -> dict[str, int]:
    """Questions by language; the central ones under their one name."""
    counts = Counter(
        asking.central if each.role == "central" else each.lang for each in asking.questions
    )
    return dict(sorted(counts.items()))


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _SOFTWARE}
    return {"crosslatent": __version__, "python": platform.python_version(), **found}
