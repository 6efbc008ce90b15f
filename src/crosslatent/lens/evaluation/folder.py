"""An evaluation as a run folder: the same tables as those of a sweep, read by the same analysis.

Every question is an item, a central one under a name of its own; answers of the unmodified model
have the control ``vanilla``, all others ``condition``. What an evaluation says beside its answers
is in ``evaluation.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import canonical_hash
from crosslatent.runs.files import write_json
from crosslatent.runs.manifest import MANIFEST, read_manifest
from crosslatent.runs.parts import PartTable
from crosslatent.runs.reader import RunReader
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_path import run_path
from crosslatent.runs.schema import ROWS, ROWS_TABLE, SCHEMA_VERSION, Failure

if TYPE_CHECKING:
    from crosslatent.lens.evaluation.results import AnswerRow, ConditionResult, Evaluation, Role

    _Asked = tuple[str, Role]

ROLE, QUESTION = "role", "question"
"""Strata of the items: the role of a question, and the item that it is of."""

UNMODIFIED = "unmodified"
"""Name of the condition that the others are compared with."""

_Condition = tuple[str, str | None]
"""Name of a condition, and its variant (see `results.AnswerRow`)."""

_NOT_TOLD = {"output_ids": [], "min_margin": 0.0, "finite": True, "path": "", "seconds": 0.0}
"""Of a row that says only what was answered, and how that was judged."""


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write the answers of an evaluation; a run that is there is thrown away.

    Raises:
        RunFolderError: the folder cannot be written, or holds something else.
    """
    ids = {key: one["id"] for key, one in _conditions(evaluation).items()}
    names = _names(evaluation)
    with RunFolder.open(folder, _manifest(evaluation), new=True) as run:
        run.write_items(list(_items(evaluation, names)))
        if evaluation.rows:
            rows = [_run_row(row, names, ids) for row in evaluation.rows]
            run.rows.write(run.part_name(0), rows)
        failures = [Failure(name, "prompt", why) for name, why in evaluation.failures.items()]
        run.write_failures(failures)
        run.write_status({"rows": len(evaluation.rows), "failures": len(failures)})


def make_ours(folder: Path) -> None:
    """Mark a folder in which an earlier release left an evaluation as one that may be written."""
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION})


def read(folder: Path, created: str) -> list[dict[str, Any]]:
    """The answers of an evaluation, as the fields of `results.AnswerRow`.

    Args:
        folder: where it is.
        created: when it was made.

    Raises:
        RunFolderError: the folder is no run folder, cannot be read, or has the answers of another
            evaluation, whose writing was cut off.
    """
    manifest = read_manifest(run_path(folder))
    if manifest.get("created") != created:
        raise RunFolderError(
            f"its figures are of {created}, and its answers of {manifest.get('created')}"
        )
    listed = manifest.get("spec", {}).get("conditions", [])
    named = {one["id"]: one for one in listed}
    if not PartTable(run_path(folder / ROWS_TABLE), ROWS).files():
        return []
    with RunReader(folder).connect() as connection:
        items = connection.execute("SELECT item, cluster, split, strata FROM items").fetchall()
        rows = connection.execute(
            "SELECT item, condition, lang, output, prediction, correct, correct_by_rule, "
            "output_lang FROM rows"
        ).fetchall()
    about = {name: (cluster, split, dict(strata or {})) for name, cluster, split, strata in items}
    found = []
    for name, condition, lang, output, prediction, correct, by_rule, output_lang in rows:
        cluster, split, strata = about[name]
        names = named.get(condition, {})
        found.append(
            {
                "condition": names.get("condition", UNMODIFIED),
                "item": strata.get(QUESTION, name),
                "lang": lang,
                "role": strata.get(ROLE, "target"),
                "output": output,
                "prediction": prediction,
                "correct": correct,
                "correct_by_rule": dict(by_rule or {}),
                "output_lang": output_lang,
                "cluster": cluster,
                "split": split,
                "variant": names.get("variant"),
            }
        )
    return found


def _conditions(evaluation: Evaluation) -> dict[_Condition, dict[str, Any]]:
    """What run.json says of each condition, and of each variant of one."""
    results = {one.name: one for one in evaluation.conditions}
    keys = dict.fromkeys((row.condition, row.variant) for row in evaluation.rows)
    return {key: _described(results.get(key[0]), key) for key in keys if key[0] != UNMODIFIED}


def _described(result: ConditionResult | None, key: _Condition) -> dict[str, Any]:
    name, variant = key
    settings = result.settings if result is not None else {}
    own = settings.get("id") if variant is None else None
    return {
        "id": own or canonical_hash({"name": name, "variant": variant, "settings": settings}),
        "name": name if variant is None else f"{name} ({variant})",
        "about": result.about if result is not None else "",
        "interventions": settings.get("interventions", [settings] if settings else []),
        "condition": name,
        "variant": variant,
    }


def _manifest(evaluation: Evaluation) -> dict[str, Any]:
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
            "conditions": list(_conditions(evaluation).values()),
            **run.get("spec", {}),
        },
        "inputs": run.get("inputs", {}),
    }


def _names(evaluation: Evaluation) -> dict[_Asked, str]:
    """(item, role) -> the name of the question in the tables."""
    asked = dict.fromkeys((row.item, row.role) for row in evaluation.rows)
    taken = {item for item, role in asked if role == "target"}
    found: dict[_Asked, str] = {}
    for item, role in asked:
        name = item
        while role != "target" and name in taken:
            name += " (central)"
        taken.add(name)
        found[item, role] = name
    return found


def _items(evaluation: Evaluation, names: Mapping[_Asked, str]) -> Iterator[dict[str, Any]]:
    """The questions, each once; what is not known of one is empty."""
    first: dict[_Asked, AnswerRow] = {}
    for row in evaluation.rows:
        first.setdefault((row.item, row.role), row)
    for key, row in first.items():
        known = evaluation.items.get(key, {})
        yield {
            "aux_lang": evaluation.central,
            "main": "",
            "aux": "",
            "main_token": "",
            "aux_token": "",
            "main_length": 0,
            "aux_length": 0,
            **known,
            "item": names[key],
            "lang": row.lang,
            "cluster": row.cluster,
            "split": row.split,
            "strata": {**known.get("strata", {}), ROLE: row.role, QUESTION: row.item},
        }


def _run_row(
    row: AnswerRow, names: Mapping[_Asked, str], ids: Mapping[_Condition, str]
) -> dict[str, Any]:
    identity = ids.get((row.condition, row.variant))
    return {
        **_NOT_TOLD,
        **row.record,
        "item": names[row.item, row.role],
        "lang": row.lang,
        "control": "vanilla" if identity is None else "condition",
        "condition": identity,
        "output": row.output,
        "output_lang": row.output_lang,
        "prediction": row.prediction,
        "correct": row.correct,
        "correct_by_rule": dict(row.correct_by_rule),
    }
