"""What an evaluation of conditions says, as plain frozen data, and the folder that keeps it.

A folder has ``evaluation.json`` (all figures) and ``rows.parquet`` (every answer). No torch needed.
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
from crosslatent.runs.files import write_json, write_table
from crosslatent.stats import Estimate

ALL = "all"
"""Key of the estimates over the questions of all target languages."""

UNMODIFIED = "unmodified"
"""Name of the condition that the others are compared with."""

EVALUATION_FILE = "evaluation.json"
ROWS_FILE = "rows.parquet"

Kind = Literal[
    "unmodified", "tuned", "steering", "transplant", "steering+transplant", "intervention"
]
Fitted = Literal["nothing", "known", "partly", "unknown"]
"""Whether it is known what a condition was fitted on; nothing is fitted of the unmodified model."""

Role = Literal["target", "central"]
"""Whether a prompt is in a target language or in the central one."""

_SCHEMA = pa.schema(
    [
        pa.field("condition", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("lang", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("output", pa.string(), nullable=False),
        pa.field("prediction", pa.string()),
        pa.field("correct", pa.bool_()),
        pa.field("correct_by_rule", pa.map_(pa.string(), pa.bool_())),
        pa.field("output_lang", pa.string()),
        pa.field("cluster", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("variant", pa.string()),
    ]
)


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
        output_lang: language of the output; None where that cannot be told.
        cluster: what is independent; intervals resample it.
        split: of the item.
        variant: where the central questions are answered once for each language, by its model or
            steered towards it: that language. None elsewhere.
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
            told.
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
        """Everything but the rows, as plain data."""
        return asdict(replace(self, rows=()), dict_factory=_without_rows)

    def save(self, folder: Path) -> None:
        """Write evaluation.json and rows.parquet; `evaluation.json` comes last.

        Raises:
            RunFolderError: the folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"Cannot write to the output folder {str(folder)!r} ({error.strerror}): give a "
                "folder that can be written."
            ) from error
        write_table(folder / ROWS_FILE, [asdict(row) for row in self.rows], _SCHEMA)
        write_json(folder / EVALUATION_FILE, self.to_json())

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read what `save` wrote.

        Raises:
            RunFolderError: there is no evaluation, or it cannot be read.
        """
        folder = Path(folder)
        try:
            data = parse_json((folder / EVALUATION_FILE).read_text(encoding="utf-8"))
            rows = pq.read_table(folder / ROWS_FILE).to_pylist()
            found = _evaluations().validate_python(data)
            return replace(found, rows=tuple(map(_row, rows)))
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as why:
            reason = one_line(why)
            raise RunFolderError(
                f"Cannot read an evaluation in {str(folder)!r} ({reason}): give a folder that "
                "`crosslatent lens eval` wrote."
            ) from why


def _without_rows(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name != "rows"}


@cache
def _evaluations() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)


def _row(data: dict[str, Any]) -> AnswerRow:
    data["correct_by_rule"] = dict(data["correct_by_rule"])
    return AnswerRow(**data)
