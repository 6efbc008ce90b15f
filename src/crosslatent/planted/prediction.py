"""What every answer of a sweep over a planted model must be, and how that compares with what it is.

A prediction is a Parquet file that is written before the sweep, and never after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crosslatent.core.errors import RunFolderError
from crosslatent.planted.logic import COMPONENTS, Edit, Logic
from crosslatent.planted.planting import Planted
from crosslatent.planted.weights import Family
from crosslatent.runs.files import whole_file
from crosslatent.runs.reader import RunReader
from crosslatent.tasks import Item, Task

FILE = "prediction.parquet"
KEY = ("item", "control", "component", "source", "target")
TRUE, SELF, VANILLA, TRANSLATE_TEST = "none", "self", "vanilla", "translate_test"
NOWHERE = -1
"""Source and target of answers without a pair."""


def predicted(planted: Planted, task: Task, family: Family) -> pd.DataFrame:
    """What each answer to the questions of a task must be, in a model of a family."""
    logic = Logic(planted.circuit, norms_after=family == "gemma2")
    return predict(logic, task.items)


def predict(logic: Logic, items: Sequence[Item]) -> pd.DataFrame:
    """The answer to each item: unmodified, to its counterpart, and under each pair of layers.

    Args:
        logic: of the circuit.
        items: of the variant's task.

    Returns:
        A row for each answer: the columns of `KEY` (component "", source and target -1 where there
        is no pair; control none, self, vanilla or translate_test), the word, and whether it is
        right.
    """
    mains, auxes = [item.main.split() for item in items], [item.aux.split() for item in items]
    main, aux = logic.run(mains), logic.run(auxes)
    found = [
        _rows(items, VANILLA, "", NOWHERE, [NOWHERE], main.words),
        _rows(items, TRANSLATE_TEST, "", NOWHERE, [NOWHERE], aux.words),
    ]
    targets = np.arange(len(main.outputs["block"]))
    asked = [prompt for prompt in mains for _ in targets]
    for control, given in ((TRUE, aux), (SELF, main)):
        for component in COMPONENTS:
            for source, values in enumerate(given.outputs[component]):
                edit = Edit(
                    component, np.tile(targets, len(mains)), np.repeat(values, len(targets), axis=0)
                )
                words = logic.run(asked, [edit]).words
                found.append(_rows(items, control, component, source, targets.tolist(), words))
    return pd.concat(found, ignore_index=True)


def _rows(
    items: Sequence[Item],
    control: str,
    component: str,
    source: int,
    targets: Sequence[int],
    words: Sequence[str],
) -> pd.DataFrame:
    """Rows of answers, for each item one for each target."""
    golds = [item.aux_answer if control == TRANSLATE_TEST else item.answer for item in items]
    gold = np.repeat(np.array(golds, dtype=object), len(targets))
    return pd.DataFrame(
        {
            "item": np.repeat([item.id for item in items], len(targets)),
            "control": control,
            "component": component,
            "source": source,
            "target": np.tile(targets, len(items)),
            "word": list(words),
            "right": np.array(words, dtype=object) == gold,
        }
    )


def write(prediction: pd.DataFrame, folder: Path) -> str:
    """Write a prediction, and say its SHA-256.

    Raises:
        RunFolderError: the folder has one, and it is another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    if path.exists():
        if not pd.read_parquet(path).equals(prediction):
            raise RunFolderError(
                f"{str(path)!r} is a prediction of something else: give another folder, since a "
                "prediction is never written anew."
            )
    else:
        with whole_file(path) as temporary:
            prediction.to_parquet(temporary, index=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class MapAgreement:
    """How the answers under all pairs of a component compare with what was predicted.

    Attributes:
        component: attn, ffn or block.
        control: none, or self.
        rows: answers.
        same_verdict: share that is right or wrong as predicted.
        planted: share predicted to be right, sources targets.
        measured: share that is right.
    """

    component: str
    control: str
    rows: int
    same_verdict: float
    planted: NDArray[np.float64]
    measured: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """The largest difference between cells of the two maps, as a share."""
        return float(np.abs(self.planted - self.measured).max())

    @property
    def correlation(self) -> float | None:
        """Of the two maps' cells; None where one of them does not vary."""
        if min(self.planted.std(), self.measured.std()) == 0:
            return None
        return float(np.corrcoef(self.planted.ravel(), self.measured.ravel())[0, 1])


def compared(run: str | Path, prediction: pd.DataFrame) -> pd.DataFrame:
    """The answers of a run that were predicted, each beside its prediction.

    Returns:
        The columns of a prediction; `output` and `correct` of the run.
    """
    with RunReader(run).connect() as database:
        rows = database.sql(
            "SELECT item, control, coalesce(component, '') AS component, "
            f"coalesce(source, {NOWHERE}) AS source, coalesce(target, {NOWHERE}) AS target, "
            "trim(output) AS output, correct FROM rows "
            f"WHERE control IN {TRUE, SELF, VANILLA, TRANSLATE_TEST}"
        ).df()
    return prediction.merge(rows, on=list(KEY), validate="one_to_one")


def agreements(rows: pd.DataFrame) -> list[MapAgreement]:
    """How well predictions hold, for each component and control that has pairs."""
    pairs = rows[rows.component != ""]
    return [
        MapAgreement(
            component=str(component),
            control=str(control),
            rows=len(group),
            same_verdict=float((group.right == group.correct).mean()),
            planted=_map(group, "right"),
            measured=_map(group, "correct"),
        )
        for (control, component), group in pairs.groupby(["control", "component"], sort=False)
    ]


def _map(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    shares = rows.assign(share=rows[column].astype(float)).pivot_table(
        index="source", columns="target", values="share", aggfunc="mean"
    )
    return np.asarray(shares, dtype=np.float64)
