"""One honest sentence on each condition of an evaluation, out of its numbers."""

from __future__ import annotations

from functools import lru_cache

from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.report import formatting
from crosslatent.report.lens.marks import isolated, name
from crosslatent.report.safe import printable
from crosslatent.stats import Estimate, holm

GAIN, LOSS, OPEN = "gain", "loss", "open"

NOT_KNOWN = "not known what it was trained on"

ALPHA = 0.05
_PAIRED = (
    "Every condition answers the same questions, and differences are taken question by question."
)


def verdict(evaluation: Evaluation, condition: ConditionResult) -> str:
    """What a condition does to the target languages and to the central one.

    An effect is named only if its whole interval lies on one side of zero; what was not asked is
    said to be so. Where something was trained on, nothing is concluded.
    """
    if condition.is_exposed:
        return f"{summary(condition, evaluation.central)}: nothing is concluded from these figures."
    if condition.kind == "unmodified":
        return _unmodified(evaluation, condition)
    central = isolated(name(evaluation.central))
    first = _target(evaluation, condition)
    second = _central(condition, evaluation.central)
    joint = "but" if _against(condition, evaluation.central) else "and"
    return f"{formatting.first_upper(first)}, {joint} {second}{_kl(condition.kl, central)}."


def corrected(evaluation: Evaluation) -> dict[str, float | None]:
    """p-values of the changes in the target languages, corrected over the conditions (Holm)."""
    tested = [one for one in evaluation.conditions if one.kind != "unmodified"]
    values = _adjusted(tuple(one.p_value.get(ALL) for one in tested))
    return {one.name: value for one, value in zip(tested, values, strict=True)}


@lru_cache(maxsize=64)
def _adjusted(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    # Kept, because every sentence and table asks again, and the correction takes its time.
    return holm(values).adjusted


def state(evaluation: Evaluation, condition: ConditionResult) -> str:
    """Whether a change in the target languages holds up: `GAIN`, `LOSS` or `OPEN`.

    It does if its interval lies on one side of zero and its corrected p-value is below 0.05.
    """
    value = corrected(evaluation).get(condition.name)
    return direction(condition) if value is not None and value < ALPHA else OPEN


def _tested(evaluation: Evaluation, condition: ConditionResult) -> str:
    """The p-value of a change whose interval excludes zero, as a clause; empty if not tested."""
    values = corrected(evaluation)
    value = values.get(condition.name)
    if value is None or direction(condition) == OPEN:
        return ""
    over = f" after correction for {len(values)} conditions" if len(values) > 1 else ""
    return f" ({formatting.p_equals(value)}{over})"


def direction(condition: ConditionResult, lang: str = ALL) -> str:
    """Whether a change could be shown: `GAIN`, `LOSS` or `OPEN`; nothing is on training data."""
    change = condition.change.get(lang)
    if change is None or condition.is_exposed:
        return OPEN
    return GAIN if change.above_zero else LOSS if change.below_zero else OPEN


def trained(condition: ConditionResult, key: str) -> str:
    """How many questions of a key were trained on, if any; or that it is not known what was."""
    found = condition.trained_on.get(key)
    if found is not None and found.n:
        return f"{found} were trained on"
    return NOT_KNOWN if is_unknown(condition) else ""


def is_unknown(condition: ConditionResult) -> bool:
    """Whether something was fitted, and it is not known on what all of it was."""
    fitted = condition.kind not in ("unmodified", "transplant", "intervention")
    return fitted and condition.fitted in ("unknown", "partly")


def marked(text: str, condition: ConditionResult, key: str) -> str:
    """A figure, with what `trained` says of it behind it in brackets."""
    beside = trained(condition, key)
    return f"{text} ({beside})" if beside else text


def summary(condition: ConditionResult, central: str) -> str:
    """Everything that `trained` says of a condition, in one line; empty if there is nothing."""
    counted = {
        "questions in the target languages": condition.trained_on.get(ALL),
        f"questions in {isolated(name(central))}": condition.trained_on.get(central),
        "texts of the divergence": condition.kl_trained_on,
    }
    found = [f"{one} {what}" for what, one in counted.items() if one is not None and one.n]
    parts = [f"{formatting.listing(found)} were trained on"] if found else []
    return "; ".join([*parts, *([NOT_KNOWN] if is_unknown(condition) else [])])


def targets(evaluation: Evaluation) -> str:
    """The target languages: the only one by its name."""
    if len(evaluation.languages) == 1:
        return isolated(name(evaluation.languages[0]))
    return "the target languages"


def _unmodified(evaluation: Evaluation, condition: ConditionResult) -> str:
    where = targets(evaluation)
    parts = [
        f"{_share(condition.accuracy.get(key))} in {place}"
        for key, place in (
            (ALL, where),
            (evaluation.central, isolated(name(evaluation.central))),
        )
        if _share(condition.accuracy.get(key))
    ]
    if not parts:
        return "Nothing says which of its answers are right."
    return f"Answers {formatting.listing(parts)} right."


def _share(accuracy: Estimate | None) -> str:
    if accuracy is None or accuracy.value is None:
        return ""
    return formatting.with_interval(accuracy, difference=False)


def _target(evaluation: Evaluation, condition: ConditionResult) -> str:
    where, change = targets(evaluation), condition.change.get(ALL)
    if change is None or change.value is None:
        return f"was not measured in {where}"
    if not condition.repaired.get(ALL, 0) and not condition.broken.get(ALL, 0):
        return f"turns no answer in {where} right or wrong"
    effect = _effect(
        change, where, corrected(evaluation).get(condition.name), "changes nothing measurable"
    )
    return effect + _tested(evaluation, condition)


def _central(condition: ConditionResult, lang: str) -> str:
    central, change = isolated(name(lang)), condition.change.get(lang)
    if change is None or change.value is None:
        return f"was not measured in {central}"
    if change.value == 0 and change.low is None:
        return (
            f"leaves the accuracy on {formatting.count(change.n, 'question')} in {central} as "
            "it was"
        )
    value = condition.p_value.get(lang)
    tested = value is not None and direction(condition, lang) != OPEN
    effect = _effect(change, central, value, "loses nothing measurable")
    return effect + (f" ({formatting.p_equals(value)})" if tested else "")


def _effect(change: Estimate, where: str, p_value: float | None, nothing: str) -> str:
    """An effect as far as interval and test bear it out: the interval alone is no proof."""
    numbers = (
        f"{formatting.points(change.value)} points ({formatting.interval(change, difference=True)})"
    )
    sure = p_value is None or p_value < ALPHA
    if change.above_zero:
        return f"{'gains' if sure else 'may gain'} {numbers} in {where}"
    if change.below_zero:
        return f"{'loses' if sure else 'may lose'} {numbers} in {where}"
    return f"{nothing} in {where}: {numbers}"


def _against(condition: ConditionResult, central: str) -> bool:
    """Whether the central language goes the other way."""
    return {direction(condition), direction(condition, central)} == {GAIN, LOSS}


def _kl(kl: Estimate | None, central: str) -> str:
    if kl is None or kl.value is None:
        return ""
    if kl.value == 0:
        return f"; on {central} text its next-token distribution does not move at all"
    return f"; on {central} text its next-token distribution is {nats(kl)} nats per token away"


def nats(kl: Estimate | None) -> str:
    """KL divergence with its interval."""
    if kl is None or kl.value is None:
        return "\u2013"
    ends = "no interval" if kl.low is None else f"{kl.low:#.3g} to {kl.high:#.3g}"
    return f"{kl.value:#.3g} ({ends})"


def opening(evaluation: Evaluation) -> list[str]:
    """What was compared, on what."""
    others = [one for one in evaluation.conditions if one.kind != "unmodified"]
    model = printable(str(evaluation.model.get("name") or ""))
    of_model = f" of {isolated(model)}" if model else ""
    splits = f" (split {formatting.listing(map(printable, evaluation.splits))})"
    task = isolated(printable(evaluation.task)) + (splits if evaluation.splits else "")
    compared = (
        f"{formatting.count(len(others), 'condition')}{of_model} beside the unmodified model"
        if others
        else f"The unmodified model{of_model} alone"
    )
    found = [f"{compared}, on {task}: {_asked(evaluation)}."]
    if others:
        found[0] += f" {_PAIRED}"
    rule = formatting.rule(evaluation.rule)
    if rule:
        found.append(f"An answer counts as right if {rule}.")
    if len(others) > 1:
        luck = "Each interval is of one condition alone; of many, some miss by luck. "
        found.append(
            f"{luck}P-values of changes in {targets(evaluation)} are corrected for the "
            f"{len(others)} conditions (Holm); other p-values are not."
        )
    return found


def _asked(evaluation: Evaluation) -> str:
    counts, central = evaluation.questions, isolated(name(evaluation.central))
    asked = formatting.listing(
        f"{formatting.count(counts[lang], 'question')} in {isolated(name(lang))}"
        for lang in evaluation.languages
        if lang in counts
    )
    beside = counts.get(evaluation.central, 0)
    if not beside:
        return f"{asked}; nothing was asked in {central}"
    return f"{asked}; beside them {formatting.count(beside, 'question')} in {central}"
