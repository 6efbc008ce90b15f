"""The rows of a comparison of methods: what is kept of each method, and its test answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslatent.core.errors import RunFolderError
from crosslatent.core.languages import can_identify, same_language
from crosslatent.runs.schema import RowKey
from crosslatent.stats import Floats

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

VANILLA = "vanilla"


@dataclass
class MethodRecord:
    """What is kept of a method: plain data, in the marker of the comparison and in run.json.

    Attributes:
        control: it is a control of another method.
        reason: why it has no figures; empty if it has.
        tried: configurations tried on pilot questions.
        chosen: by language (all of them together where it is fitted once) the settings, and their
            accuracy on the pilot questions that they were judged on.
        rows: which rows are its answers to test questions: seed, part, languages, key.
        trials: which rows are the answers of every configuration to pilot questions.
        fit_seconds: to learn once, with the chosen settings; mean.
        tokens: through the model for an answer; mean.
        kl: divergence from the unmodified model on English pilot prompts, nats per token, of the
            first seed and language; None where it does not act on texts.
        peak_bytes: most memory that learning or answering took beside what was held before.
        left_out: questions that could not be asked, and why not the first.
    """

    name: str
    title: str
    league: str
    about: str
    source: str
    control: bool = False
    reason: str = ""
    tried: int = 0
    chosen: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    fit_seconds: float | None = None
    tokens: float | None = None
    peak_bytes: int | None = None
    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    kl: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class MethodRows:
    """The test answers of every method.

    Attributes:
        records: what the run folder says of each method, by name.
        items: ids of the questions.
        langs, clusters: of each.
        right: name -> 1, 0 or NaN (not known), shape (items, seeds).
        faithful: name -> the answer is in the language of the question, likewise.
        named: name -> the output names an answer, likewise.
        english: name -> right in English, likewise; without methods that cannot be asked.
        luck: probability that at least one of `attempts` samples of the unmodified model is the
            gold option, (items,); NaN where it is not known.
        attempts: transplants that were tried on the pilot.
        seconds: name -> seconds of wall time of an answer, mean.
    """

    records: Mapping[str, Mapping[str, Any]]
    items: tuple[str, ...]
    langs: tuple[str, ...]
    clusters: tuple[str, ...]
    right: Mapping[str, Floats]
    faithful: Mapping[str, Floats]
    named: Mapping[str, Floats]
    english: Mapping[str, Floats]
    luck: Floats
    attempts: int
    seconds: Mapping[str, float]


_ROWS = """
SELECT item, control, stratum, component, source, target, condition, correct, output_lang,
       prediction, gold_score, seconds, lang
FROM rows WHERE item IN (SELECT unnest($items::VARCHAR[]))
"""
_Row = tuple[Any, ...]


def read_methods(reader: RunReader) -> MethodRows:
    """The test answers of a comparison's methods.

    Raises:
        RunFolderError: the folder is none of a comparison, or it is not complete.
    """
    status = reader.manifest.get("status") or {}
    if "methods" not in status:
        raise RunFolderError(
            f"{str(reader.path)!r} is not the run folder of a finished comparison of methods: give "
            "the folder that `crosslatent compare` wrote, or run it again to the end."
        )
    parts: list[list[str]] = status["parts"]
    tested = [one for part in parts for one in part]
    con = reader.connect()
    wanted = [*tested, *(f"{one}@en" for one in tested)]
    found: dict[RowKey, dict[str, _Row]] = {}
    for item, *rest in con.execute(_ROWS, {"items": wanted}).fetchall():
        found.setdefault(RowKey(*rest[:6]), {})[item] = tuple(rest[6:])
    rows = con.execute(
        "SELECT item, lang, cluster FROM items WHERE item IN (SELECT unnest($1::VARCHAR[])) "
        "ORDER BY item",
        [tested],
    ).fetchall()
    part_of = {one: place for place, part in enumerate(parts) for one in part}
    return _Reading(status["methods"], found, rows, part_of).rows()


class _Reading:
    """Rows of a run folder, sorted by method."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        found: Mapping[RowKey, Mapping[str, _Row]],
        items: Sequence[tuple[str, str, str]],
        part_of: Mapping[str, int],
    ) -> None:
        self.records = {record["name"]: record for record in records}
        self.found, self.items, self.part_of = found, items, part_of

    def rows(self) -> MethodRows:
        """Everything."""
        shown = [name for name, record in self.records.items() if not record["reason"]]
        pilot = self.records.get("transplant-pilot", {})
        attempts = int(pilot.get("tried") or 0)
        english = {name: self._values(name, _right, "@en") for name in shown}
        return MethodRows(
            records=self.records,
            items=tuple(one for one, *_ in self.items),
            langs=tuple(lang for _, lang, _ in self.items),
            clusters=tuple(cluster for *_, cluster in self.items),
            right={name: self._values(name, _right) for name in shown},
            faithful={name: self._values(name, _faithful) for name in shown},
            named={name: self._values(name, _named) for name in shown},
            english={n: values for n, values in english.items() if not np.isnan(values).all()},
            luck=self._luck(attempts),
            attempts=attempts,
            seconds={name: float(np.nanmean(self._values(name, _seconds))) for name in shown},
        )

    def _values(self, name: str, read: Any, ending: str = "") -> Floats:
        """Something of every answer of a method, shape (items, seeds)."""
        rows = self.records[name]["rows"]
        seeds = 1 + max((row["seed"] for row in rows), default=0)
        values = np.full((len(self.items), seeds), np.nan)
        for row in rows:
            there = self.found.get(RowKey(*row["key"]), {})
            for place, (item, lang, _) in enumerate(self.items):
                mine = lang in row["langs"] and self.part_of[item] == row["part"]
                if mine and (answer := there.get(f"{item}{ending}")) is not None:
                    values[place, row["seed"]] = read(answer)
        return values

    def _luck(self, attempts: int) -> Floats:
        """1 - (1 - p)^K with p of the whole gold option (docs/methods.md 1.3)."""
        golds = self._values(VANILLA, _gold_score)[:, 0]
        p = np.exp(np.minimum(golds, 0.0))
        return np.asarray(1 - (1 - p) ** attempts if attempts else np.full(len(p), np.nan))


def _right(row: _Row) -> float:
    return np.nan if row[0] is None else float(row[0])


def _faithful(row: _Row) -> float:
    if row[1] is None or not can_identify(row[5]):
        return np.nan
    return float(same_language(row[1], row[5]))


def _named(row: _Row) -> float:
    return float(row[2] is not None)


def _gold_score(row: _Row) -> float:
    return np.nan if row[3] is None else float(row[3])


def _seconds(row: _Row) -> float:
    return float(row[4])
