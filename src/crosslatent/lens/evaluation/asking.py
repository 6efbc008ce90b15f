"""The questions of an evaluation, and their answers under a condition as judged rows.

Answers come from the engine, and are judged as a sweep judges them
(`answering.scoring.ItemScorer`), so a transplant here gives what the same pair gives in a sweep
(but for near-ties: batches differ).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.languages import same_language
from crosslatent.core.specs import AsChat
from crosslatent.engine.decoding import silent
from crosslatent.interventions.intervention import Intervention
from crosslatent.lens.evaluation.results import AnswerRow, Role
from crosslatent.model import Model
from crosslatent.sweeps.tokens import Ids, PromptTokens, prompts_of
from crosslatent.tasks import RULES, Item, Task
from crosslatent.tasks.rules import LIKELIEST_START, LIKELIHOOD, LIKELIHOOD_MEAN

BY_PROBABILITY: Mapping[str, str] = {
    LIKELIEST_START: "option_logprobs",
    LIKELIHOOD: "option_scores",
    LIKELIHOOD_MEAN: "option_means",
}
"""Rules that take the option with the highest number in a column of the row."""

Row = Callable[["Question"], tuple[Intervention, ...]]
"""The interventions on each question."""


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt that is answered under every condition.

    Attributes:
        item: the item as the answer is judged.
        role: whether the prompt is in a target language or in the central one.
        of_aux: the prompt is the item's counterpart.
    """

    item: Item
    role: Role
    of_aux: bool

    @property
    def lang(self) -> str:
        """The language of the prompt."""
        return self.item.lang

    def ids(self, both: Ids) -> tuple[int, ...]:
        """Its token ids, of those of both prompts of its item."""
        return tuple(both.aux if self.of_aux else both.main)

    def spelled(self, tokens: PromptTokens) -> SpelledAnswers:
        """Its options, or else its gold answers, as token ids after its prompt."""
        both = tokens.answers[self.item.id]
        return both.aux if self.of_aux else both.main


@dataclass(frozen=True, slots=True)
class Asking:
    """Questions, and how they are asked and judged.

    Attributes:
        model: the unmodified model.
        task: where the questions are from.
        central: the central language.
        rule: the rule that judges, of `RULES` or `BY_PROBABILITY`.
        max_new_tokens: most new tokens.
        chat: whether prompts go through the chat template.
        questions: all of them, those of one item beside each other.
        tokens: their token ids by item.
        batch_rows: rows per batch; None for what memory holds.
    """

    model: Model
    task: Task
    central: str
    rule: str
    max_new_tokens: int
    chat: AsChat
    questions: tuple[Question, ...]
    tokens: PromptTokens
    batch_rows: int | None = None

    @property
    def targets(self) -> list[Question]:
        """Questions in target languages."""
        return [each for each in self.questions if each.role == "target"]

    @property
    def centrals(self) -> list[Question]:
        """Questions in the central language."""
        return [each for each in self.questions if each.role == "central"]

    @property
    def failures(self) -> dict[str, str]:
        """Item -> why it could not be asked."""
        return self.tokens.failures

    @property
    def text_rule(self) -> str:
        """The rule that reads the output."""
        return self.rule if self.rule in RULES else self.task.rule

    def scorer(self, model: Model, question: Question) -> ItemScorer:
        """What judges the answers of a model to a question."""
        whole = self.rule in (LIKELIHOOD, LIKELIHOOD_MEAN)
        spelled = question.spelled(self.tokens)
        return ItemScorer(
            model, question.item, self.text_rule, self.task.metric, whole=whole, spelled=spelled
        )


def plan(
    model: Model,
    task: Task,
    *,
    central: str,
    rule: str | None = None,
    chat: AsChat = False,
    max_new_tokens: int | None = None,
    batch_rows: int | None = None,
) -> Asking:
    """The questions of a task: every main prompt, and every distinct central counterpart once.

    A main prompt in the central language is a central question, and then its counterpart is none.

    Raises:
        UsageError: the rule is unknown, or can judge no question.
        TaskError: the model can take no item; a number of new tokens below 1.
        ModelError: the tokenizer has no chat template.
    """
    new_tokens = task.max_new_tokens if max_new_tokens is None else max_new_tokens
    if new_tokens < 1:
        raise TaskError(f"max_new_tokens is {new_tokens}: it must be 1 or more.")
    judge = task.rule if rule is None else rule
    judges = (*RULES, *BY_PROBABILITY)
    if judge not in judges:
        raise UsageError(f"Unknown answer rule {judge!r}: use one of {', '.join(judges)}.")
    # An item without a counterpart is asked main alone; where both are encoded, main replaces aux.
    items = [item if item.aux else replace(item, aux=item.main) for item in task.items]
    tokens = PromptTokens(
        model,
        items,
        new_tokens=new_tokens,
        scoring=judge in (LIKELIHOOD, LIKELIHOOD_MEAN),
        chat=chat,
    )
    if not tokens:
        raise TaskError(
            f"None of the {len(task.items)} items of {task.name!r} can be asked; the first: "
            f"{next(iter(tokens.failures.values()), 'there is none.')}"
        )
    kept = [item for item in task.items if item.id in tokens]
    questions = tuple(questions_of(kept, central))
    _check_judge(tokens, judge, questions)
    return Asking(model, task, central, judge, new_tokens, chat, questions, tokens, batch_rows)


def questions_of(items: Iterable[Item], central: str) -> Iterator[Question]:
    """Every main prompt, and every distinct counterpart in the central language once."""
    seen: set[Any] = set()
    for item in items:
        if _is(item.lang, central):
            seen.add((item.main, tuple(shot[:2] for shot in item.shots), item.options))
            yield Question(item, "central", of_aux=False)
            continue
        yield Question(item, "target", of_aux=False)
        if not item.aux or not _is(item.aux_lang, central):
            continue
        key = (item.aux, tuple(shot[2:] for shot in item.shots), item.options)
        if key not in seen:
            seen.add(key)
            yield Question(item.as_aux(), "central", of_aux=True)


def central_prompts(items: Iterable[Item], central: str) -> list[str]:
    """The texts of the central questions of items, each once, as a prompt puts them."""
    found = (
        prompts_of(question.item)[question.of_aux].plain()
        for question in questions_of(items, central)
        if question.role == "central"
    )
    return list(dict.fromkeys(found))


def answer(
    asking: Asking,
    model: Model,
    questions: Sequence[Question],
    *,
    condition: str,
    row: Row | None = None,
    variant: str | None = None,
    advance: Callable[[float], None] = silent,
) -> list[AnswerRow]:
    """Answers to questions, as rows.

    Args:
        asking: how they are asked.
        model: which model answers.
        questions: the questions.
        condition: its name, for the rows.
        row: the interventions on a question; None for none.
        variant: see `AnswerRow`.
        advance: called with the number of these questions that have been answered.
    """
    asked = (
        Prompted(
            question.ids(asking.tokens[question.item.id]),
            (() if row is None else row(question),),
            asking.scorer(model, question),
        )
        for question in questions
    )
    answers = ask(
        model,
        asked,
        max_new_tokens=asking.max_new_tokens,
        batch_rows=asking.batch_rows,
        advance=advance,
    )
    return [
        _row(
            {**judged.record, "path": judged.path, "seconds": judged.seconds},
            question,
            asking.rule,
            condition,
            variant,
        )
        for question, (judged,) in zip(questions, answers, strict=True)
    ]


def _row(
    record: Mapping[str, Any],
    question: Question,
    rule: str,
    condition: str,
    variant: str | None,
) -> AnswerRow:
    item = question.item
    by_rule = {
        name: right
        for name, right in record["correct_by_rule"].items()
        if name not in RULES or RULES[name].fits(item)
    }
    return AnswerRow(
        condition=condition,
        item=item.id,
        lang=item.lang,
        role=question.role,
        output=record["output"],
        prediction=_chosen(record, item, rule),
        correct=by_rule.get(rule),
        correct_by_rule=by_rule,
        output_lang=record["output_lang"],
        cluster=item.cluster,
        split=item.split,
        variant=variant,
        record=record,
    )


def _chosen(record: Mapping[str, Any], item: Item, rule: str) -> str | None:
    """The option that the rule takes as the answer."""
    if rule in RULES:
        named: str | None = record["prediction"]
        return named
    values = record[BY_PROBABILITY[rule]]
    if not values or not item.options or not all(_is_number(value) for value in values):
        return None
    return item.options[max(range(len(values)), key=values.__getitem__)]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is(lang: str, central: str) -> bool:
    return lang == central or same_language(lang, central)


def _check_judge(tokens: PromptTokens, rule: str, questions: Sequence[Question]) -> None:
    """Refuse a rule that can judge none of the questions.

    Raises:
        UsageError: it cannot.
    """
    known = [each for each in questions if each.item.golds]
    if not known or any(_fits(tokens, rule, question) for question in known):
        return
    raise UsageError(
        f"The rule {rule!r} can judge none of the {len(known)} questions, as {_needs(rule)}: use "
        f"one that fits, such as {_that_fits(tokens, known[0])}."
    )


def _fits(tokens: PromptTokens, rule: str, question: Question) -> bool:
    if rule in RULES:
        return RULES[rule].fits(question.item)
    if rule == LIKELIEST_START:
        starts = distinct_starts(question.spelled(tokens))
        return bool(question.item.options) and all(starts.values())
    return bool(question.item.options)


def _needs(rule: str) -> str:
    if rule == LIKELIEST_START:
        return "no question has options that begin with tokens of their own"
    return "no question has the options or labels that it needs"


def _that_fits(tokens: PromptTokens, question: Question) -> str:
    names = (*RULES.own, *BY_PROBABILITY)
    return ", ".join(name for name in names if _fits(tokens, name, question)) or "none"
