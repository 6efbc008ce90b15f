"""What an evaluation of conditions says, as plain frozen data, and the folder that keeps it.

A folder has ``evaluation.json`` (all figures) and is a run folder with every answer: the same
tables as those of a sweep, read by the same analysis. Every question is an item, a central one
under a name of its own; answers of the unmodified model have the control ``vanilla``, all others
``condition``. Shares are fractions of 1. What could not be computed is None or not there, never
zero. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import canonical_hash
from crosslatent.core.untrusted import one_line, parse_json
from crosslatent.runs.files import check_empty, write_json
from crosslatent.runs.manifest import MANIFEST, read_manifest
from crosslatent.runs.parts import PartTable
from crosslatent.runs.reader import RunReader
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_path import run_path
from crosslatent.runs.schema import ROWS, ROWS_TABLE, SCHEMA_VERSION, Failure
from crosslatent.stats import Estimate

ALL = "all"
"""Key of the estimates over the questions of all target languages."""

EVALUATION_FILE = "evaluation.json"
OLD_ROWS = "rows.parquet"
"""Where evaluations of earlier releases have their answers."""

ROLE, QUESTION = "role", "question"
"""Strata of the items: the role of a question, and the item that it is of."""

UNMODIFIED = "unmodified"
"""Name of the condition that the others are compared with."""

Kind = Literal[
    "unmodified", "tuned", "steering", "transplant", "steering+transplant", "intervention"
]
Fitted = Literal["nothing", "known", "partly", "unknown"]
"""Whether it is known what a condition was fitted on; nothing is fitted of the unmodified model."""

Role = Literal["target", "central"]
"""Whether a prompt is in a target language or in the central one."""

_Asked = tuple[str, Role]
"""Item and role."""
_Variant = tuple[str, str | None]
"""Name of a condition, and its variant."""

_NOT_STORED = ("rows", "items", "run")
"""Fields of an evaluation that only the run folder has."""
_NOT_RECORDED = {"output_ids": [], "min_margin": 0.0, "finite": True, "path": "", "seconds": 0.0}
"""Of a row that says only what was answered, and how that was judged."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer under one condition.

    Attributes:
        item: id of the item; of several items that share their central prompt, the first.
        lang: language that the question is in.
        output: the generated text; empty where options are scored instead.
        prediction: the option that is taken as the answer; None if there is none.
        correct: under the evaluation's rule; None where nothing says what is right.
        correct_by_rule: under every rule that fits the item.
        output_lang: language of the output; None where it cannot be identified.
        cluster: what is independent; intervals resample it.
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
    """Of some questions or texts, those that a condition was fitted on: `n` of `of`.

    Attributes:
        by: how many were recognised by their "token ids", their "normalised text", or else by the
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
        overlaps = [*self.trained_on.values(), self.kl_trained_on]
        return any(overlap is not None and overlap.n for overlap in overlaps)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Conditions side by side on one task.

    Attributes:
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
    items: Mapping[_Asked, Mapping[str, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )
    run: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def condition(self, name: str) -> ConditionResult | None:
        """A condition by its name."""
        return next((result for result in self.conditions if result.name == name), None)

    def missing(self, result: ConditionResult) -> list[str]:
        """What others were asked and this condition was not, of `ALL`, languages and "kl"."""
        first = self.conditions[0] if self.conditions else result
        if result.kind == "unmodified":
            return []
        unasked = [key for key in first.accuracy if key not in result.accuracy]
        return [*unasked, *(["kl"] if result.kl is None else [])]

    def to_json(self) -> dict[str, Any]:
        """Everything but the rows and what only the run folder has, as plain data."""
        plain = asdict(replace(self, rows=(), items={}, run={}))
        return {name: value for name, value in plain.items() if name not in _NOT_STORED}

    def save(self, path: Path) -> None:
        """Write the run folder, then evaluation.json; an evaluation that is there is replaced.

        Raises:
            RunFolderError: the folder cannot be written, or holds something else, such as a sweep.
        """
        path = Path(path)
        check_empty(path, EVALUATION_FILE)
        if (path / EVALUATION_FILE).exists():
            if not (path / MANIFEST).exists():  # an earlier release's: it may be written now
                write_json(path / MANIFEST, {"schema_version": SCHEMA_VERSION})
            (path / OLD_ROWS).unlink(missing_ok=True)
        _write_run(self, path)
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
            evaluation = TypeAdapter(cls).validate_python(data)
            return replace(evaluation, rows=tuple(_rows_in(path, evaluation.created)))
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException, RunFolderError) as why:
            raise RunFolderError(
                f"Cannot read an evaluation in {str(path)!r} ({one_line(why)}): give a folder that "
                "`crosslatent lens eval` wrote."
            ) from why


def _rows_in(path: Path, created: str) -> Iterator[AnswerRow]:
    """The answers, unless the folder has those of another evaluation (its writing was cut off)."""
    if (path / OLD_ROWS).exists():
        for row in pq.read_table(path / OLD_ROWS).to_pylist():
            yield AnswerRow(**{**row, "correct_by_rule": dict(row["correct_by_rule"])})
        return
    manifest = read_manifest(run_path(path))
    if manifest.get("created") != created:
        raise RunFolderError(
            f"its figures are of {created}, and its answers of {manifest.get('created')}"
        )
    if not PartTable(run_path(path / ROWS_TABLE), ROWS).files():
        return
    conditions = {each["id"]: each for each in manifest.get("spec", {}).get("conditions", [])}
    with RunReader(path).connect() as connection:
        items = connection.execute("SELECT item, cluster, split, strata FROM items").fetchall()
        answers = connection.execute(
            "SELECT item, condition, lang, output, prediction, correct, correct_by_rule, "
            "output_lang FROM rows"
        ).fetchall()
    about = {name: (cluster, split, dict(strata or {})) for name, cluster, split, strata in items}
    for name, condition, lang, output, prediction, correct, by_rule, output_lang in answers:
        cluster, split, strata = about[name]
        named = conditions.get(condition, {})
        yield AnswerRow(
            condition=named.get("condition", UNMODIFIED),
            item=strata.get(QUESTION, name),
            lang=lang,
            role=strata.get(ROLE, "target"),
            output=output,
            prediction=prediction,
            correct=correct,
            correct_by_rule=dict(by_rule or {}),
            output_lang=output_lang,
            cluster=cluster,
            split=split,
            variant=named.get("variant"),
        )


def _write_run(evaluation: Evaluation, folder: Path) -> None:
    """Write the answers of an evaluation as a run; a run that is there is thrown away."""
    conditions, names = _conditions(evaluation), _names(evaluation)
    with RunFolder.open(folder, _manifest(evaluation, conditions), new=True) as run:
        run.write_items(list(_items(evaluation, names)))
        if evaluation.rows:
            rows = [_run_row(row, names, conditions) for row in evaluation.rows]
            run.rows.write(run.part_name(0), rows)
        failures = [Failure(name, "prompt", why) for name, why in evaluation.failures.items()]
        run.write_failures(failures)
        run.write_status({"rows": len(evaluation.rows), "failures": len(failures)})


def _conditions(evaluation: Evaluation) -> dict[_Variant, dict[str, Any]]:
    """What run.json says of each condition, and of each variant of one, by name and variant."""
    described = {}
    for name, variant in dict.fromkeys((row.condition, row.variant) for row in evaluation.rows):
        if name == UNMODIFIED:
            continue
        result = evaluation.condition(name)
        settings = result.settings if result is not None else {}
        own = settings.get("id") if variant is None else None
        described[name, variant] = {
            "id": own or canonical_hash({"name": name, "variant": variant, "settings": settings}),
            "name": name if variant is None else f"{name} ({variant})",
            "about": result.about if result is not None else "",
            "interventions": settings.get("interventions", [settings] if settings else []),
            "condition": name,
            "variant": variant,
        }
    return described


def _manifest(
    evaluation: Evaluation, conditions: Mapping[_Variant, Mapping[str, Any]]
) -> dict[str, Any]:
    run = evaluation.run
    return {
        "created": evaluation.created,
        "command": " ".join(evaluation.command),
        "versions": evaluation.versions,
        "model": {"name": evaluation.model.get("name"), **run.get("model", {})},
        "task": {**run.get("task", {}), "name": evaluation.task, "rule": evaluation.rule},
        "spec": {
            "seed": evaluation.seed,
            "central": evaluation.central,
            "conditions": list(conditions.values()),
            **run.get("spec", {}),
        },
        "inputs": run.get("inputs", {}),
    }


def _names(evaluation: Evaluation) -> dict[_Asked, str]:
    """(item, role) -> the name of the question in the tables."""
    asked = dict.fromkeys((row.item, row.role) for row in evaluation.rows)
    taken = {item for item, role in asked if role == "target"}
    names: dict[_Asked, str] = {}
    for item, role in asked:
        name = item
        while role != "target" and name in taken:
            name += " (central)"
        taken.add(name)
        names[item, role] = name
    return names


def _items(evaluation: Evaluation, names: Mapping[_Asked, str]) -> Iterator[dict[str, Any]]:
    """The questions, each once; what is not known of one is empty."""
    first = {(row.item, row.role): row for row in reversed(evaluation.rows)}
    texts = dict.fromkeys(("main", "aux", "main_token", "aux_token"), "")
    nothing = {"aux_lang": evaluation.central, **texts, "main_length": 0, "aux_length": 0}
    for key in names:
        row, known = first[key], evaluation.items.get(key, {})
        strata = {**known.get("strata", {}), ROLE: row.role, QUESTION: row.item}
        own = {"lang": row.lang, "cluster": row.cluster, "split": row.split, "strata": strata}
        yield {**nothing, **known, "item": names[key], **own}


def _run_row(
    row: AnswerRow, names: Mapping[_Asked, str], conditions: Mapping[_Variant, Mapping[str, Any]]
) -> dict[str, Any]:
    condition = conditions.get((row.condition, row.variant))
    columns = ("lang", "output", "output_lang", "prediction", "correct")
    return {
        **_NOT_RECORDED,
        **row.record,
        **{name: getattr(row, name) for name in columns},
        "item": names[row.item, row.role],
        "control": "vanilla" if condition is None else "condition",
        "condition": None if condition is None else condition["id"],
        "correct_by_rule": dict(row.correct_by_rule),
    }
