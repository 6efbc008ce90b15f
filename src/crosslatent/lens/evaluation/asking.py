"""The questions of an evaluation, and their answers under a condition as judged rows.

Answers come from the engine, and are judged as a sweep judges them
(`answering.scoring.ItemScorer`), so a transplant here gives what the same pair gives in a sweep
(but for near-ties: batches differ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from crosslatent.answering import prompts_of
from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.languages import same_language
from crosslatent.core.specs import AsChat
from crosslatent.engine.decoding import silent
from crosslatent.interventions.intervention import Intervention
from crosslatent.lens.evaluation.evaluation_record import AnswerRow, Role
from crosslatent.lens.lens_settings import EvaluationSpec
from crosslatent.model import Model
from crosslatent.sweeps.tokens import PromptTokens
from crosslatent.tasks import RULES, Item, Task
from crosslatent.tasks.rules import LIKELIEST_START, LIKELIHOOD, LIKELIHOOD_MEAN

BY_PROBABILITY: Mapping[str, str] = {
    LIKELIEST_START: "option_logprobs",
    LIKELIHOOD: "option_scores",
    LIKELIHOOD_MEAN: "option_means",
}
"""Rules that take the option with the highest number in a column of the row."""

Row = Callable[["EvalPrompt"], tuple[Intervention, ...]]
"""The interventions on each question."""


@dataclass(frozen=True, slots=True)
class EvalPrompt:
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

    def ids(self, tokens: PromptTokens) -> tuple[int, ...]:
        """Its token ids."""
        both = tokens[self.item.id]
        return tuple(both.aux if self.of_aux else both.main)

    def spelled(self, tokens: PromptTokens) -> SpelledAnswers:
        """Its options, or else its gold answers, as token ids after its prompt."""
        both = tokens.answers[self.item.id]
        return both.aux if self.of_aux else both.main


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Questions, and how they are asked and judged.

    Attributes:
        model: the unmodified model.
        rule: the rule that judges, of `RULES` or `BY_PROBABILITY`.
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
    questions: tuple[EvalPrompt, ...]
    tokens: PromptTokens
    batch_rows: int | None = None

    @property
    def targets(self) -> list[EvalPrompt]:
        """Questions in target languages."""
        return [each for each in self.questions if each.role == "target"]

    @property
    def centrals(self) -> list[EvalPrompt]:
        """Questions in the central language."""
        return [each for each in self.questions if each.role == "central"]

    @property
    def failures(self) -> dict[str, str]:
        """Item -> why it could not be asked."""
        return self.tokens.failures

    def scorer(self, model: Model, question: EvalPrompt) -> ItemScorer:
        """What judges the answers of a model to a question."""
        whole = self.rule in (LIKELIHOOD, LIKELIHOOD_MEAN)
        text_rule = self.rule if self.rule in RULES else self.task.rule
        spelled, metric = question.spelled(self.tokens), self.task.metric
        return ItemScorer(model, question.item, text_rule, metric, whole=whole, spelled=spelled)


def plan(
    model: Model, task: Task, spec: EvaluationSpec, *, central: str, chat: AsChat = False
) -> EvaluationPlan:
    """The questions of a task: every main prompt, and every distinct central counterpart once.

    A main prompt in the central language is a central question, and then its counterpart is none.

    Raises:
        UsageError: the rule is unknown, or can judge no question.
        TaskError: the model can take no item; a number of new tokens below 1.
        ModelError: the tokenizer has no chat template.
    """
    asked = spec["max_new_tokens"]
    new_tokens = task.max_new_tokens if asked is None else asked
    if new_tokens < 1:
        raise TaskError(f"max_new_tokens is {new_tokens}: it must be 1 or more.")
    rule = task.rule if spec["rule"] is None else spec["rule"]
    if rule not in (judges := (*RULES, *BY_PROBABILITY)):
        raise UsageError(f"Unknown answer rule {rule!r}: use one of {', '.join(judges)}.")
    # An item without a counterpart is asked main alone; where both are encoded, main replaces aux.
    items = [item if item.aux else replace(item, aux=item.main) for item in task.items]
    scoring = rule in (LIKELIHOOD, LIKELIHOOD_MEAN)
    tokens = PromptTokens(model, items, new_tokens=new_tokens, scoring=scoring, chat=chat)
    if not tokens:
        raise TaskError(
            f"None of the {len(task.items)} items of {task.name!r} can be asked; the first: "
            f"{next(iter(tokens.failures.values()), 'there is none.')}"
        )
    kept = [item for item in task.items if item.id in tokens]
    questions = tuple(questions_of(kept, central))
    _check_judge(tokens, rule, questions)
    rows = spec["batch_rows"]
    return EvaluationPlan(model, task, central, rule, new_tokens, chat, questions, tokens, rows)


def questions_of(items: Iterable[Item], central: str) -> Iterator[EvalPrompt]:
    """Every main prompt, and every distinct counterpart in the central language once."""
    seen: set[Any] = set()
    for item in items:
        if is_in(item.lang, central):
            seen.add((item.main, tuple(shot[:2] for shot in item.shots), item.options))
            yield EvalPrompt(item, "central", of_aux=False)
            continue
        yield EvalPrompt(item, "target", of_aux=False)
        if not item.aux or not is_in(item.aux_lang, central):
            continue
        key = (item.aux, tuple(shot[2:] for shot in item.shots), item.options)
        if key not in seen:
            seen.add(key)
            yield EvalPrompt(item.as_aux(), "central", of_aux=True)


def central_prompts(items: Iterable[Item], central: str) -> list[str]:
    """The texts of the central questions of items, each once, as a prompt puts them."""
    found = (
        prompts_of(question.item)[question.of_aux].plain()
        for question in questions_of(items, central)
        if question.role == "central"
    )
    return list(dict.fromkeys(found))


def answer(
    asking: EvaluationPlan,
    model: Model,
    questions: Sequence[EvalPrompt],
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
            question.ids(asking.tokens),
            (() if row is None else row(question),),
            asking.scorer(model, question),
        )
        for question in questions
    )
    new_tokens, batch_rows = asking.max_new_tokens, asking.batch_rows
    answers = ask(model, asked, max_new_tokens=new_tokens, batch_rows=batch_rows, advance=advance)
    rows = []
    for question, (judged,) in zip(questions, answers, strict=True):
        record = {**judged.record, "path": judged.path, "seconds": judged.seconds}
        rows.append(_row(record, question, asking.rule, condition, variant))
    return rows


def _row(
    record: Mapping[str, Any],
    question: EvalPrompt,
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
    values: Any = record[BY_PROBABILITY[rule]]
    if not values or not item.options or not all(v is not None and isfinite(v) for v in values):
        return None
    return item.options[max(range(len(values)), key=values.__getitem__)]


def is_in(lang: str, other: str) -> bool:
    """Whether two codes name one language: "zh" and "zh-CN", say."""
    return lang == other or same_language(lang, other)


def _check_judge(tokens: PromptTokens, rule: str, questions: Sequence[EvalPrompt]) -> None:
    """Refuse a rule that can judge none of the questions.

    Raises:
        UsageError: it cannot.
    """
    known = [each for each in questions if each.item.golds]
    if not known or any(_fits(tokens, rule, question) for question in known):
        return
    needs = "no question has the options or labels that it needs"
    if rule == LIKELIEST_START:
        needs = "no question has options that begin with tokens of their own"
    fitting = [name for name in (*RULES.own, *BY_PROBABILITY) if _fits(tokens, name, known[0])]
    raise UsageError(
        f"The rule {rule!r} can judge none of the {len(known)} questions, as {needs}: use one that "
        f"fits, such as {', '.join(fitting) or 'none'}."
    )


def _fits(tokens: PromptTokens, rule: str, question: EvalPrompt) -> bool:
    if rule in RULES:
        return RULES[rule].fits(question.item)
    if rule == LIKELIEST_START and not all(distinct_starts(question.spelled(tokens)).values()):
        return False
    return bool(question.item.options)
