"""What an evaluation of conditions says, as plain frozen data, and the folder that keeps it.

A folder has ``evaluation.json`` (all figures) and is a run folder with every answer (`folder`). No
torch needed.
Shares are fractions of 1. What could not be computed is None or not there, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import one_line, parse_json
from crosslatent.lens.evaluation import folder
from crosslatent.runs.files import check_empty, write_json
from crosslatent.stats import Estimate

ALL = "all"
"""Key of the estimates over the questions of all target languages."""

EVALUATION_FILE = "evaluation.json"
OLD_ROWS = "rows.parquet"
"""Where evaluations of earlier releases have their answers."""

Kind = Literal[
    "unmodified", "tuned", "steering", "transplant", "steering+transplant", "intervention"
]
Fitted = Literal["nothing", "known", "partly", "unknown"]
"""Whether it is known what a condition was fitted on; nothing is fitted of the unmodified model."""

Role = Literal["target", "central"]
"""Whether a prompt is in a target language or in the central one."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer under one condition.

    Attributes:
        condition: name of the condition.
        item: id of the item; of several items that share their central prompt, the first.
        lang: language that the question is in.
        role: "target" or "central".
        output: the generated text; empty where options are scored instead.
        prediction: the option that is taken as the answer; None if there is none.
        correct: under the evaluation's rule; None where nothing says what is right.
        correct_by_rule: under every rule that fits the item.
        output_lang: language of the output; None where it cannot be identified.
        cluster: what is independent; intervals resample it.
        split: of the item.
        variant: where the central questions are answered once for each language, by its model or
            steered towards it: that language. None elsewhere.
        record: further columns of `runs.schema.ROWS`, as far as they are known.
    """

    condition: str
    item: str
    lang: str
    role: Role
    output: str
    prediction: str | None
    correct: bool | None
    correct_by_rule: Mapping[str, bool]
    output_lang: str | None
    cluster: str
    split: str | None
    variant: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of some questions or texts, those that a condition was fitted on.

    Attributes:
        n: how many; `of`: of how many.
        by: how many were known again by their "token ids", their "normalised text", or else by the
            "fact" that they ask; each is counted once.
    """

    n: int
    of: int
    by: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """In words: "3 of 200"."""
        return f"{self.n:,} of {self.of:,}"


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """One condition beside the unmodified model.

    The mappings have the languages of the questions as keys, the central one among them, and `ALL`
    for the target languages together. A key is missing where there are no such questions, or where
    the condition cannot be had on them: then nothing was measured (see `notes`).

    Attributes:
        name: of the condition.
        kind: what it is.
        about: one sentence for people.
        accuracy: share of right answers.
        change: accuracy minus the unmodified model's, over the same questions; empty for the
            unmodified model itself, as are the next three.
        repaired: questions that are wrong unmodified and right here; `broken`: the other way round.
        p_value: of the change, by exchanging the two conditions in whole clusters (two-sided);
            None if no cluster differs.
        fidelity: share of answers in the language of the question, of those whose language can be
            identified.
        fidelity_change: fidelity minus the unmodified model's, over questions that have both.
        kl: KL divergence of the next-token distribution from the unmodified model's, on texts in
            the central language, in nats per token; None if it was not measured (see `notes`).
        seconds: what answering the main prompts took, with reading the counterparts that a
            transplant takes vectors from.
        notes: what a reader must know to read the numbers right.
        settings: what the condition consists of, for programs to read.
        trained_on: of the questions, those that the condition was fitted on, by the same keys.
        kl_trained_on: the same of the texts that `kl` is measured on; None without any.
        fitted: whether it is known what it was fitted on.
    """

    name: str
    kind: Kind
    about: str
    accuracy: dict[str, Estimate]
    change: dict[str, Estimate]
    repaired: dict[str, int]
    broken: dict[str, int]
    p_value: dict[str, float | None]
    fidelity: dict[str, Estimate]
    fidelity_change: dict[str, Estimate]
    kl: Estimate | None
    seconds: float
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, Overlap] = field(default_factory=dict)
    kl_trained_on: Overlap | None = None
    fitted: Fitted = "unknown"

    @property
    def is_exposed(self) -> bool:
        """Whether it was fitted on something that it is evaluated on: then nothing is concluded."""
        found = [*self.trained_on.values(), self.kl_trained_on]
        return any(one is not None and one.n for one in found)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Conditions side by side on one task.

    Attributes:
        task: name of the task.
        splits: splits of the questions, sorted; empty if the task has none.
        rule: the answer rule that judges.
        central: the central language.
        languages: the target languages, sorted.
        model: name and identity of the unmodified model.
        conditions: the unmodified model first.
        questions: questions answered, by language, the central one among them.
        central_texts: texts that the KL divergence was measured on.
        seed: of the intervals and tests.
        failures: question (an item's id, or "id (central)") -> why it could not be asked.
        versions, created, command: where this comes from.
        notes: what holds for all conditions.
        rows: every answer of every condition.
        items: what is known of each question, by item and role: columns of `runs.schema.ITEMS`.
        run: what run.json says of model, task, spec and inputs beside the above.
    """

    task: str
    splits: list[str]
    rule: str
    central: str
    languages: list[str]
    model: dict[str, Any]
    conditions: list[ConditionResult]
    questions: dict[str, int]
    central_texts: int
    seed: int
    failures: dict[str, str]
    versions: dict[str, str]
    created: str
    command: list[str]
    notes: list[str] = field(default_factory=list)
    rows: tuple[AnswerRow, ...] = field(default=(), repr=False)
    items: Mapping[tuple[str, Role], Mapping[str, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )
    run: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def condition(self, name: str) -> ConditionResult | None:
        """A condition by its name."""
        return next((found for found in self.conditions if found.name == name), None)

    def missing(self, result: ConditionResult) -> list[str]:
        """What others were asked and this condition was not, of `ALL`, languages and "kl"."""
        first = self.conditions[0] if self.conditions else result
        if result.kind == "unmodified":
            return []
        found = [key for key in first.accuracy if key not in result.accuracy]
        return [*found, *(["kl"] if result.kl is None else [])]

    def to_json(self) -> dict[str, Any]:
        """Everything but the rows and what only the run folder has, as plain data."""
        return asdict(replace(self, rows=(), items={}, run={}), dict_factory=_without_rows)

    def save(self, path: Path) -> None:
        """Write the run folder, then evaluation.json; an evaluation that is there is replaced.

        Raises:
            RunFolderError: the folder cannot be written, or holds something else, such as a sweep.
        """
        path = Path(path)
        check_empty(path, EVALUATION_FILE)
        if (path / EVALUATION_FILE).exists():
            folder.make_ours(path)
            (path / OLD_ROWS).unlink(missing_ok=True)
        folder.write(self, path)
        write_json(path / EVALUATION_FILE, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what `save` wrote, now or in an earlier release.

        Raises:
            RunFolderError: there is no evaluation, or it cannot be read.
        """
        path = Path(path)
        try:
            data = parse_json((path / EVALUATION_FILE).read_text(encoding="utf-8"))
            found = _evaluations().validate_python(data)
            return replace(found, rows=tuple(AnswerRow(**row) for row in _rows_in(path, found)))
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException, RunFolderError) as why:
            reason = one_line(why)
            raise RunFolderError(
                f"Cannot read an evaluation in {str(path)!r} ({reason}): give a folder that "
                "`crosslatent lens eval` wrote."
            ) from why


def _without_rows(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name not in ("rows", "items", "run")}


@cache
def _evaluations() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)


def _rows_in(path: Path, evaluation: Evaluation) -> list[dict[str, Any]]:
    if not (path / OLD_ROWS).exists():
        return folder.read(path, evaluation.created)
    rows = pq.read_table(path / OLD_ROWS).to_pylist()
    return [{**row, "correct_by_rule": dict(row["correct_by_rule"])} for row in rows]
