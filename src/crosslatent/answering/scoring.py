"""From a decoded row to a judged record: rules, graded scores, language, and probabilities."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosslatent.core.errors import PromptError
from crosslatent.core.languages import identify
from crosslatent.core.normal import normalised
from crosslatent.core.specs import ACCURACY
from crosslatent.engine.decoding import Decoded
from crosslatent.model import Model
from crosslatent.model.chat import Prompt
from crosslatent.model.continuation import Context, Ids, context_of, written
from crosslatent.model.prompts import check_known, encode
from crosslatent.tasks import RULES, Item, Verdict
from crosslatent.tasks.metrics import METRICS, Metric, MetricInput, applicable_metrics
from crosslatent.tasks.rules import (
    LIKELIEST_START,
    LIKELIHOOD,
    LIKELIHOOD_MEAN,
    PROBABILITY_RULES,
    Rule,
    applicable_rules,
)


@dataclass(frozen=True, slots=True)
class JudgedOutput:
    """What follows from an output alone: the same for all rows of an item that give it.

    Attributes:
        verdicts: by rule.
        scores: by metric; undefined ones are left out.
        lang: the language of the output; None if it cannot be identified.
    """

    verdicts: Mapping[str, Verdict]
    scores: Mapping[str, float]
    lang: str | None


@dataclass(frozen=True, slots=True)
class SpelledAnswers:
    """The answers that are looked for, as token ids after one prompt.

    Attributes:
        answers: each with its spellings: with and without a blank before it; one where both are the
            same ids, none if the tokenizer drops it.
        respelled: whether one of them is not as the tokenizer writes it together with the prompt,
            or needs the unknown token; see `model.continuation.Written`.
    """

    answers: tuple[tuple[str, tuple[Ids, ...]], ...]
    respelled: bool = False

    @property
    def continuations(self) -> list[Ids]:
        """All spellings of all answers."""
        return [ids for _, spellings in self.answers for ids in spellings]

    def check(self, model: Model, *, scored: bool) -> None:
        """Refuse answers that the model cannot write.

        Raises:
            PromptError: the model has no embedding for a token of one, or, if it is to be scored,
                the tokenizer has no token for it.
        """
        for answer, spellings in self.answers:
            for ids in spellings:
                check_known(model, ids, f"The option {answer!r}")
            if scored and not spellings:
                raise PromptError(
                    f"The tokenizer of {model.name} drops the option {answer!r}, so it cannot be "
                    "scored: give an option that it has tokens for."
                )


def spell(model: Model, asked: Sequence[tuple[Context, Sequence[str]]]) -> list[SpelledAnswers]:
    """Answers as token ids, each as it is written after its prompt."""
    pairs = [
        (context, text)
        for context, answers in asked
        for answer in answers
        for text in (answer, f" {answer}")
    ]
    found = iter(written(model, pairs))
    spelled = []
    for _, answers in asked:
        both = [(answer, (next(found), next(found))) for answer in answers]
        ids = (
            (answer, dict.fromkeys(each.ids for each in two if each.ids)) for answer, two in both
        )
        odd = any(each.moved or each.unknown for _, two in both for each in two)
        spelled.append(SpelledAnswers(tuple((answer, tuple(each)) for answer, each in ids), odd))
    return spelled


@dataclass(slots=True)
class ItemScorer:
    """Judges the answers to one item: under the task's rule, the others that fit, and metrics.

    Attributes:
        watch: token ids whose first-step log-probability the decoder must report.
        continuations: what the decoder must score as continuations; empty if nothing.
    """

    model: Model
    item: Item
    rule: str
    """The task's rule, or `LIKELIHOOD_MEAN`."""
    metric: str = ACCURACY
    """The figure that the task names; this package's graded scores that fit are computed too."""
    whole: bool = False
    """Whether whole options (or the gold answer, if there are none) are scored."""
    plain: int = 0
    """Whole options of up to so many tokens are scored in unmodified rows alone, where `whole` is
    not asked for: they decide nothing, but say how likely the gold one and the named one were."""
    spelled: SpelledAnswers | None = None
    """The answers as token ids after the prompt; None for `main` as it is, as plain text."""
    read: Callable[[str], str] | None = None
    """The part of an output that is judged; None for all of it."""
    watch: list[int] = field(init=False)
    continuations: tuple[tuple[int, ...], ...] = field(init=False, default=())
    _starts: dict[str, list[int]] = field(init=False)
    _spellings: list[str] = field(init=False, default_factory=list)
    _texts: dict[tuple[int, ...], str] = field(init=False, default_factory=dict)
    _judged: dict[str, JudgedOutput] = field(init=False, default_factory=dict)
    _rules: Mapping[str, Rule] = field(init=False)
    _metrics: Mapping[str, Metric] = field(init=False)

    def __post_init__(self) -> None:
        """Find the tokens that tell the item's options (or its gold answer) apart."""
        spelled = self.spelled
        if spelled is None:
            ids = encode(self.model, self.item.main)
            context = context_of(self.model, Prompt(self.item.main), ids, chat=False)
            (spelled,) = spell(self.model, [(context, answers_of(self.item))])
        spelled.check(self.model, scored=self.whole)
        rules = sorted({self.rule, *applicable_rules(self.item)}) if self._decodes else ()
        self._rules = {name: RULES[name] for name in rules}
        metrics = applicable_metrics(self.item, self.metric)
        self._metrics = {name: METRICS[name] for name in metrics}
        # Options need distinct first tokens; for an open question any gold answer will do.
        self._starts = (distinct_starts if self.item.options else all_starts)(spelled)
        self.watch = sorted({token for starts in self._starts.values() for token in starts})
        if self.whole or (self.plain and self.item.options):
            every = [(answer, ids) for answer, found in spelled.answers for ids in found]
            kept = [(answer, ids) for answer, ids in every if self.whole or len(ids) <= self.plain]
            self._spellings = [answer for answer, _ in kept]
            self.continuations = tuple(ids for _, ids in kept)

    def record(self, decoded: Decoded) -> dict[str, Any]:
        """The columns of `runs.schema.ROWS` that follow from the answer."""
        output = self._text(decoded.ids)
        log_probs = self._log_probs(decoded)
        found = self._scores(decoded)
        scores = found if self.whole else {}
        judged = self._judge(output)
        verdicts = {**judged.verdicts, **self._first_token(log_probs), **self._likeliest(scores)}
        options, golds = self.item.options or (), self.item.golds
        whole = bool(scores and options)
        return {
            "output": output,
            "output_ids": list(decoded.ids),
            "output_lang": judged.lang,
            "prediction": verdicts[self.rule].prediction,
            "correct": verdicts[self.rule].correct,
            "correct_by_rule": {
                name: each.correct for name, each in verdicts.items() if each.correct is not None
            },
            "scores": {**judged.scores, **self._by_probabilities(log_probs, scores)},
            "option_logprobs": [log_probs.get(option) for option in options] if options else None,
            "gold_logprob": self._gold_log_prob(log_probs),
            "option_scores": [scores[each][0] for each in options] if whole else None,
            "option_means": [scores[each][1] for each in options] if whole else None,
            "gold_score": max((found[gold][0] for gold in golds if gold in found), default=None),
            "answer_share": self._share(found, verdicts[self.rule].prediction),
            "answer_logprob": _finite(decoded.mean_logprob),
            **{f"first_{name}": _finite(value) for name, value in decoded.first._asdict().items()},
            "min_margin": self.margin(decoded),
            "finite": decoded.finite,
        }

    def margin(self, decoded: Decoded) -> float:
        """By how much the row was decided, in logits: its closest choice of a token or an option.

        A token counts if the row was decoded; of the options, the two best as wholes, the two best
        per token, and the two spellings of each.
        """
        gaps = [_gap(values) for values in self._choices(decoded)] if self.whole else []
        return min([*gaps, decoded.min_margin] if self._decodes else gaps, default=math.inf)

    def _choices(self, decoded: Decoded) -> list[list[float]]:
        """What is chosen among where options are scored: spellings, then options."""
        totals: dict[str, list[float]] = defaultdict(list)
        for answer, score in zip(self._spellings, decoded.scores, strict=True):
            totals[answer].append(score)
        choices = list(totals.values())
        if self.item.options:
            scores = self._scores(decoded).values()
            choices += [[score[at] for score in scores] for at in (0, 1)]
        return choices

    @property
    def _decodes(self) -> bool:
        """Whether answers are texts, or only options that are scored."""
        return self.rule not in PROBABILITY_RULES

    def _text(self, ids: tuple[int, ...]) -> str:
        if ids not in self._texts:
            self._texts[ids] = self.model.text_of(list(ids))
        return self._texts[ids]

    def _judge(self, output: str) -> JudgedOutput:
        """What follows from the output; rows of a sweep repeat few outputs many times."""
        if not self._decodes:
            return JudgedOutput({}, {}, None)
        if output not in self._judged:
            said = output if self.read is None else self.read(output)
            self._judged[output] = JudgedOutput(
                verdicts={name: each.judge(said, self.item) for name, each in self._rules.items()},
                scores=self._graded(MetricInput(said), "output"),
                lang=identify(said),
            )
        return self._judged[output]

    def _graded(self, answer: MetricInput, needs: str) -> dict[str, float]:
        """The metrics that fit the item and depend on what `needs` names."""
        fitting = ((name, each) for name, each in self._metrics.items() if each.needs == needs)
        scores = ((name, each.score(answer, self.item)) for name, each in fitting)
        return {name: score for name, score in scores if score is not None}

    def _by_probabilities(
        self, log_probs: Mapping[str, float], scores: Mapping[str, tuple[float, float]]
    ) -> dict[str, float]:
        """Scores of the options' probabilities: as wholes if scored, else of their first tokens."""
        options = self.item.options
        if not options or not self._metrics:
            return {}
        values = [scores[o][0] if scores else log_probs.get(o) for o in options]
        return self._graded(MetricInput("", normalised(values)), "probabilities")

    def _log_probs(self, decoded: Decoded) -> Mapping[str, float]:
        by_token = dict(zip(self.watch, decoded.watched, strict=True))
        return {
            answer: _log_sum([by_token[token] for token in starts])
            for answer, starts in self._starts.items()
            if starts
        }

    def _gold_log_prob(self, log_probs: Mapping[str, float]) -> float | None:
        """Log-probability that the answer begins as a gold one; None if undefined."""
        golds = self.item.golds
        if self.item.options and any(gold not in log_probs for gold in golds):
            return None
        known = [log_probs[gold] for gold in golds if gold in log_probs]
        return _log_sum(known) if known else None

    def _scores(self, decoded: Decoded) -> dict[str, tuple[float, float]]:
        """Answer -> log-probability of its likelier spelling, as a whole and per token."""
        found: dict[str, tuple[float, float]] = {}
        if not (self.whole or decoded.scores):
            return found  # a row with edits, whose options are not scored
        scored = zip(self._spellings, self.continuations, decoded.scores, strict=True)
        for answer, tokens, score in scored:
            if answer not in found or score > found[answer][0]:
                found[answer] = (score, score / len(tokens))
        return found

    def _share(self, scores: Mapping[str, tuple[float, float]], named: str | None) -> float | None:
        """Probability of the option that the output names, out of all of them as wholes."""
        options = self.item.options
        if not options or any(option not in scores for option in options):
            return None
        shares = normalised([scores[option][0] for option in options])
        if shares is None:
            return None
        return 0.0 if named is None else float(shares[options.index(named)])

    def _first_token(self, log_probs: Mapping[str, float]) -> dict[str, Verdict]:
        """Verdict of the rule `LIKELIEST_START`, if all options have distinct first tokens."""
        options = self.item.options
        if not options or any(option not in log_probs for option in options):
            return {}
        return {LIKELIEST_START: self._verdict({option: log_probs[option] for option in options})}

    def _likeliest(self, scores: Mapping[str, tuple[float, float]]) -> dict[str, Verdict]:
        """Verdicts of the likelihood rules; without options, they cannot say what was chosen."""
        rules = enumerate((LIKELIHOOD, LIKELIHOOD_MEAN) if self.whole else ())
        options = self.item.options or ()
        return {
            rule: self._verdict({each: scores[each][at] for each in options}) for at, rule in rules
        }

    def _verdict(self, values: Mapping[str, float]) -> Verdict:
        if not values or not all(map(math.isfinite, values.values())):
            return Verdict(None, None)
        best = max(values, key=lambda option: values[option])
        golds = self.item.golds
        return Verdict(best in golds if golds else None, best)


def distinct_starts(spelled: SpelledAnswers) -> dict[str, list[int]]:
    """For each answer, the first tokens it may begin with that no other answer begins with.

    Tokens shared by several answers tell nothing and are left out, so an answer may end up with
    none.
    """
    starts = {answer: {ids[0] for ids in found} for answer, found in spelled.answers}
    shared = Counter(token for tokens in starts.values() for token in tokens)
    return {
        answer: sorted(token for token in tokens if shared[token] == 1)
        for answer, tokens in starts.items()
    }


def all_starts(spelled: SpelledAnswers) -> dict[str, list[int]]:
    """For each answer, the first tokens it may begin with that no answer before it begins with."""
    seen: set[int] = set()
    starts = {}
    for answer, found in spelled.answers:
        new = {ids[0] for ids in found} - seen
        seen |= new
        starts[answer] = sorted(new)
    return starts


def answers_of(item: Item) -> tuple[str, ...]:
    """What is looked for in the answer to an item: its options, else its gold answers."""
    return item.options or tuple(gold for gold in item.golds if gold)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _gap(values: Sequence[float]) -> float:
    """Between the two highest; infinite if there are not two."""
    best = sorted(values, reverse=True)[:2]
    gap = best[0] - best[1] if len(best) == 2 else math.inf
    return math.inf if math.isnan(gap) else gap


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
